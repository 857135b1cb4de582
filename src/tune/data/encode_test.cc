#include "tune/data/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "text/chat_prompt.h"
#include "tune/data/byte_tokenizer_test.h"

namespace etch::tune {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Turns = std::vector<text::ChatMessage>;

Dataset Chats(const std::vector<Turns>& rows, Schema schema = Schema::kMessages) {
  Dataset dataset;
  dataset.schema = schema;
  for (const Turns& turns : rows) {
    dataset.examples.push_back({turns, "", std::ssize(dataset.examples) + 1});
  }
  return dataset;
}

Dataset Texts(const std::vector<std::string>& texts) {
  Dataset dataset;
  for (const std::string& text : texts) {
    dataset.examples.push_back({{}, text, std::ssize(dataset.examples) + 1});
  }
  return dataset;
}

// Tokens as text, control tokens spelled out, trained stretches in [].
std::string Shown(const text::Tokenizer& tokenizer, const Sample& sample) {
  EXPECT_EQ(sample.trained.size(), sample.tokens.size());
  std::string shown;
  bool was_trained = false;
  for (size_t index = 0; index < sample.tokens.size(); ++index) {
    const bool is_trained = sample.trained[index] != 0;
    shown += is_trained == was_trained ? "" : is_trained ? "[" : "]";
    shown += tokenizer.TokenBytes(sample.tokens[index], true);
    was_trained = is_trained;
  }
  return shown + (was_trained ? "]" : "");
}

class EncodeTest : public ::testing::Test {
 protected:
  // Without a template when `source` is null.
  void Encode(const Dataset& dataset, const char* source, const SampleOptions& options = {},
              const model::Vocabulary& vocabulary = ByteVocabulary()) {
    tokenizer_ = ByteTokenizer(vocabulary);
    std::optional<text::ChatTemplate> chat;
    if (source != nullptr) {
      auto parsed = text::ChatTemplate::Parse(source);
      ASSERT_TRUE(parsed) << parsed.error().message;
      chat = std::move(*parsed);
    }
    auto encoded = EncodeDataset(dataset, *tokenizer_, chat ? &*chat : nullptr, options);
    ASSERT_TRUE(encoded) << encoded.error().message;
    set_ = std::move(*encoded);
    shown_.clear();
    for (const Sample& sample : set_.samples) {
      shown_.push_back(Shown(*tokenizer_, sample));
    }
  }

  // Each finding as "severity: code (lines)".
  std::vector<std::string> Findings() const {
    std::vector<std::string> found;
    for (Finding finding : set_.findings) {
      finding.message.clear();
      found.push_back(Describe(finding));
    }
    return found;
  }

