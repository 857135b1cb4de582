// What training reads, on real tokenizers, chat templates and datasets: in front of each answer
// stand the tokens that inference shows, and what is trained is the answer and its end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "support/data.h"
#include "text/chat_prompt.h"
#include "text/chat_template.h"
#include "tokenizer/real_tokenizers.h"
#include "tune/data/encode.h"

namespace etch::tune {
namespace {

namespace fs = std::filesystem;
using text::ChatTemplate;
using text::Tokenizer;
using Turns = std::vector<text::ChatMessage>;

const Turns kChat = {{"user", "What is that?"},
                     {"assistant", "It is a cat."},
                     {"user", "And there?"},
                     {"assistant", "There sits a dog."}};

Dataset Chats(const std::vector<Turns>& rows, Schema schema = Schema::kMessages) {
  Dataset dataset;
  dataset.schema = schema;
  for (const Turns& turns : rows) {
    dataset.examples.push_back({turns, "", std::ssize(dataset.examples) + 1});
  }
  return dataset;
}

ChatTemplate MustParse(const std::string& source) {
  Result<ChatTemplate> parsed = ChatTemplate::Parse(source);
  EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
  return *std::move(parsed);
}

SampleSet MustEncode(const Dataset& dataset, const Tokenizer& tokenizer, const ChatTemplate* chat,
                     const SampleOptions& options = {}) {
  Result<SampleSet> set = EncodeDataset(dataset, tokenizer, chat, options);
  EXPECT_TRUE(set) << (set ? "" : set.error().message);
  return set ? *std::move(set) : SampleSet();
}

Dataset MustRead(const fs::path& path) {
  Result<Dataset> dataset = ReadDataset(path);
  EXPECT_TRUE(dataset) << (dataset ? "" : dataset.error().message);
  return dataset ? *std::move(dataset) : Dataset();
}

// The stretches that are trained, as text with control tokens.
std::vector<std::string> TrainedTexts(const Tokenizer& tokenizer, const Sample& sample) {
  std::vector<std::string> texts;
  for (size_t index = 0; index < sample.tokens.size(); ++index) {
    if (sample.trained[index] == 0) {
      continue;
    }
    if (index == 0 || sample.trained[index - 1] == 0) {
      texts.emplace_back();
    }
    texts.back() += tokenizer.TokenBytes(sample.tokens[index], true);
  }
  return texts;
}

// Whether the sample begins with what inference reads before `answer`, a message's index, and is
// trained right behind it.
void ExpectInferencePrompt(const Tokenizer& tokenizer, const ChatTemplate& chat, const Turns& turns,
                           size_t answer, const Sample& sample) {
  const Turns before(turns.begin(), turns.begin() + static_cast<std::ptrdiff_t>(answer));
  const auto prompt = text::EncodeChat(chat, tokenizer, before);
  ASSERT_TRUE(prompt) << prompt.error().message;
  ASSERT_LT(prompt->size(), sample.tokens.size());
  EXPECT_TRUE(std::equal(prompt->begin(), prompt->end(), sample.tokens.begin()));
  EXPECT_EQ(sample.trained[prompt->size() - 1], 0);
  EXPECT_EQ(sample.trained[prompt->size()], 1);
}

TEST(RealModels, EveryPublishedTemplateShowsItsAnswer) {
  ETCH_DATA_OR_SKIP(folder, "templates/jinja");
  ETCH_DATA_OR_SKIP(tokenizers, "tokenizers");
  const std::unique_ptr<Tokenizer> tokenizer = test::SmolLm(tokenizers);
  std::map<std::string, std::set<std::string>> templates_by_finding;
  int encoded = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") {
      continue;
    }
    const std::string name = entry.path().filename();
    SCOPED_TRACE(name);
    const ChatTemplate chat = MustParse(test::ReadText(entry.path()));
    const Turns one_answer(kChat.begin(), kChat.begin() + 2);
    const SampleSet set = MustEncode(Chats({one_answer, kChat}), *tokenizer, &chat);
    for (const Finding& finding : set.findings) {
      templates_by_finding[finding.code].insert(name);
    }
    if (set.samples.empty()) {
      continue;
    }
    ++encoded;
    ASSERT_EQ(set.samples.size(), 2U);
    ExpectInferencePrompt(*tokenizer, chat, one_answer, 1, set.samples[0]);
    EXPECT_THAT(TrainedTexts(*tokenizer, set.samples[0]),
                testing::ElementsAre(testing::HasSubstr("It is a cat.")));
    EXPECT_THAT(TrainedTexts(*tokenizer, set.samples[1]).back(),
                testing::HasSubstr("There sits a dog."));
    for (const std::string& text : TrainedTexts(*tokenizer, set.samples[1])) {
      EXPECT_THAT(text, testing::Not(testing::HasSubstr("And there?")));
    }
  }
  using testing::Contains;
  using testing::Not;
  EXPECT_THAT(templates_by_finding["template-refuses-row"],
              testing::ElementsAre("fireworks-ai-llama-3-firefunction-v2.jinja"));
  EXPECT_THAT(templates_by_finding["history-rewritten"], Contains("Qwen-Qwen3-0.6B.jinja"));
  EXPECT_THAT(templates_by_finding["prompt-differs"],
              Contains("deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja"));
  for (const std::string plain :
       {"meta-llama-Llama-3.1-8B-Instruct.jinja", "Qwen-Qwen2.5-7B-Instruct.jinja",
        "google-gemma-2-2b-it.jinja", "poolside-Laguna-XS.2.jinja", "LFM2.5-8B-A1B.jinja"}) {
    EXPECT_THAT(templates_by_finding["history-rewritten"], Not(Contains(plain)));
    EXPECT_THAT(templates_by_finding["prompt-differs"], Not(Contains(plain)));
  }
  EXPECT_GE(encoded, 60);
}

