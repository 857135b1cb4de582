#include "serve/reply_parts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "serve/json_fields.h"
#include "serve/request_log.h"  // RandomId

namespace etch::serve {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr std::string_view kThink = "<think>";
constexpr std::string_view kThinkEnd = "</think>";
constexpr std::string_view kCallMark = "<tool_call>";
constexpr std::string_view kCallEnd = "</tool_call>";
constexpr std::string_view kPythonTag = "<|python_tag|>";
constexpr size_t kMaxCallBytes = 256 << 10;

std::string_view SkipSpace(std::string_view text) {
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string_view::npos ? std::string_view() : text.substr(begin);
}

}  // namespace

ReplyParts::ReplyParts(std::vector<std::string> tool_names, bool thinking)
    : tool_names_(std::move(tool_names)), state_(thinking ? State::kThinking : State::kStart) {
  skip_space_ = thinking;
}

ReplyPiece ReplyParts::Push(std::string_view text, bool last) {
  held_ += text;
  ReplyPiece out;
  while (Step(last, out)) {
  }
  calls_ += std::ssize(out.calls);
  said_ = said_ || !out.content.empty();
  return out;
}

bool ReplyParts::Step(bool last, ReplyPiece& out) {
  switch (state_) {
    case State::kStart:
      return Start(last);
    case State::kThinking:
      return Think(last, out);
    case State::kAnswerStart:
      return StartAnswer(last);
    case State::kAnswer:
      return Answer(last, out);
    case State::kCall:
      return Call(last, out);
    case State::kWholeCall:
      return WholeCall(last, out);
  }
  return false;
}

bool ReplyParts::Start(bool last) {
  const std::string_view text = SkipSpace(held_);
  if (text.starts_with(kThink)) {
    held_ = std::string(text.substr(kThink.size()));
    state_ = State::kThinking;
    skip_space_ = true;
    return true;
  }
  if (!last && kThink.starts_with(text)) {
    return false;
  }
  state_ = State::kAnswerStart;
  return true;
}

bool ReplyParts::Think(bool last, ReplyPiece& out) {
  const size_t end = held_.find(kThinkEnd);
  std::string thought =
      end == std::string::npos ? TakeUntil(kThinkEnd, last) : held_.substr(0, end);
  if (skip_space_) {
    thought = std::string(SkipSpace(thought));
    skip_space_ = thought.empty();
  }
  out.reasoning += thought;
  if (end == std::string::npos) {
    return false;
  }
  held_.erase(0, end + kThinkEnd.size());
  state_ = State::kAnswerStart;
  skip_space_ = true;
  return true;
}

bool ReplyParts::StartAnswer(bool last) {
  if (tool_names_.empty()) {
    state_ = State::kAnswer;
    return true;
  }
  const std::string_view text = SkipSpace(held_);
  if (!last &&
      (text.empty() || (kPythonTag.starts_with(text) && text.size() < kPythonTag.size()))) {
    return false;
  }
  const bool may_be_call = text.starts_with("{") || text.starts_with(kPythonTag);
  state_ = may_be_call ? State::kWholeCall : State::kAnswer;
  return true;
}

bool ReplyParts::Answer(bool last, ReplyPiece& out) {
  if (skip_space_) {
    held_ = std::string(SkipSpace(held_));
    if (held_.empty()) {
      return false;
    }
    skip_space_ = false;
    is_parted_ = true;
  }
  if (tool_names_.empty()) {
    out.content += std::exchange(held_, {});
    return false;
  }
  const size_t mark = held_.find(kCallMark);
  if (mark == std::string::npos) {
    Say(TakeUntil(kCallMark, last), out);
    return false;
  }
  const std::string before = held_.substr(0, mark);
  Say(before.substr(0, before.find_last_not_of(kSpace) + 1), out);
  held_.erase(0, mark + kCallMark.size());
  state_ = State::kCall;
  return true;
}

bool ReplyParts::Call(bool last, ReplyPiece& out) {
  const size_t end = held_.find(kCallEnd);
  if (end == std::string::npos && !last && held_.size() <= kMaxCallBytes) {
    return false;
  }
  const std::string json = held_.substr(0, end);
  held_.erase(0, end == std::string::npos ? held_.size() : end + kCallEnd.size());
  if (!AddCall(json, out.calls)) {
    out.content += std::string(kCallMark) + json;
    out.content += end == std::string::npos ? "" : kCallEnd;
  }
  state_ = State::kAnswer;
  skip_space_ = true;
  return true;
}

bool ReplyParts::WholeCall(bool last, ReplyPiece& out) {
  if (!last && held_.size() <= kMaxCallBytes) {
    return false;
  }
  std::string_view rest = SkipSpace(held_);
  if (rest.starts_with(kPythonTag)) {
    rest = SkipSpace(rest.substr(kPythonTag.size()));
  }
  std::vector<ToolCall> calls;
  // Each call ends at the first semicolon or end that makes it one; a few hundred are tried.
  for (size_t end = rest.find(';'), tries = 0; !rest.empty() && tries < 256; ++tries) {
    if (AddCall(rest.substr(0, end), calls)) {
      rest = end == std::string_view::npos ? "" : SkipSpace(rest.substr(end + 1));
      end = rest.find(';');
    } else if (end == std::string_view::npos) {
      break;
    } else {
      end = rest.find(';', end + 1);
    }
  }
  if (rest.empty() && !calls.empty()) {
    out.calls.insert(out.calls.end(), calls.begin(), calls.end());
    held_.clear();
  }
  state_ = State::kAnswer;
  return true;
}

void ReplyParts::Say(const std::string& text, ReplyPiece& out) {
  if (text.empty()) {
    return;
  }
  if (is_parted_ && (said_ || !out.content.empty())) {
    out.content += '\n';
  }
  is_parted_ = false;
  out.content += text;
}

std::string ReplyParts::TakeUntil(std::string_view mark, bool last) {
  size_t keep = 0;
  if (!last) {
    for (size_t size = std::min(mark.size() - 1, held_.size()); size > 0 && keep == 0; --size) {
      keep = held_.ends_with(mark.substr(0, size)) ? size : 0;
    }
    // Space before a call is not part of the answer.
    if (mark == kCallMark) {
      const std::string_view before = std::string_view(held_).substr(0, held_.size() - keep);
      keep = held_.size() - (before.find_last_not_of(kSpace) + 1);
    }
  }
  std::string taken = held_.substr(0, held_.size() - keep);
  held_.erase(0, taken.size());
  return taken;
}

bool ReplyParts::AddCall(std::string_view json, std::vector<ToolCall>& calls) const {
  const Result<Json> call = ParseObject(json);
  if (!call) {
    return false;
  }
  const Json* name = Field(*call, "name");
  const Json* arguments = Field(*call, "arguments");
  if (arguments == nullptr) {
    arguments = Field(*call, "parameters");
  }
  Json object = arguments == nullptr ? Json::object() : *arguments;
  if (object.is_string()) {  // as OpenAI's messages have it
    object = ParseObject(object.get<std::string>()).value_or(Json());
  }
  if (name == nullptr || !name->is_string() || !object.is_object()) {
    return false;
  }
  const auto tool = name->get<std::string>();
  if (std::ranges::find(tool_names_, tool) == tool_names_.end()) {
    return false;
  }
  calls.push_back({RandomId("call_", 12), tool, DumpJson(object)});
  return true;
}

}  // namespace etch::serve