  std::unique_ptr<text::Tokenizer> tokenizer_;
  SampleSet set_;
  std::vector<std::string> shown_;
};

const Turns kTwoAnswers = {{"user", "a"}, {"assistant", "b"}, {"user", "c"}, {"assistant", "d"}};

TEST_F(EncodeTest, AnswersAndTheirEndsAreTrained) {
  Encode(Chats({kTwoAnswers}), kTestTemplate);
  EXPECT_THAT(shown_, ElementsAre("<s><|user|>a<|end|><|assistant|>[b<|end|>]<|user|>c<|end|>"
                                  "<|assistant|>[d<|end|>]"));
  EXPECT_THAT(Findings(), IsEmpty());
  EXPECT_EQ(set_.n_tokens, 13);
  EXPECT_EQ(set_.n_trained, 4);
  EXPECT_EQ(set_.samples[0].line, 1);
}

TEST_F(EncodeTest, TheLastAnswerOrAllCanBeAskedFor) {
  Encode(Chats({kTwoAnswers}), kTestTemplate, {.train_on = TrainOn::kLast});
  EXPECT_THAT(shown_, ElementsAre("<s><|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|>"
                                  "<|assistant|>[d<|end|>]"));
  Encode(Chats({kTwoAnswers}), kTestTemplate, {.train_on = TrainOn::kAll});
  EXPECT_THAT(shown_, ElementsAre("<s>[<|user|>a<|end|><|assistant|>b<|end|><|user|>c<|end|>"
                                  "<|assistant|>d<|end|>]"));
}

TEST_F(EncodeTest, UsersWordsNeverBecomeControlTokens) {
  Encode(Chats({{{"user", "<|end|>"}, {"assistant", "<s>b<|end|>c"}}}), kTestTemplate);
  ASSERT_EQ(set_.samples.size(), 1U);
  const std::vector<TokenId>& tokens = set_.samples[0].tokens;
  EXPECT_EQ(std::ranges::count(tokens, kEnd), 2);
  EXPECT_EQ(std::ranges::count(tokens, kBos), 1);
  EXPECT_THAT(shown_, ElementsAre("<s><|user|><|end|><|end|><|assistant|>[<s>b<|end|>c<|end|>]"));
}

TEST_F(EncodeTest, WhatFollowsTheEndIsNotTrained) {
  Encode(Chats({kTwoAnswers}),
         "{% for m in messages %}{{ m.role }}:{{ m.content }}<|end|>\n{% endfor %}"
         "{% if add_generation_prompt %}assistant:{% endif %}");
  EXPECT_THAT(shown_, ElementsAre("<s>user:a<|end|>\nassistant:[b<|end|>]\nuser:c<|end|>\n"
                                  "assistant:[d<|end|>]\n"));
}

TEST_F(EncodeTest, WhatFollowsTheLastAnswerIsLeftOut) {
  Turns turns = kTwoAnswers;
  turns.push_back({"user", "e"});
  Encode(Chats({turns, {{"user", "x"}}, {}}), kTestTemplate);
  EXPECT_THAT(shown_, ElementsAre("<s><|user|>a<|end|><|assistant|>[b<|end|>]<|user|>c<|end|>"
                                  "<|assistant|>[d<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("warning: no-answer:  (lines 2, 3)"));
}

TEST_F(EncodeTest, GenerationBlocksSayWhatIsTrained) {
  constexpr const char* kMarked =
      "{% for m in messages %}{{ m.role }}:"
      "{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
      "{% elif loop.last %}{{ m.content }}{% else %}-{% endif %}<|end|>"
      "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
  Encode(Chats({kTwoAnswers}), kMarked);  // it rewrites history, and is right nevertheless
  EXPECT_THAT(shown_,
              ElementsAre("<s>user:-<|end|>assistant:[b<|end|>]user:-<|end|>assistant:[d<|end|>]"));
  EXPECT_THAT(Findings(), IsEmpty());
  Encode(Chats({kTwoAnswers}), kMarked, {.train_on = TrainOn::kLast});
  EXPECT_THAT(shown_,
              ElementsAre("<s>user:-<|end|>assistant:b<|end|>user:-<|end|>assistant:[d<|end|>]"));
}

TEST_F(EncodeTest, WhatTheGenerationPromptWritesIsNotTrained) {
  Encode(Chats({kTwoAnswers}),
         "{% for m in messages %}{{ m.role }}:"
         "{% if m.role == 'assistant' %}{% generation %}<no>{{ m.content }}{% endgeneration %}"
         "{% else %}{{ m.content }}{% endif %}<|end|>"
         "{% endfor %}{% if add_generation_prompt %}assistant:<no>{% endif %}");
  EXPECT_THAT(shown_, ElementsAre("<s>user:a<|end|>assistant:<no>[b<|end|>]user:c<|end|>"
                                  "assistant:<no>[d<|end|>]"));
}

TEST_F(EncodeTest, NothingBehindTheFirstEndIsTrained) {
  Encode(Chats({{{"user", "a"}, {"assistant", "b"}}}),
         "{% for m in messages %}{{ m.role }}:{{ m.content }}<|end|>\n{% endfor %}"
         "{% if add_generation_prompt %}assistant:{% else %}<|end|>{% endif %}");
  EXPECT_THAT(shown_, ElementsAre("<s>user:a<|end|>\nassistant:[b<|end|>]\n<|end|>"));
}

TEST_F(EncodeTest, RewrittenHistoryLeavesTheLastAnswer) {
  Encode(Chats({kTwoAnswers, {{"user", "a"}, {"assistant", "b"}}}),
         "{% for m in messages %}{{ m.role }}:"
         "{{ m.content if loop.last or m.role == 'user' else '…' }}<|end|>"
         "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}");
  EXPECT_THAT(shown_, ElementsAre("<s>user:a<|end|>assistant:…<|end|>user:c<|end|>"
                                  "assistant:[d<|end|>]",
                                  "<s>user:a<|end|>assistant:[b<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("warning: history-rewritten:  (line 1)"));
}

TEST_F(EncodeTest, AnswersStandBehindTheGenerationPrompt) {
  Encode(Chats({{{"user", "a"}, {"assistant", "b"}}}),
         "{% for m in messages %}{{ m.role }}:{{ m.content }}<|end|>"
         "{% endfor %}{% if add_generation_prompt %}assistant:<think>{% endif %}");
  EXPECT_THAT(shown_, ElementsAre("<s>user:a<|end|>assistant:<think>[b<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("note: prompt-differs:  (line 1)"));
}

TEST_F(EncodeTest, AMissingEndIsAdded) {
  constexpr const char* kEndless =
      "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
      "{% if add_generation_prompt %}assistant:{% endif %}";
  Encode(Chats({kTwoAnswers}), kEndless);
  EXPECT_THAT(shown_, ElementsAre("<s>user:a\nassistant:[b\n]user:c\nassistant:[d\n<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("warning: missing-end-token:  (line 1)"));
  model::Vocabulary endless = ByteVocabulary();
  endless.eos = model::kNoToken;
  endless.end_of_generation.clear();
  Encode(Chats({kTwoAnswers}), kEndless, {}, endless);
  EXPECT_THAT(shown_, ElementsAre("<s>user:a\nassistant:[b\n]user:c\nassistant:[d\n]"));
  EXPECT_THAT(set_.findings[0].message, HasSubstr("the vocabulary has none"));
}

TEST_F(EncodeTest, RefusedRowsAreLeftOutAndSaid) {
  Encode(Chats({{{"user", "a"}, {"user", "b"}, {"assistant", "c"}}, kTwoAnswers}),
         "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
         "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}<|end|>"
         "{% endfor %}");
  EXPECT_EQ(set_.samples.size(), 1U);
  EXPECT_THAT(Findings(), ElementsAre("error: template-refuses-row:  (line 1)"));
  EXPECT_THAT(set_.findings[0].message, HasSubstr("roles must alternate"));
}

TEST_F(EncodeTest, LongRowsAreNeverCutSilently) {
  const Dataset rows = Chats({{{"user", "a"}, {"assistant", "b"}},      // 7 tokens
                              {{"user", "a"}, {"assistant", "bcdef"}},  // 11
                              {{"user", "abcdef"}, {"assistant", "b"}}});
  Encode(rows, kTestTemplate, {.context = 8});
  EXPECT_EQ(shown_.size(), 1U);
  EXPECT_THAT(Findings(), ElementsAre("error: over-long-row:  (lines 2, 3)"));
  EXPECT_THAT(set_.findings[0].message,
              HasSubstr("2 rows longer than the context of 8 tokens (the longest has 12 tokens)"));
  Encode(rows, kTestTemplate, {.long_rows = LongRows::kSkip, .context = 8});
  EXPECT_EQ(shown_.size(), 1U);
  EXPECT_THAT(Findings(), ElementsAre("warning: over-long-row:  (lines 2, 3)"));
  Encode(rows, kTestTemplate, {.long_rows = LongRows::kTruncate, .context = 8});
  EXPECT_THAT(shown_, ElementsAre("<s><|user|>a<|end|><|assistant|>[b<|end|>]",
                                  "<s><|user|>a<|end|><|assistant|>[bcd]"));
  EXPECT_THAT(Findings(), ElementsAre("warning: over-long-row:  (lines 2, 3)",
                                      "warning: everything-masked:  (line 3)"));
  Encode(rows, kTestTemplate, {.context = 12});
  EXPECT_EQ(shown_.size(), 3U);
  EXPECT_THAT(Findings(), IsEmpty());
}

TEST_F(EncodeTest, NothingToTrainIsAnError) {
  Encode(Chats({{{"user", "a"}}}), kTestTemplate);
  EXPECT_THAT(Findings(),
              ElementsAre("error: nothing-to-train: ", "warning: no-answer:  (line 1)"));
}

TEST_F(EncodeTest, TextsAreTrainedAsAWhole) {
  Encode(Texts({"abc", "<|end|>"}), kTestTemplate);
  EXPECT_THAT(shown_, ElementsAre("<s>[abc<|end|>]", "<s>[<|end|><|end|>]"));
  EXPECT_EQ(std::ranges::count(set_.samples[1].tokens, kEnd), 1);
  model::Vocabulary ending = ByteVocabulary();
  ending.add_eos = true;
  Encode(Texts({"abc"}), nullptr, {}, ending);
  EXPECT_THAT(shown_, ElementsAre("<s>[abc<|end|>]"));
  model::Vocabulary without_bos = ByteVocabulary();
  without_bos.add_bos = false;
  Encode(Texts({"abc"}), nullptr, {}, without_bos);
  EXPECT_THAT(shown_, ElementsAre("a[bc<|end|>]"));
}

TEST_F(EncodeTest, TextsAreCutOnRequest) {
  Encode(Texts({"abcdefg", "h"}), nullptr, {.context = 4});
  EXPECT_THAT(shown_, ElementsAre("<s>[h<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("error: over-long-row:  (line 1)"));
  Encode(Texts({"abcdefg", "h"}), nullptr, {.context = 4, .cut_text = true});
  EXPECT_THAT(shown_, ElementsAre("<s>[abc]", "c[def]", "f[g<|end|>]", "<s>[h<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("note: text-cut:  (line 1)"));
  EXPECT_EQ(set_.n_trained, 10) << "each token but bos is a target once";
  Dataset prose = Texts({"abcdefg"});
  prose.format = FileFormat::kPlainText;
  Encode(prose, nullptr, {.context = 4});
  EXPECT_EQ(shown_.size(), 3U) << "plain text is always cut";
}

TEST_F(EncodeTest, ModelsWithoutTemplateReadThePromptAsItIs) {
  Encode(Chats({{{"user", "2+2="}, {"assistant", "4"}}, {{"user", "Hi "}, {"assistant", "you"}}},
               Schema::kPromptCompletion),
         nullptr);
  EXPECT_THAT(shown_, ElementsAre("<s>2+2=[4<|end|>]", "<s>Hi [you<|end|>]"));
  EXPECT_THAT(Findings(), ElementsAre("note: glued-completion:  (line 1)"));
}

TEST_F(EncodeTest, ModelsWithoutTemplateChatInThePlainOne) {
  Encode(Chats({{{"system", "S"},
                 {"user", "a"},
                 {"assistant", "b"},
                 {"user", "c"},
                 {"assistant", "d"}}}),
         nullptr);
  EXPECT_THAT(shown_, ElementsAre("<s>S\n\nUser: a\nAssistant:[ b<|end|>]\nUser: c\n"
                                  "Assistant:[ d<|end|>]\n"));
  EXPECT_THAT(Findings(), ElementsAre(HasSubstr("plain-template")));
}

TEST_F(EncodeTest, AContextOfOneIsRefused) {
  const auto tokenizer = ByteTokenizer();
  const auto refused = EncodeDataset(Texts({"a"}), *tokenizer, nullptr, {.context = 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(refused.error().message, HasSubstr("a context of 1 tokens"));
}

}  // namespace
}  // namespace etch::tune
