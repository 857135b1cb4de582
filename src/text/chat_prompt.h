#pragma once

// From a conversation to the tokens of a prompt. What the template writes may contain control
// tokens; what users write never becomes one: "<|eot_id|>" in a message stays plain text.

#include <vector>

#include "base/error.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace etch::text {

// Renders `messages`, ready for the assistant's answer, and tokenises the result; bos once, whether
// the template writes it or the vocabulary wants it. Errors are those of ChatTemplate::Render.
Result<std::vector<TokenId>> EncodeChat(const ChatTemplate& chat_template,
                                        const Tokenizer& tokenizer,
                                        const std::vector<ChatMessage>& messages);

}  // namespace etch::text
