// etch bench: tokens a second, and which share of the machine's limits that is. The parts lie in
// bench/.

#include <fmt/format.h>

#include <memory>

#include "cli/bench/measure.h"
#include "cli/bench/report.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"

namespace etch::cli {
namespace {

int Execute(const BenchOptions& options) {
  if (const Status fit = options.csv.empty() ? Status() : CheckBenchCsv(options.csv); !fit) {
    return Report(fit.error());
  }
  const Result<BenchReport> report = RunBench(options);
  if (!report) {
    return Report(report.error());
  }
  if (options.json) {
    fmt::print("{}\n", BenchJson(*report));
  } else {
    fmt::print("{}", BenchTable(*report));
  }
  if (!options.csv.empty()) {
    if (const Status written = AppendBenchCsv(*report, options.csv); !written) {
      return Report(written.error());
    }
  }
  return report->interrupted ? kExitInterrupted : 0;
}

}  // namespace

void AddBench(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* command = app.add_subcommand("bench", "Tokens a second against the machine's limits");
  command->footer(
      "Two limits are measured in the same run, before and after the rows: how fast all threads\n"
      "together read memory, and how many 8-bit multiplies and adds they do in registers.\n"
      "\n"
      "  decode    one token a session. It must read every weight once, the context so far, and\n"
      "            the adapters: one session is bound by reading (`of read`). A batch reads the\n"
      "            weights once for all, so tokens/s, which count all sessions, grow with it\n"
      "            until arithmetic binds (`of int8`)\n"
      "  prefill   a prompt: many tokens on each weight read, bound by arithmetic\n"
      "  adapters  seeded random ones of rank 16 on every linear layer, unless --adapter gives\n"
      "            one; 15: a batch of 16 sessions, fifteen with an adapter of their own each\n"
      "\n"
      "A context is up to 1,024 tokens that are run first, for six times --seconds at most, and\n"
      "then repeated: what attention costs depends on what it finds.\n"
      "\n"
      "tokens/s is the median step, `best` the shortest. A model that fits the caches can exceed\n"
      "the read limit, which is that of memory; operations of attention are not counted. Other\n"
      "programs disturb: measure on a quiet machine, and compare fractions rather than tokens/s.\n"
      "Ctrl-C ends early and prints what has been measured.\n"
      "\n"
      "  etch bench model.etch --quick\n"
      "  etch bench model.etch --context 0,2048 -t 1\n"
      "  etch bench model.etch --csv bench/results/my-machine.csv && bench/plot.py");
  AddRunOptions(*command, options->model, true);
  // Elsewhere the length of a session, which here follows from the rows.
  command->remove_option(command->get_option("--context"));
  command
      ->add_option("-c,--context", options->contexts,
                   "Tokens before the decoded one, as a list; default 0,1024,4096,16384 as far "
                   "as the model goes")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber);
  command->add_option("--seconds", options->seconds, "Time for each row")
      ->check(CLI::Range(0.01, 3600.0))
      ->capture_default_str();
  command->add_flag("--quick", options->quick,
                    "Only decode at context 0 with batch 1 and 16, and prefill of 512");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->add_option("--csv", options->csv, "Also append the rows to FILE, made if missing")
      ->type_name("FILE");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
