#pragma once

// llama2.c's .bin files: the legacy header of seven integers, version 1 (floats) and version 2
// (int8 in groups).

#include <filesystem>
#include <memory>

#include "base/bytes.h"
#include "base/error.h"
#include "ingest/source_model.h"

namespace etch::ingest {

// True when `file` begins like one of the three kinds: the magic, or seven sizes that could be a
// model's.
bool LooksLikeLlama2c(Bytes file);

// `tokenizer` may be empty: then tok<vocabulary size>.bin, tokenizer.bin and tokenizer.model are
// looked for beside the model.
Result<std::unique_ptr<SourceModel>> OpenLlama2cModel(const std::filesystem::path& path,
                                                      const std::filesystem::path& tokenizer);

}  // namespace etch::ingest
