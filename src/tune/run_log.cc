#include "tune/run_log.h"

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace etch::tune {

using nlohmann::ordered_json;

bool RunLog::Remember(const std::string& line, int64_t step) {
  const auto json = ordered_json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer() ||
      json["step"] > step) {
    return false;
  }
  const auto number = [&](const char* key) {
    return json.contains(key) && json[key].is_number() ? json[key].get<double>() : 0.0;
  };
  if (json.contains("loss")) {
    steps_.push_back({json["step"].get<int64_t>(), static_cast<int64_t>(number("steps")),
                      number("epoch"), number("loss"), number("rate"), number("gradient"),
                      static_cast<int64_t>(number("tokens")), number("seconds")});
  } else if (json.contains("validation_loss")) {
    validations_.push_back(
        {json["step"].get<int64_t>(), number("validation_loss"), json.value("best", false)});
  }
  return true;
}

Result<RunLog> RunLog::Open(const std::filesystem::path& path, int64_t step) {
  RunLog log;
  log.path_ = path;
  std::string kept;
  if (step > 0 && std::filesystem::exists(path)) {
    ETCH_ASSIGN_OR_RETURN(const std::string before, ReadSmallFile(path));
    for (size_t begin = 0; begin < before.size();) {
      const size_t end = before.find('\n', begin);
      if (end == std::string::npos) {
        break;
      }
      const std::string line = before.substr(begin, end - begin);
      if (log.Remember(line, step)) {
        kept += line + "\n";
      }
      begin = end + 1;
    }
  }
  ETCH_TRY(WriteFileAtomically(path, AsBytes(kept)));
  log.file_.reset(std::fopen(path.c_str(), "ae"));
  if (!log.file_) {
    return Fail(ErrorCode::kIo, "{}: cannot open: {}", path.string(), std::strerror(errno));
  }
  return log;
}

Status RunLog::AddLine(const std::string& line) {
  const std::string whole = line + "\n";
  if (std::fwrite(whole.data(), 1, whole.size(), file_.get()) != whole.size() ||
      std::fflush(file_.get()) != 0) {
    return Fail(errno == ENOSPC ? ErrorCode::kNoSpace : ErrorCode::kIo, "{}: cannot write: {}",
                path_.string(), std::strerror(errno));
  }
  return {};
}

Status RunLog::Add(const StepReport& report) {
  steps_.push_back(report);
  return AddLine(ordered_json{{"step", report.step},
                              {"steps", report.steps},
                              {"epoch", report.epoch},
                              {"loss", report.loss},
                              {"rate", report.rate},
                              {"gradient", report.gradient_length},
                              {"tokens", report.tokens},
                              {"seconds", report.seconds}}
                     .dump());
}

Status RunLog::Add(const ValidationReport& report) {
  validations_.push_back(report);
  return AddLine(ordered_json{
      {"step", report.step}, {"validation_loss", report.loss}, {"best", report.is_best}}
                     .dump());
}

Status RunLog::Add(const TextSample& sample) {
  return AddLine(
      ordered_json{{"step", sample.step}, {"prompt", sample.prompt}, {"text", sample.text}}.dump(
          -1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace etch::tune
