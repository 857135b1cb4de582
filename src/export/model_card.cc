#include "export/model_card.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

namespace etch::exporting {
namespace {

std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// "8" or "4 to 16".
template <class T>
std::string RangeOf(const std::set<T>& values) {
  if (values.size() == 1) {
    return fmt::format("{:.6g}", static_cast<double>(*values.begin()));
  }
  return fmt::format("{:.6g} to {:.6g}", static_cast<double>(*values.begin()),
                     static_cast<double>(*values.rbegin()));
}

// What the pairs of an adapter have in common.
struct Summary {
  std::set<int64_t> ranks;
  std::set<double> alphas;
  std::string modules;
  int64_t weights = 0;
};

Summary Summarise(const adapter::Adapter& adapter) {
  Summary summary;
  for (const adapter::LoraPair& pair : adapter.pairs) {
    summary.ranks.insert(pair.rank);
    // To six places: what dividing by the rank rounded is no difference.
    summary.alphas.insert(std::round(pair.scaling * static_cast<double>(pair.rank) * 1e6) / 1e6);
    summary.weights += std::ssize(pair.a) + std::ssize(pair.b);
  }
  for (const model::Role role : model::kBlockLinears) {
    const bool is_used = std::ranges::any_of(
        adapter.pairs, [role](const adapter::LoraPair& pair) { return pair.role == role; });
    const std::string_view module = model::HuggingFaceModule(role);
    if (is_used) {
      summary.modules += summary.modules.empty() ? "" : ", ";
      summary.modules += module.substr(module.find('.') + 1);
    }
  }
  return summary;
}

std::string Section(const char* title, const std::string& text) {
  return text.empty() ? "" : fmt::format("\n## {}\n\n{}\n", title, text);
}

std::string FrontMatter(const adapter::Adapter& adapter, const CardInfo& info) {
  std::string text =
      "---\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n- etch\n";
  if (!info.license.empty()) {
    text += fmt::format("license: {}\n", Quoted(info.license));
  }
  if (!adapter.base_model.empty()) {
    text += fmt::format("base_model: {}\n", Quoted(adapter.base_model));
  }
  return text + "---\n\n";
}

std::string LoadingSection(const std::string& image) {
  return fmt::format(
      "\n## Loading\n\n"
      "Etch:\n\n"
      "```\netch run {0} --adapter THIS_FOLDER\n```\n\n"
      "llama.cpp, with the base and the adapter as two files, or merged into one:\n\n"
      "```\n"
      "etch export {0} -o base.gguf\n"
      "etch adapter export {0} THIS_FOLDER -o adapter.gguf --to gguf\n"
      "llama-cli -m base.gguf --lora adapter.gguf\n"
      "\n"
      "etch export {0} --adapter THIS_FOLDER -o merged.gguf\n"
      "```\n\n"
      "PEFT, on the exported base (transformers dequantises GGUF):\n\n"
      "```python\n"
      "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
      "from peft import PeftModel\n"
      "\n"
      "base = AutoModelForCausalLM.from_pretrained(\".\", gguf_file=\"base.gguf\")\n"
      "model = PeftModel.from_pretrained(base, \"THIS_FOLDER\")\n"
      "tokenizer = AutoTokenizer.from_pretrained(\"THIS_FOLDER\")\n"
      "```\n",
      image);
}

}  // namespace

std::string ModelCard(const adapter::Adapter& adapter, const image::Image& image,
                      const CardInfo& info) {
  const Summary summary = Summarise(adapter);
  const std::string image_file = info.image_file.empty() ? image.name() + ".etch" : info.image_file;
  std::string text = FrontMatter(adapter, info);
  text += fmt::format("# {}\n\nA LoRA adapter for {}.\n\n",
                      info.title.empty() ? adapter.name : info.title, image.name());
  text += fmt::format(
      "| | |\n|---|---|\n"
      "| base | {} (image fingerprint `{:016x}`) |\n"
      "| rank | {} |\n| alpha | {} |\n| layers | {} linear layers in {} blocks: {} |\n"
      "| weights | {} |\n",
      image.name(), image.fingerprint(), RangeOf(summary.ranks), RangeOf(summary.alphas),
      adapter.pairs.size(), image.config().n_layers, summary.modules, summary.weights);
  text += Section(
      "Base",
      fmt::format(
          "The adapter belongs to the *dequantised* base of this image: the low-bit weights "
          "that it was trained against and is served on, not the original weights{}. On the "
          "original it adds its correction to weights that lack the error which it "
          "corrects.",
          adapter.base_model.empty() ? "" : fmt::format(" of {}", adapter.base_model)));
  text += Section("Training data", info.data);
  text += Section("Training", info.training);
  text += Section("Evaluation", info.evaluation);
  return text + LoadingSection(image_file);
}

}  // namespace etch::exporting
