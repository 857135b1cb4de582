#include "serve/openai_format.h"

#include <map>
#include <set>

namespace etch::serve {
namespace {

class OpenAiFormat : public AnswerFormat {
 public:
  OpenAiFormat(bool is_chat, bool include_usage)
      : is_chat_(is_chat), include_usage_(include_usage) {}

  std::string_view id_prefix() const override { return is_chat_ ? "chatcmpl-" : "cmpl-"; }

  std::string Whole(const AnswerView& answer, const std::vector<ChoiceState>& choices) override {
    return AnswerBody(answer.head, choices, answer.usage, answer.tokenizer);
  }

  std::string Next(const AnswerView& answer, const Piece& piece) override {
    if (piece.empty()) {
      return "";
    }
    const bool is_first = begun_.insert(piece.choice).second;
    int64_t& calls = calls_[piece.choice];
    std::string chunk = ChunkBody(answer.head, piece, is_first, calls, answer.tokenizer);
    calls += std::ssize(piece.calls);
    return ServerEvent(chunk);
  }

  std::string End(const AnswerView& answer) override {
    return (include_usage_ ? ServerEvent(UsageChunkBody(answer.head, answer.usage)) : "") +
           ServerEvent("[DONE]");
  }

 private:
  const bool is_chat_;
  const bool include_usage_;
  std::set<int64_t> begun_;           // choices that had a piece
  std::map<int64_t, int64_t> calls_;  // of each choice so far
};

}  // namespace

Result<Ask> AskOpenAi(const RouteRequest& route, bool is_chat, bool strict) {
  Ask ask;
  ETCH_ASSIGN_OR_RETURN(ask.request, is_chat ? ParseChatRequest(route.body, strict)
                                             : ParseCompletionRequest(route.body, strict));
  ask.format = std::make_unique<OpenAiFormat>(is_chat, ask.request.include_usage);
  return ask;
}

}  // namespace etch::serve
