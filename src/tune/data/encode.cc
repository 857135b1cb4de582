// Where in a rendered conversation do the answers lie? Templates do not say, but for the few with
// {% generation %} blocks. Searching for the answer's text would go wrong (templates trim, and a
// question may quote the answer), and so would searching for the header of an assistant's turn,
// which is another one in each template. So a conversation is rendered as inference renders it:
//
//   P = messages before the answer, with generation prompt    <user>2+2?<end><assistant>
//   F = messages up to the answer, without                    <user>2+2?<end><assistant>4<end>
//
// and the answer is what F has behind P. That is right as long as each P begins the F of its
// answer, and each F the whole. Templates break it in two ways: by rewriting history (thoughts of
// earlier answers are dropped), and by a generation prompt that is written differently from a turn
// ("<think>\n" at its end). Both times the last answer is still found by its own P and F.
//
// Prompt and answer are tokenised apart, since inference tokenises the prompt alone: a merge across
// the border would be a token that inference never sees.

#include "tune/data/encode.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "text/chat_prompt.h"

namespace etch::tune {

constexpr std::string_view kPlainChatTemplate =
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'assistant' %}Assistant: {{ message.content }}{{ eos_token }}\n"
    "{% else %}User: {{ message.content }}\n"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}";

namespace {

using text::ChatEncoder;
using text::ChatMessage;
using Piece = ChatEncoder::Piece;  // is_generated: an answer, with what ends it

bool IsAnswer(const ChatMessage& message) { return message.role == "assistant"; }

// Whether no white space parts the two.
bool IsGlued(std::string_view prompt, std::string_view completion) {
  constexpr std::string_view kWhiteSpace = " \t\r\n";
  return !prompt.empty() && !completion.empty() &&
         kWhiteSpace.find(prompt.back()) == std::string_view::npos &&
         kWhiteSpace.find(completion.front()) == std::string_view::npos;
}

// What the pieces of a row had to put up with.
struct RowPieces {
  std::vector<Piece> pieces;
  bool history_rewritten = false;
  bool prompt_differs = false;
};

// The length of the common beginning, not inside a UTF-8 character.
size_t CommonBytes(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::ranges::mismatch(a, b);
  auto size = static_cast<size_t>(in_a - a.begin());
  while (size > 0 && size < a.size() && (static_cast<uint8_t>(a[size]) & 0xC0U) == 0x80U) {
    --size;
  }
  return size;
}

// Finds the answers of `messages`, the last of which is one, by rendering up to each. Empty when
// the template breaks the rule at the top of this file.
Result<std::vector<Piece>> PiecesByPrefixes(const ChatEncoder& encoder,
                                            const std::vector<ChatMessage>& messages) {
  std::vector<Piece> pieces;
  ETCH_ASSIGN_OR_RETURN(const std::string whole, encoder.Render(messages, false));
  std::vector<ChatMessage> before;
  size_t at = 0;
  for (const ChatMessage& message : messages) {
    if (IsAnswer(message)) {
      const Result<std::string> prompt = encoder.Render(before, true);
      before.push_back(message);
      const Result<std::string> full = encoder.Render(before, false);
      if (!prompt || !full || prompt->size() < at || !full->starts_with(*prompt) ||
          !whole.starts_with(*full)) {
        return std::vector<Piece>();
      }
      pieces.push_back({prompt->substr(at), false});
      pieces.push_back({full->substr(prompt->size()), true});
      at = full->size();
    } else {
      before.push_back(message);
    }
  }
  return pieces;
}

// The last answer alone, behind what inference shows before it.
Result<RowPieces> PiecesOfLastAnswer(const ChatEncoder& encoder,
                                     const std::vector<ChatMessage>& messages) {
  const std::vector<ChatMessage> before(messages.begin(), messages.end() - 1);
  ETCH_ASSIGN_OR_RETURN(std::string prompt, encoder.Render(before, true));
  ETCH_ASSIGN_OR_RETURN(const std::string full, encoder.Render(messages, false));
  const size_t common = CommonBytes(full, prompt);
  RowPieces row;
  row.prompt_differs = common < prompt.size();
  row.history_rewritten = std::ranges::count_if(messages, IsAnswer) > 1;
  row.pieces.push_back({std::move(prompt), false});
  row.pieces.push_back({full.substr(common), true});
  return row;
}

// The pieces of the template's own {% generation %} blocks; empty when it has none. Some put into
// them what their generation prompt has already written: that is read, not trained.
Result<std::vector<Piece>> PiecesByBlocks(const ChatEncoder& encoder,
                                          const std::vector<ChatMessage>& messages) {
  ETCH_ASSIGN_OR_RETURN(const std::vector<Piece> blocks, encoder.RenderPieces(messages));
  const auto n_blocks = std::ranges::count_if(blocks, &Piece::is_generated);
  if (n_blocks == 0) {
    return std::vector<Piece>();
  }
  if (n_blocks != std::ranges::count_if(messages, IsAnswer)) {
    return blocks;  // which block is which answer, nobody says
  }
  std::vector<Piece> pieces;
  std::string text;
  auto answer = messages.begin();
  for (const Piece& block : blocks) {
    size_t in_prompt = 0;
    if (block.is_generated) {
      answer = std::find_if(answer, messages.end(), IsAnswer);
      const Result<std::string> prompt = encoder.Render({messages.begin(), answer++}, true);
      if (prompt && prompt->size() > text.size() && (text + block.text).starts_with(*prompt)) {
        in_prompt = prompt->size() - text.size();
      }
    }
    if (in_prompt > 0 && !pieces.empty()) {
      pieces.back().text += block.text.substr(0, in_prompt);
    }
    pieces.push_back({block.text.substr(in_prompt), block.is_generated});
    text += block.text;
  }
  return pieces;
}

Result<RowPieces> FindAnswers(const ChatEncoder& encoder,
                              const std::vector<ChatMessage>& messages) {
  RowPieces row;
  ETCH_ASSIGN_OR_RETURN(row.pieces, PiecesByBlocks(encoder, messages));
  if (row.pieces.empty()) {
    ETCH_ASSIGN_OR_RETURN(row.pieces, PiecesByPrefixes(encoder, messages));
  }
  return row.pieces.empty() ? PiecesOfLastAnswer(encoder, messages) : row;
}

class DatasetEncoder {
 public:
  DatasetEncoder(const Dataset& dataset, const text::Tokenizer& tokenizer,
                 const text::ChatTemplate& chat_template, bool is_plain,
                 const SampleOptions& options)
      : dataset_(dataset),
        tokenizer_(tokenizer),
        chat_(chat_template, tokenizer),
        is_plain_(is_plain),
        options_(options),
        end_(EndToken()) {}

