#pragma once

// A model as a Hugging Face directory, which `etch compile` and transformers read: what a base that
// was trained from scratch is saved as.

#include <filesystem>
#include <string>
#include <vector>

#include "base/error.h"
#include "export/twin_logits.h"
#include "formats/data_type.h"
#include "model/config.h"
#include "model/vocabulary.h"

namespace etch::exporting {

// Writes config.json, generation_config.json, model.safetensors and the tokenizer's files; the
// folder appears whole, in the place of an older one of its kind, and the same input gives the same
// bytes. `read` gives tensors in Etch's row order (as ingest::SourceModel::Read; a tied head is not
// asked for); `type` is kF32, kF16 or kBf16 for all of them. The folder is then read back: every
// weight must be within the type's rounding (kF32: the same), and sample texts must become the same
// tokens. `notes`, if given, gets a sentence for each thing that tokenizer.json cannot say.
// Memory: the whole model in float. kInvalidArgument for a type or a folder that cannot be used;
// kUnsupported for values beyond the type and for what MakeTokenizerFiles refuses; kMismatch when
// the folder does not read back.
Status WriteHuggingFaceModel(const model::Config& config, const model::Vocabulary& vocabulary,
                             const ReadTensor& read, const std::filesystem::path& path,
                             formats::DataType type, std::vector<std::string>* notes = nullptr);

// config.json of a model; `type` becomes "torch_dtype".
std::string HuggingFaceConfigText(const model::Config& config, const model::Vocabulary& vocabulary,
                                  formats::DataType type);

}  // namespace etch::exporting
