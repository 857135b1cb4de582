#pragma once

// Images of random weights in the true shape of a model whose weights are not at hand, made in
// seconds: packed codes are drawn directly, where Compile() over ingest::MakeSyntheticModel draws
// float weights and quantises them. For sizes, speeds and hardware; not for quality.

#include <cstdint>
#include <filesystem>

#include "compile/compile.h"

namespace etch::compile {

// `source` is a model that MakeSyntheticModel made: its sizes, vocabulary and norms are taken. The
// formats are those that Compile would choose for weights that are all alike: by the sensitivity of
// the roles, within `options.bits`; every input A8, since random weights have no outlier channels.
// Activations keep order one: a row's weights have standard deviation 1 / sqrt(cols). The same seed
// gives the same bytes, for any number of threads. Errors as Compile.
Result<CompileReport> CompileSynthetic(const ingest::SourceModel& source, uint64_t seed,
                                       const std::filesystem::path& out,
                                       const CompileOptions& options, const ProgressFn& progress);

}  // namespace etch::compile
