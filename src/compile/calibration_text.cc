#include "compile/calibration_text.h"

#include <xxhash.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/file.h"
#include "text/tokenizer.h"

namespace etch::compile {
namespace {

constexpr int64_t kSequence = 512;
constexpr uint64_t kMaxTextBytes = uint64_t{256} << 20;
// No vocabulary has longer tokens on average; what lies behind so many bytes is never used.
constexpr int64_t kBytesPerToken = 32;

}  // namespace

Result<CalibrationText> ReadCalibrationText(const std::filesystem::path& path,
                                            const ingest::SourceModel& source, int64_t max_tokens) {
  if (max_tokens < 1) {
    return Fail(ErrorCode::kInvalidArgument, "{} calibration tokens: at least 1 is needed",
                max_tokens);
  }
  ETCH_ASSIGN_OR_RETURN(std::string text, ReadSmallFile(path, kMaxTextBytes));
  CalibrationText result;
  result.size_bytes = text.size();
  result.xxh3 = XXH3_64bits(text.data(), text.size());
  const auto useful = static_cast<uint64_t>(std::min<int64_t>(max_tokens, 1 << 22)) *
                      static_cast<uint64_t>(kBytesPerToken);
  text.resize(std::min<uint64_t>(text.size(), useful));

  ETCH_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::Create(source.vocabulary()));
  const std::vector<int32_t> tokens = tokenizer->Encode(text, {.add_special = false});
  const bool with_bos = source.vocabulary().add_bos && source.vocabulary().bos != model::kNoToken;
  const auto length = static_cast<size_t>(std::min(kSequence, source.config().context));
  const auto wanted = std::min(tokens.size(), static_cast<size_t>(max_tokens));
  size_t next = 0;
  while (next < wanted) {
    std::vector<int32_t> sequence;
    if (with_bos && length > 1) {
      sequence.push_back(source.vocabulary().bos);
    }
    while (next < wanted && sequence.size() < length) {
      sequence.push_back(tokens[next++]);
    }
    result.sequences.push_back(std::move(sequence));
  }
  if (result.sequences.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "{}: the calibration text is empty", path.string());
  }
  return result;
}

}  // namespace etch::compile
