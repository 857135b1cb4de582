#include "cli/tune/scratch_config.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/file.h"
#include "ingest/huggingface_config.h"
#include "tune/optimizer.h"

namespace etch::cli {
namespace {

using nlohmann::json;

// Reads the keys of one part; what was never asked for is unknown.
class Part {
 public:
  Part(const json& file, const char* name) : name_(name) {
    const auto found = file.find(name);
    if (found == file.end() || !found->is_object()) {
      Note(fmt::format("has no object \"{}\"", name));
    } else {
      object_ = *found;
    }
  }

  // `out` keeps its value when the key is missing and `required` is false.
  template <class T>
  void Read(const char* key, T& out, bool required = false) {
    seen_.insert(key);
    const auto found = object_.find(key);
    if (found == object_.end()) {
      if (required) {
        Note(fmt::format("{}.{}: is missing", name_, key));
      }
      return;
    }
    try {
      out = found->get<T>();
    } catch (const json::exception&) {
      Note(fmt::format("{}.{}: {} is of the wrong type", name_, key, found->dump()));
    }
  }

  Status Finish() {
    for (const auto& [key, value] : object_.items()) {
      if (!seen_.contains(key)) {
        Note(fmt::format("{}.{}: is unknown", name_, key));
      }
    }
    return problem_.empty() ? Status() : Fail(ErrorCode::kMalformed, "{}", problem_);
  }

 private:
  void Note(std::string problem) {
    if (problem_.empty()) {
      problem_ = std::move(problem);
    }
  }

  std::string name_;
  json object_ = json::object();
  std::set<std::string> seen_;
  std::string problem_;
};

Status ReadTokenizer(const json& file, const std::filesystem::path& folder, ScratchConfig& out) {
  Part part(file, "tokenizer");
  std::string chat_template;
  part.Read("control_tokens", out.tokenizer.control_tokens, true);
  part.Read("bos_token", out.tokenizer.bos);
  part.Read("eos_token", out.tokenizer.end_of_turn, true);
  part.Read("chat_template", chat_template);
  ETCH_TRY(part.Finish());
  out.tokenizer.vocab_size = out.model.vocab_size;
  if (!chat_template.empty()) {
    ETCH_ASSIGN_OR_RETURN(out.tokenizer.chat_template, ReadSmallFile(folder / chat_template));
  }
  return {};
}

Status ReadTraining(const json& file, ScratchConfig& out) {
  Part part(file, "training");
  tune::OptimizerSettings& optimizer = out.trainer.optimizer;
  int64_t tokens = 0;
  int64_t batch_tokens = 0;
  int64_t warmup_steps = 0;
  double lowest = 0.0;
  std::string schedule = "cosine";
  out.train_on = "all";
  part.Read("tokens", tokens, true);
  part.Read("batch_tokens", batch_tokens, true);
  part.Read("length", out.length, true);
  part.Read("learning_rate", optimizer.learning_rate, true);
  part.Read("min_learning_rate", lowest);
  part.Read("schedule", schedule);
  part.Read("warmup_steps", warmup_steps);
  part.Read("weight_decay", optimizer.weight_decay);
  part.Read("beta1", optimizer.beta1);
  part.Read("beta2", optimizer.beta2);
  part.Read("clip_norm", optimizer.clip);
  part.Read("seed", out.trainer.seed);
  part.Read("train_on", out.train_on);
  ETCH_TRY(part.Finish());
  ETCH_ASSIGN_OR_RETURN(optimizer.schedule, tune::ParseSchedule(schedule));
  if (out.length < 2 || out.length > out.model.context || batch_tokens < out.length ||
      tokens < batch_tokens) {
    return Fail(ErrorCode::kMalformed,
                "training: needs 2 <= length <= context ({}), length <= batch_tokens <= tokens",
                out.model.context);
  }
  if (!(optimizer.learning_rate > 0.0) || lowest < 0.0 || lowest > optimizer.learning_rate) {
    return Fail(ErrorCode::kMalformed,
                "training: needs 0 <= min_learning_rate <= learning_rate, and a positive one");
  }
  out.trainer.batch = batch_tokens / out.length;
  out.trainer.max_steps = tokens / batch_tokens;
  optimizer.warmup = static_cast<double>(warmup_steps) / static_cast<double>(out.trainer.max_steps);
  optimizer.floor = lowest / optimizer.learning_rate;
  return {};
}

}  // namespace

Result<ScratchConfig> ReadScratchConfig(const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(path, uint64_t{1} << 20));
  const json file = json::parse(text, nullptr, false);
  if (!file.is_object() || !file.contains("model")) {
    return Fail(ErrorCode::kMalformed, "{}: is no JSON object with a \"model\"", path.string());
  }
  ScratchConfig out;
  const auto located = [&](const Error& error) { return Prefix(path.string(), error); };
  Result<model::Config> model = ingest::ReadHuggingFaceConfig(file["model"].dump());
  if (!model) {
    return located(model.error());
  }
  out.model = *model;
  if (const Status status = ReadTokenizer(file, path.parent_path(), out); !status) {
    return located(status.error());
  }
  if (const Status status = ReadTraining(file, out); !status) {
    return located(status.error());
  }
  return out;
}

}  // namespace etch::cli
