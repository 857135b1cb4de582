#pragma once

// Adapters for other programs: llama.cpp's LoRA file, and a PEFT bundle that someone else can load
// without asking: weights, tokenizer, chat template and a model card.

#include <filesystem>
#include <string>
#include <vector>

#include "adapter/adapter.h"
#include "base/error.h"
#include "base/progress.h"
#include "export/model_card.h"
#include "export/parity.h"
#include "image/image.h"

namespace etch::exporting {

struct AdapterReport {
  Parity parity;
  std::vector<std::string> notes;  // what the files cannot say, a sentence each
};

// Each writes, reads back and compares (CheckAdapter) under a temporary name, and leaves nothing
// behind when that fails. kMismatch for an adapter that does not fit the image.
//
// A GGUF file, as adapter::WriteGguf writes it; the notes say when scalings were folded into B.
Result<AdapterReport> WriteAdapterGguf(const adapter::Adapter& adapter, const image::Image& image,
                                       const std::filesystem::path& path,
                                       const CheckOptions& options, const ProgressFn& progress);

// A PEFT directory, as adapter::WritePeft writes it.
Result<AdapterReport> WriteAdapterPeft(const adapter::Adapter& adapter, const image::Image& image,
                                       const std::filesystem::path& path,
                                       const CheckOptions& options, const ProgressFn& progress);

// A PEFT directory with adapter_config.json, adapter_model.safetensors, tokenizer.json,
// tokenizer_config.json, special_tokens_map.json, chat_template.jinja and README.md. It takes the
// place of an older bundle, never of a folder that holds anything else (kInvalidArgument). A
// tokenizer that tokenizer.json cannot hold is left out, and the notes say so.
Result<AdapterReport> WriteAdapterBundle(const adapter::Adapter& adapter, const image::Image& image,
                                         const CardInfo& card, const std::filesystem::path& path,
                                         const CheckOptions& options = {},
                                         const ProgressFn& progress = {});

}  // namespace etch::exporting