  SampleSet Run() {
    for (const Example& example : dataset_.examples) {
      Sample sample{.tokens = {}, .trained = {}, .line = example.line};
      if (dataset_.schema == Schema::kText) {
        EncodeText(example.text, sample);
      } else if (!EncodeMessages(example, sample)) {
        continue;
      }
      Keep(std::move(sample));
    }
    Report();
    for (const Sample& sample : set_.samples) {
      set_.n_tokens += std::ssize(sample.tokens);
      set_.n_trained += std::accumulate(sample.trained.begin(), sample.trained.end(), int64_t{0});
    }
    return std::move(set_);
  }

 private:
  TokenId EndToken() const {
    const model::Vocabulary& vocabulary = tokenizer_.vocabulary();
    if (vocabulary.eos != model::kNoToken) {
      return vocabulary.eos;
    }
    return vocabulary.end_of_generation.empty() ? model::kNoToken
                                                : vocabulary.end_of_generation.front();
  }

  // A text's own tokens behind bos, without the eos that some vocabularies want.
  std::vector<TokenId> EncodeStart(std::string_view text) const {
    std::vector<TokenId> tokens = tokenizer_.Encode(text);
    if (tokenizer_.vocabulary().add_eos) {
      tokens.pop_back();
    }
    return tokens;
  }

  void Append(const std::vector<TokenId>& tokens, bool is_trained, Sample& sample) const {
    sample.tokens.insert(sample.tokens.end(), tokens.begin(), tokens.end());
    sample.trained.resize(sample.tokens.size(), is_trained ? 1 : 0);
  }

  // Ends the row by eos, unless it has an end.
  void AppendEnd(Sample& sample) {
    if (end_ == model::kNoToken) {
      missing_end_.Add(sample.line);
    } else {
      Append({end_}, true, sample);
    }
  }

  void EncodeText(std::string_view text, Sample& sample) {
    Append(EncodeStart(text), true, sample);
    AppendEnd(sample);
  }

