#pragma once

// One function a subcommand, in the order of the pipeline. Each declares its options and, as
// callback, its work; the exit code goes to *exit_code.

#include <CLI/CLI.hpp>

namespace etch::cli {

void AddCompile(CLI::App& app, int* exit_code);
void AddInspect(CLI::App& app, int* exit_code);
void AddRun(CLI::App& app, int* exit_code);
void AddServe(CLI::App& app, int* exit_code);
void AddTenant(CLI::App& app, int* exit_code);
void AddTune(CLI::App& app, int* exit_code);
void AddEval(CLI::App& app, int* exit_code);
void AddAdapter(CLI::App& app, int* exit_code);
void AddExport(CLI::App& app, int* exit_code);
void AddRtl(CLI::App& app, int* exit_code);
void AddChip(CLI::App& app, int* exit_code);
void AddBench(CLI::App& app, int* exit_code);
void AddInfo(CLI::App& app, int* exit_code);
void AddCompletion(CLI::App& app, int* exit_code);

}  // namespace etch::cli
