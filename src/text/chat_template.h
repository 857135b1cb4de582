#pragma once

// Chat templates: the subset of Jinja2 that published models use, rendered within fixed bounds of steps, memory and
// nesting, with no access to anything but its inputs. Untrusted: templates come inside model files.

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace etch::text {

struct ChatMessage {
  std::string role;
  std::string content;
};

struct RenderLimits {
  int64_t max_steps = 2'000'000;          // evaluated nodes
  int64_t max_output_bytes = 16 << 20;
  int64_t max_value_bytes = 64 << 20;     // all strings and lists alive at once, roughly
  int max_depth = 100;                    // nesting of expressions, calls and blocks
};

class ChatTemplate {
 public:
  // Parses. kMalformed with line and column for a syntax error, kUnsupported for what the subset leaves out.
  static Result<ChatTemplate> Parse(std::string_view source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // Renders with the variables of `context_json`, a JSON object (messages, tools, add_generation_prompt, bos_token …).
  // An error raised by the template (raise_exception) is kInvalidArgument with its message.
  Result<std::string> Render(std::string_view context_json, const RenderLimits& limits = {}) const;

  // The common case: messages, bos and eos text.
  Result<std::string> RenderChat(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                                 std::string_view bos_token, std::string_view eos_token,
                                 const RenderLimits& limits = {}) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace etch::text