  // False when the row is left out, which is counted.
  bool EncodeMessages(const Example& example, Sample& sample) {
    const auto last = std::find_if(example.messages.rbegin(), example.messages.rend(), IsAnswer);
    if (last == example.messages.rend()) {
      no_answer_.Add(example.line);
      return false;
    }
    if (is_plain_ && dataset_.schema == Schema::kPromptCompletion && example.messages.size() == 2) {
      Append(EncodeStart(example.messages[0].content), false, sample);
      Append(
          tokenizer_.Encode(example.messages[1].content, {.add_special = false, .continues = true}),
          true, sample);
      AppendEnd(sample);
      if (IsGlued(example.messages[0].content, example.messages[1].content)) {
        glued_.Add(example.line);
      }
    } else {
      if (is_plain_) {
        in_plain_.Add(example.line);
      }
      const Result<RowPieces> row = FindAnswers(chat_, {example.messages.begin(), last.base()});
      if (!row) {
        refused_.Add(example.line);
        refusal_ = refusal_.empty() ? row.error().message : refusal_;
        return false;
      }
      if (row->history_rewritten) {
        history_rewritten_.Add(example.line);
      }
      if (row->prompt_differs) {
        prompt_differs_.Add(example.line);
      }
      EncodePieces(row->pieces, sample);
    }
    if (options_.train_on == TrainOn::kAll) {
      std::ranges::fill(sample.trained, uint8_t{1});
    }
    return true;
  }

  void EncodePieces(const std::vector<Piece>& pieces, Sample& sample) {
    const auto last_answer = std::find_if(pieces.rbegin(), pieces.rend(),
                                          [](const Piece& piece) { return piece.is_generated; })
                                 .base() -
                             1;
    bool is_open = false;  // an answer has no end yet
    for (auto piece = pieces.begin(); piece != pieces.end(); ++piece) {
      const size_t begin = sample.tokens.size();
      chat_.Append(piece->text, sample.tokens);
      sample.trained.resize(sample.tokens.size(), 0);
      if (!piece->is_generated) {
        // The end of the turn may stand behind the template's mark.
        if (is_open && begin < sample.tokens.size() &&
            tokenizer_.IsEndOfGeneration(sample.tokens[begin])) {
          sample.trained[begin] = sample.trained[begin - 1];
          is_open = false;
        }
        continue;
      }
      const size_t end = EndOfAnswer(sample.tokens, begin);
      is_open = end == 0;
      if (options_.train_on != TrainOn::kLast || piece == last_answer) {
        std::fill(sample.trained.begin() + static_cast<std::ptrdiff_t>(begin),
                  end == 0 ? sample.trained.end()
                           : sample.trained.begin() + static_cast<std::ptrdiff_t>(end),
                  uint8_t{1});
      }
    }
    if (is_open) {
      missing_end_.Add(sample.line);
      if (end_ != model::kNoToken) {
        Append({end_}, true, sample);
      }
    }
  }

  // Behind the first token from `begin` that ends generation, or 0. What users write has no such
  // token, so it is the template's; nothing behind it is ever generated.
  size_t EndOfAnswer(const std::vector<TokenId>& tokens, size_t begin) const {
    for (size_t at = begin; at < tokens.size(); ++at) {
      if (tokenizer_.IsEndOfGeneration(tokens[at])) {
        return at + 1;
      }
    }
    return 0;
  }

  // Takes the sample as the options have it.
  void Keep(Sample sample) {
    const auto context = static_cast<size_t>(options_.context);
    if (sample.tokens.size() > context) {
      if (dataset_.schema == Schema::kText &&
          (options_.cut_text || dataset_.format == FileFormat::kPlainText)) {
        Cut(sample);
        return;
      }
      over_long_.Add(sample.line);
      longest_ = std::max(longest_, std::ssize(sample.tokens));
      if (options_.long_rows != LongRows::kTruncate) {
        return;
      }
      sample.tokens.resize(context);
      sample.trained.resize(context);
    }
    KeepTrained(std::move(sample));
  }

  void KeepTrained(Sample sample) {
    if (!sample.trained.empty()) {
      sample.trained[0] = 0;
    }
    if (std::ranges::find(sample.trained, 1) == sample.trained.end()) {
      masked_.Add(sample.line);
      return;
    }
    set_.samples.push_back(std::move(sample));
  }

