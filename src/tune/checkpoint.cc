#include "tune/checkpoint.h"

#include <charconv>
#include <cstring>
#include <vector>

#include "formats/safetensors.h"

namespace etch::tune {
namespace {

constexpr const char* kState = "state";
constexpr const char* kSteps = "optimizer_steps";

struct Part {
  const char* prefix;
  std::span<const float> values;
};

}  // namespace

Status WriteCheckpoint(const std::filesystem::path& path, const Parameters& parameters,
                       const AdamW& optimizer, const std::string& state) {
  std::vector<formats::SafetensorsSource> sources;
  for (const Part& part : {Part{"value.", parameters.values()}, Part{"first.", optimizer.first()},
                           Part{"second.", optimizer.second()}}) {
    for (int64_t index = 0; index < std::ssize(parameters.tensors()); ++index) {
      const Parameters::Tensor& tensor = parameters.tensors()[static_cast<size_t>(index)];
      sources.push_back({part.prefix + tensor.name,
                         formats::DataType::kF32,
                         {tensor.rows, tensor.cols},
                         parameters.Part(part.values, index)});
    }
  }
  return formats::WriteSafetensors(path, sources,
                                   {{kState, state}, {kSteps, std::to_string(optimizer.steps())}});
}

Result<std::string> ReadCheckpoint(const std::filesystem::path& path, Parameters& parameters,
                                   AdamW& optimizer) {
  ETCH_ASSIGN_OR_RETURN(const formats::SafetensorsFile file, formats::SafetensorsFile::Open(path));
  const auto state = file.metadata().find(kState);
  const auto steps = file.metadata().find(kSteps);
  int64_t step_count = 0;
  if (state == file.metadata().end() || steps == file.metadata().end() ||
      std::from_chars(steps->second.data(), steps->second.data() + steps->second.size(), step_count)
              .ec != std::errc()) {
    return Fail(ErrorCode::kMismatch, "{}: is no checkpoint of a training run", path.string());
  }
  struct Target {
    const char* prefix;
    std::span<float> values;
  };
  const std::vector<Target> targets = {{"value.", parameters.values()},
                                       {"first.", optimizer.first()},
                                       {"second.", optimizer.second()}};
  if (std::ssize(file.tensors()) != std::ssize(targets) * std::ssize(parameters.tensors())) {
    return Fail(ErrorCode::kMismatch, "{}: holds {} tensors, this run has {}", path.string(),
                file.tensors().size(), targets.size() * parameters.tensors().size());
  }
  // All is looked at before anything is changed.
  std::vector<std::pair<std::span<float>, Bytes>> copies;
  for (const Target& target : targets) {
    for (int64_t index = 0; index < std::ssize(parameters.tensors()); ++index) {
      const Parameters::Tensor& tensor = parameters.tensors()[static_cast<size_t>(index)];
      const formats::SafetensorsEntry* entry = file.Find(target.prefix + tensor.name);
      if (entry == nullptr || entry->type != formats::DataType::kF32 ||
          entry->shape != std::vector{tensor.rows, tensor.cols}) {
        return Fail(ErrorCode::kMismatch,
                    "{}: has no {}{} of {} x {}; it is of a run with other "
                    "settings",
                    path.string(), target.prefix, tensor.name, tensor.rows, tensor.cols);
      }
      copies.emplace_back(parameters.Part(target.values, index), file.Data(*entry));
    }
  }
  for (const auto& [to, from] : copies) {
    std::memcpy(to.data(), from.data(), from.size());
  }
  optimizer.set_steps(step_count);
  return state->second;
}

}  // namespace etch::tune
