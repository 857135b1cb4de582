#include "export/adapter_export.h"

#include <algorithm>
#include <array>

#include "base/atomic_folder.h"
#include "export/gguf_export.h"
#include "export/huggingface_tokenizer.h"
#include "formats/gguf.h"

namespace etch::exporting {
namespace {

namespace fs = std::filesystem;

// The first two are PEFT's own.
constexpr size_t kPeftNames = 2;
constexpr std::array<std::string_view, 7> kBundleNames = {"adapter_config.json",
                                                          "adapter_model.safetensors",
                                                          "tokenizer.json",
                                                          "tokenizer_config.json",
                                                          "special_tokens_map.json",
                                                          "chat_template.jinja",
                                                          "README.md"};

void AddScalingNotes(const fs::path& file, const adapter::Adapter& adapter,
                     std::vector<std::string>& notes) {
  const auto gguf = formats::GgufFile::Open(file);
  if (!gguf) {
    return;
  }
  const auto alpha = gguf->metadata().Number("adapter.lora.alpha");
  if (alpha && alpha->value_or(0.0) == 0.0) {
    notes.emplace_back(
        "GGUF has one alpha for all layers: the scalings of this adapter differ and were "
        "multiplied "
        "into B");
  }
  const auto [lowest, highest] = std::ranges::minmax(adapter.pairs, {}, &adapter::LoraPair::rank);
  if (lowest.rank != highest.rank) {
    notes.push_back(fmt::format("ranks differ from {} to {}; each layer keeps its own", lowest.rank,
                                highest.rank));
  }
}

// A folder with the adapter and what `add_files` puts beside it.
template <class AddFiles>
Result<AdapterReport> WriteFolder(const adapter::Adapter& adapter, const image::Image& image,
                                  const fs::path& path, std::span<const std::string_view> own_names,
                                  const AddFiles& add_files, const CheckOptions& options,
                                  const ProgressFn& progress) {
  ETCH_ASSIGN_OR_RETURN(AtomicFolder folder, AtomicFolder::Create(path, own_names));
  AdapterReport report;
  const auto write = [&]() -> Status {
    ETCH_TRY(adapter::WritePeft(adapter, image.config(), folder.path()));
    ETCH_TRY(add_files(folder, report));
    ETCH_ASSIGN_OR_RETURN(const adapter::Adapter found,
                          adapter::ReadAdapter(folder.path(), image.config()));
    ETCH_ASSIGN_OR_RETURN(report.parity, CheckAdapter(image, adapter, found, options, progress));
    return folder.Commit();
  };
  if (Status status = write(); !status) {
    return Prefix(path.string(), std::move(status).error());
  }
  return report;
}

}  // namespace

Result<AdapterReport> WriteAdapterGguf(const adapter::Adapter& adapter, const image::Image& image,
                                       const fs::path& path, const CheckOptions& options,
                                       const ProgressFn& progress) {
  AdapterReport report;
  const auto write = [&](const fs::path& file) {
    return adapter::WriteGguf(adapter, image.config(), file);
  };
  const auto check = [&](const fs::path& file) -> Status {
    ETCH_ASSIGN_OR_RETURN(const adapter::Adapter found, adapter::ReadAdapter(file, image.config()));
    ETCH_ASSIGN_OR_RETURN(report.parity, CheckAdapter(image, adapter, found, options, progress));
    AddScalingNotes(file, adapter, report.notes);
    return {};
  };
  if (Status status = internal::WriteChecked(path, write, check); !status) {
    return Prefix(path.string(), std::move(status).error());
  }
  return report;
}

Result<AdapterReport> WriteAdapterPeft(const adapter::Adapter& adapter, const image::Image& image,
                                       const fs::path& path, const CheckOptions& options,
                                       const ProgressFn& progress) {
  const auto nothing_more = [](const AtomicFolder&, AdapterReport&) { return Status(); };
  return WriteFolder(adapter, image, path, std::span(kBundleNames).first(kPeftNames), nothing_more,
                     options, progress);
}

Result<AdapterReport> WriteAdapterBundle(const adapter::Adapter& adapter, const image::Image& image,
                                         const CardInfo& card, const fs::path& path,
                                         const CheckOptions& options, const ProgressFn& progress) {
  const auto add_files = [&](const AtomicFolder& folder, AdapterReport& report) -> Status {
    model::Vocabulary vocabulary = image.vocabulary();
    if (vocabulary.chat_template.empty()) {
      vocabulary.chat_template = card.chat_template;
    }
    const Result<TokenizerFiles> tokenizer = MakeTokenizerFiles(vocabulary, image.config().context);
    if (tokenizer) {
      ETCH_TRY(WriteTokenizerFiles(*tokenizer, folder));
      report.notes = tokenizer->notes;
    } else {
      report.notes.push_back("the tokenizer's files are left out: " + tokenizer.error().message);
    }
    return folder.Write("README.md", ModelCard(adapter, image, card));
  };
  return WriteFolder(adapter, image, path, kBundleNames, add_files, options, progress);
}

}  // namespace etch::exporting