  // Windows that begin with the last token of the one before: as the first it is no target.
  void Cut(const Sample& sample) {
    cut_.Add(sample.line);
    const int64_t step = options_.context - 1;
    for (int64_t at = 0; at + 1 < std::ssize(sample.tokens); at += step) {
      const int64_t end = std::min(at + options_.context, std::ssize(sample.tokens));
      KeepTrained({{sample.tokens.begin() + at, sample.tokens.begin() + end},
                   {sample.trained.begin() + at, sample.trained.begin() + end},
                   sample.line});
    }
  }

  void Report() {
    std::vector<Finding>& findings = set_.findings;
    ReportLongRows(findings);
    refused_.Report(Severity::kError, "template-refuses-row",
                    "{} that the model's chat template refuses; the first: " + refusal_, findings);
    history_rewritten_.Report(
        Severity::kWarning, "history-rewritten",
        "the chat template shows earlier answers otherwise than it writes new ones; in {} only "
        "the last answer is trained on",
        findings);
    prompt_differs_.Report(Severity::kNote, "prompt-differs",
                           "the chat template's generation prompt is not how it writes an answer; "
                           "in {} the answer is put behind it, as in inference",
                           findings);
    missing_end_.Report(
        Severity::kWarning, "missing-end-token",
        end_ == model::kNoToken
            ? "{} without a token that ends generation, and the vocabulary has none: answers of "
              "the "
              "tuned model may never end"
            : "the chat template ends no answer in {} by a token that ends generation; the "
              "vocabulary's is added behind the last answer",
        findings);
    no_answer_.Report(Severity::kWarning, "no-answer",
                      "{} without an answer of the assistant, left out", findings);
    masked_.Report(Severity::kWarning, "everything-masked",
                   "{} without a token that is trained on, left out", findings);
    glued_.Report(Severity::kNote, "glued-completion",
                  "{} whose completion follows its prompt without white space: \"Hi\" and \"You\" "
                  "become \"HiYou\"",
                  findings);
    in_plain_.Report(Severity::kWarning, "plain-template",
                     "the model has no chat template; {} written as \"User: …\", \"Assistant: …\", "
                     "and so must it be asked",
                     findings);
    set_.uses_plain_template = in_plain_.count() > 0;
    if (set_.samples.empty()) {
      findings.push_back({Severity::kError,
                          "nothing-to-train",
                          std::ssize(dataset_.examples),
                          {},
                          "no row is left to train on"});
    }
    SortFindings(findings);
  }

  void ReportLongRows(std::vector<Finding>& findings) {
    const std::string what = "{} longer than the context of " + Counted(options_.context, "token") +
                             " (the longest has " + Counted(longest_, "token") + ")";
    switch (options_.long_rows) {
      case LongRows::kRefuse:
        over_long_.Report(Severity::kError, "over-long-row",
                          what + "; raise the context, or have such rows left out or cut",
                          findings);
        break;
      case LongRows::kSkip:
        over_long_.Report(Severity::kWarning, "over-long-row", what + ", left out", findings);
        break;
      case LongRows::kTruncate:
        over_long_.Report(Severity::kWarning, "over-long-row",
                          what + ", cut off there, without the token that ends the answer",
                          findings);
        break;
    }
    cut_.Report(Severity::kNote, "text-cut",
                "{} longer than the context of " + Counted(options_.context, "token") +
                    ", cut into several samples",
                findings);
  }

  const Dataset& dataset_;
  const text::Tokenizer& tokenizer_;
  ChatEncoder chat_;
  bool is_plain_;  // the model has no template
  SampleOptions options_;
  TokenId end_;
  SampleSet set_;
  Tally over_long_, cut_, refused_, history_rewritten_, prompt_differs_, missing_end_, no_answer_,
      masked_, glued_, in_plain_;
  std::string refusal_;
  int64_t longest_ = 0;
};

}  // namespace

Result<SampleSet> EncodeDataset(const Dataset& dataset, const text::Tokenizer& tokenizer,
                                const text::ChatTemplate* chat_template,
                                const SampleOptions& options) {
  if (options.context < 2) {
    return Fail(ErrorCode::kInvalidArgument,
                "a context of {} tokens; training needs at least 2: one to read, one to write",
                options.context);
  }
  std::optional<text::ChatTemplate> plain;
  if (chat_template == nullptr) {
    ETCH_ASSIGN_OR_RETURN(plain, text::ChatTemplate::Parse(kPlainChatTemplate));
  }
  return DatasetEncoder(dataset, tokenizer, plain ? *plain : *chat_template, plain.has_value(),
                        options)
      .Run();
}

}  // namespace etch::tune