// Each row's answer, without the white space around it that Llama's template drops, and its end.
void ExpectLlamaMask(const Tokenizer& tokenizer, const ChatTemplate& chat, const Dataset& dataset) {
  const SampleSet set = MustEncode(dataset, tokenizer, &chat);
  for (const Finding& finding : set.findings) {
    ADD_FAILURE() << Describe(finding);
  }
  ASSERT_EQ(set.samples.size(), dataset.examples.size());
  for (size_t row = 0; row < std::min<size_t>(set.samples.size(), 100); ++row) {
    const Turns& turns = dataset.examples[row].messages;
    SCOPED_TRACE(dataset.name + ":" + std::to_string(dataset.examples[row].line));
    ExpectInferencePrompt(tokenizer, chat, turns, turns.size() - 1, set.samples[row]);
    std::string answer = turns.back().content;
    const size_t begin = answer.find_first_not_of(" \n");
    answer = answer.substr(begin, answer.find_last_not_of(" \n") - begin + 1);
    EXPECT_THAT(TrainedTexts(tokenizer, set.samples[row]),
                testing::ElementsAre(answer + "<|eot_id|>"));
    EXPECT_EQ(set.samples[row].trained.back(), 1);
  }
}

TEST(RealModels, KnownDatasetsHaveTheRightMask) {
  ETCH_DATA_OR_SKIP(folder, "instruct");
  ETCH_DATA_OR_SKIP(source, "templates/jinja/meta-llama-Llama-3.1-8B-Instruct.jinja");
  ETCH_DATA_OR_SKIP(tokenizers, "tokenizers");
  const std::unique_ptr<Tokenizer> tokenizer = test::Llama3(tokenizers);
  const ChatTemplate chat = MustParse(test::ReadText(source));
  ExpectLlamaMask(*tokenizer, chat, MustRead(folder / "llamafactory/identity.json"));
  ExpectLlamaMask(*tokenizer, chat, MustRead(folder / "llamafactory/alpaca_en_demo.json"));
  ExpectLlamaMask(*tokenizer, chat, MustRead(folder / "../eval/gsm8k_train.jsonl"));

  const Dataset texts = MustRead(folder / "wikisql_mlx/train.jsonl");
  const SampleSet set = MustEncode(texts, *tokenizer, &chat);
  EXPECT_TRUE(set.findings.empty());
  ASSERT_EQ(set.samples.size(), 1000U);
  for (size_t row = 0; row < 1000; ++row) {
    EXPECT_EQ(TrainedTexts(*tokenizer, set.samples[row]),
              std::vector<std::string>{texts.examples[row].text + "<|end_of_text|>"});
    EXPECT_EQ(set.samples[row].tokens[0], tokenizer->vocabulary().bos);
    EXPECT_EQ(std::ranges::count(set.samples[row].trained, 0), 1);
  }
}

