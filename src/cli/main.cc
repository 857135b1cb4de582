// etch: the command line. Only this folder prints and exits.

#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"

namespace {

void Describe(CLI::App& app) {
  app.description(
      "Etch compiles one open-weight language model into a hardwired one: an image of 3-bit\n"
      "weights that computes the same bits on every backend. LoRA adapters, context and\n"
      "sampling stay soft.");
  app.footer(
      "A first walk:\n"
      "  etch compile model.gguf -o model.etch        freeze a model\n"
      "  etch inspect model.etch                      what became of it\n"
      "  etch run model.etch                          talk to it\n"
      "  etch run model.etch --adapter client-a       … with a LoRA adapter\n"
      "  etch serve model.etch --adapters adapters/   the OpenAI API\n"
      "\n"
      "`etch COMMAND --help` explains a command. Exit codes: 0 done, 1 failed, 2 wrong usage,\n"
      "130 interrupted.");
  app.set_version_flag("--version", "etch " ETCH_VERSION);
  app.require_subcommand(1);
  app.get_formatter()->column_width(34);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace etch::cli;
  CatchInterrupts();
  int exit_code = 0;
  CLI::App app;
  app.name("etch");
  Describe(app);
  AddCompile(app, &exit_code);
  AddInspect(app, &exit_code);
  AddRun(app, &exit_code);
  AddServe(app, &exit_code);
  AddTenant(app, &exit_code);
  AddTune(app, &exit_code);
  AddEval(app, &exit_code);
  AddAdapter(app, &exit_code);
  AddExport(app, &exit_code);
  AddRtl(app, &exit_code);
  AddChip(app, &exit_code);
  AddBench(app, &exit_code);
  AddInfo(app, &exit_code);
  AddCompletion(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  } catch (const std::bad_alloc&) {
    std::fputs("etch: out of memory\n", stderr);
    return kExitFailed;
  } catch (
      const std::exception& error) {  // of a library: a full disk or a closed pipe while printing
    std::fprintf(stderr, "etch: %s\n", error.what());
    return kExitFailed;
  }
  return exit_code;
}
