#pragma once

// From a conversation to the tokens of a prompt. What the template writes may contain control
// tokens; what users write never becomes one: "<|eot_id|>" in a message stays plain text.

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace etch::text {

// Renders `messages`, ready for the assistant's answer, and tokenises the result; bos once, whether
// the template writes it or the vocabulary wants it. `tools_json` is a JSON list of tools, or
// empty. Errors are those of ChatTemplate::Render.
Result<std::vector<TokenId>> EncodeChat(const ChatTemplate& chat_template,
                                        const Tokenizer& tokenizer,
                                        const std::vector<ChatMessage>& messages,
                                        std::string_view tools_json = {});

// EncodeChat in its two steps, for those who cut the text between them: training does, where an
// answer begins. Both arguments outlive it. Thread-safe.
class ChatEncoder {
 public:
  ChatEncoder(const ChatTemplate& chat_template, const Tokenizer& tokenizer);

  // The template's text, in which what users wrote is marked by private-use characters where it
  // reads like a control token. Such texts can be compared, and cut anywhere but inside a mark.
  Result<std::string> Render(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                             std::string_view tools_json = {}) const;

  // A stretch of rendered text, and whether a {% generation %} block wrote it.
  struct Piece {
    std::string text;
    bool is_generated = false;
  };
  // Render without generation prompt, cut by the template's own {% generation %} blocks; one piece
  // when it has none.
  Result<std::vector<Piece>> RenderPieces(const std::vector<ChatMessage>& messages) const;

  // Tokenises rendered text behind `tokens`: with bos when they are empty, else as what goes on
  // from them.
  void Append(std::string_view rendered, std::vector<TokenId>& tokens) const;

 private:
  struct ControlText {
    std::string text;
    TokenId token;
  };

  std::string Shield(std::string_view content) const;
  // Every text in `json`, names too, shielded. What is no JSON stays as it is.
  std::string ShieldJson(std::string_view json) const;
  std::vector<ChatMessage> Shielded(const std::vector<ChatMessage>& messages) const;

  const ChatTemplate& chat_template_;
  const Tokenizer& tokenizer_;
  std::string bos_;
  std::string eos_;
  std::vector<ControlText> controls_;          // longest first
  std::array<bool, 256> may_begin_control_{};  // by first byte
};

}  // namespace etch::text