TEST(RealModels, EachAnswerOfAConversationFollowsItsInferencePrompt) {
  ETCH_DATA_OR_SKIP(source, "templates/jinja/meta-llama-Llama-3.1-8B-Instruct.jinja");
  ETCH_DATA_OR_SKIP(tokenizers, "tokenizers");
  const std::unique_ptr<Tokenizer> tokenizer = test::Llama3(tokenizers);
  const ChatTemplate chat = MustParse(test::ReadText(source));
  const SampleSet set = MustEncode(Chats({kChat}), *tokenizer, &chat);
  ASSERT_EQ(set.samples.size(), 1U);
  ExpectInferencePrompt(*tokenizer, chat, kChat, 1, set.samples[0]);
  ExpectInferencePrompt(*tokenizer, chat, kChat, 3, set.samples[0]);
  EXPECT_EQ(TrainedTexts(*tokenizer, set.samples[0]),
            (std::vector<std::string>{"It is a cat.<|eot_id|>", "There sits a dog.<|eot_id|>"}));
}

TEST(RealModels, SentencePieceAnswersGetNoSecondSpace) {
  ETCH_DATA_OR_SKIP(tokenizers, "tokenizers");
  const std::unique_ptr<Tokenizer> tokenizer = test::Llama2Json(tokenizers);
  const ChatTemplate chat = MustParse(
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
      "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}"
      "{% endif %}{% endfor %}");
  const Turns turns(kChat.begin(), kChat.begin() + 2);
  const SampleSet set = MustEncode(Chats({turns}), *tokenizer, &chat);
  ASSERT_EQ(set.samples.size(), 1U);
  ExpectInferencePrompt(*tokenizer, chat, turns, 1, set.samples[0]);
  EXPECT_EQ(TrainedTexts(*tokenizer, set.samples[0]),
            std::vector<std::string>{" It is a cat.</s>"});
  EXPECT_EQ(set.samples[0].tokens,
            tokenizer->Encode("<s>[INST] What is that? [/INST] It is a cat.</s>",
                              {.add_special = false, .parse_special = true}));
}

TEST(RealModels, AModelWithoutTemplateContinuesItsPrompt) {
  ETCH_DATA_OR_SKIP(path, "models/stories260K.gguf");
  const std::unique_ptr<Tokenizer> tokenizer = test::FromGguf(path);
  ASSERT_EQ(tokenizer->vocabulary().chat_template, "");
  const Dataset dataset =
      Chats({{{"user", "Once upon"}, {"assistant", " a time"}}}, Schema::kPromptCompletion);
  const SampleSet set = MustEncode(dataset, *tokenizer, nullptr);
  ASSERT_EQ(set.samples.size(), 1U);
  std::vector<TokenId> whole = tokenizer->Encode("Once upon a time");
  whole.push_back(tokenizer->vocabulary().eos);
  EXPECT_EQ(set.samples[0].tokens, whole);
  EXPECT_THAT(TrainedTexts(*tokenizer, set.samples[0]),
              testing::ElementsAre(testing::StartsWith(" a time")));

  const SampleSet chats = MustEncode(Chats({kChat}), *tokenizer, nullptr);
  ASSERT_EQ(chats.samples.size(), 1U);
  EXPECT_EQ(TrainedTexts(*tokenizer, chats.samples[0]).size(), 2U);
  ASSERT_EQ(chats.findings.size(), 1U);
  EXPECT_EQ(chats.findings[0].code, "plain-template");
}

}  // namespace
}  // namespace etch::tune
