#pragma once

// What a chat model writes, cut into what it means: thoughts between <think> and </think>, calls of
// tools, and the answer. Works on text as it streams; what may be the beginning of a mark is held
// back.
//
// Calls are read in two forms: <tool_call>{"name": …, "arguments": {…}}</tool_call> (Hermes, Qwen)
// anywhere, and, as Llama 3.1 writes them, an answer that is nothing but {"name": …, "parameters":
// {…}}, several joined by semicolons, behind an optional <|python_tag|>. What looks like a call and
// is none stays text.

#include <string>
#include <string_view>
#include <vector>

namespace etch::serve {

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON
};

// What became certain.
struct ReplyPiece {
  std::string content;
  std::string reasoning;
  std::vector<ToolCall> calls;
};

class ReplyParts {
 public:
  // `tool_names` empty: no calls are looked for. `thinking`: the prompt ends in <think> already.
  ReplyParts(std::vector<std::string> tool_names, bool thinking);

  // `last`: nothing follows.
  ReplyPiece Push(std::string_view text, bool last);
  // Calls so far.
  int64_t calls() const { return calls_; }

 private:
  enum class State { kStart, kThinking, kAnswerStart, kAnswer, kCall, kWholeCall };

  // One step from what is held; false when more text is needed.
  bool Step(bool last, ReplyPiece& out);
  bool Start(bool last);
  bool Think(bool last, ReplyPiece& out);
  bool StartAnswer(bool last);
  bool Answer(bool last, ReplyPiece& out);
  bool Call(bool last, ReplyPiece& out);
  bool WholeCall(bool last, ReplyPiece& out);
  // Adds to the answer's text, on a line of its own behind a call.
  void Say(const std::string& text, ReplyPiece& out);
  // Takes everything that cannot be the beginning of `mark`; all of it when `last`.
  std::string TakeUntil(std::string_view mark, bool last);
  // Whether `json` is a call of one of the tools.
  bool AddCall(std::string_view json, std::vector<ToolCall>& calls) const;

  std::vector<std::string> tool_names_;
  State state_ = State::kStart;
  std::string held_;
  bool skip_space_ = false;  // at the beginning of what follows
  bool is_parted_ = false;   // from what was said, by space or a call
  bool said_ = false;        // some of the answer's text is out
  int64_t calls_ = 0;
};

}  // namespace etch::serve
