// etch info: the program and what this machine lets it do.

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "engine/cpu/kernels.h"

namespace etch::cli {

void AddInfo(CLI::App& app, int* exit_code) {
  CLI::App* command =
      app.add_subcommand("info", "Version, instruction sets and threads of this machine");
  auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print one JSON object");
  command->callback([json, exit_code] {
    std::vector<std::string> sets;
    for (const engine::KernelSet* set : engine::AvailableKernels()) {
      sets.emplace_back(set->isa);
    }
    const int threads = ThreadPool(0).threads();
    if (*json) {
      PrintJson(nlohmann::ordered_json({{"version", ETCH_VERSION},
                                        {"numeric_contract", 1},
                                        {"backends", {"cpu", "reference", "float", "rtl"}},
                                        {"isa", sets},
                                        {"threads", threads}}));
    } else {
      fmt::print("etch {}, numeric contract v1\n", ETCH_VERSION);
      fmt::print("backends          cpu, reference, float\n");
      fmt::print("instruction sets  {}\n", fmt::join(sets, ", "));
      fmt::print("threads           {}\n", threads);
    }
    *exit_code = 0;
  });
}

}  // namespace etch::cli
