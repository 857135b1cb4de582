#pragma once

// A tokenizer whose ids can be read: bytes are themselves, control tokens stand above them.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace etch::tune {

constexpr model::TokenId kBos = 256;
constexpr model::TokenId kEnd = 257;
constexpr model::TokenId kUser = 258;
constexpr model::TokenId kAssistant = 259;

// Writes <|user|>…<|end|><|assistant|>…<|end|>; the system's turn is a user's.
constexpr const char* kTestTemplate =
    "{% for m in messages %}"
    "{{ '<|assistant|>' if m.role == 'assistant' else '<|user|>' }}{{ m.content }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";

inline model::Vocabulary ByteVocabulary() {
  model::Vocabulary vocabulary;
  vocabulary.ranks_are_ids = true;
  for (int byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back({std::string(1, static_cast<char>(byte))});
  }
  for (const char* control : {"<s>", "<|end|>", "<|user|>", "<|assistant|>"}) {
    vocabulary.tokens.push_back({control, 0.0F, model::TokenType::kControl});
  }
  vocabulary.bos = kBos;
  vocabulary.eos = kEnd;
  vocabulary.add_bos = true;
  vocabulary.end_of_generation = {kEnd};
  return vocabulary;
}

inline std::unique_ptr<text::Tokenizer> ByteTokenizer(model::Vocabulary vocabulary) {
  auto tokenizer = text::Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer) << (tokenizer ? "" : tokenizer.error().message);
  return std::move(*tokenizer);
}

inline std::unique_ptr<text::Tokenizer> ByteTokenizer() { return ByteTokenizer(ByteVocabulary()); }

}  // namespace etch::tune
