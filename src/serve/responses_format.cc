// Output items are opened and closed as the kind of what comes changes: thoughts, text, calls. Each
// delta goes to the item that is open; the whole response is put together from the closed ones, so
// that the last event and a whole answer are made by one code.

#include "serve/responses_format.h"
#include "serve/json_fields.h"

#include <nlohmann/json.hpp>

#include "serve/request_log.h"  // RandomId

namespace etch::serve {
namespace {

using Out = nlohmann::ordered_json;

class ResponsesFormat : public AnswerFormat {
 public:
  explicit ResponsesFormat(ResponseEcho echo) : echo_(Out::parse(echo.json, nullptr, false)) {}

  std::string_view id_prefix() const override { return "resp_"; }

  std::string Whole(const AnswerView& answer, const std::vector<ChoiceState>& choices) override {
    const ChoiceState& choice = choices.front();
    Add(Kind::kReasoning, choice.reasoning);
    Add(Kind::kText, choice.text);
    for (const ToolCall& call : choice.calls) {
      AddCall(call);
    }
    if (items_.empty() && kind_ == Kind::kNone) {
      Open(Kind::kText);
    }
    reason_ = choice.reason;
    Close(FinalStatus());
    return DumpJson(Response(answer, FinalStatus()));
  }

  std::string Begin(const AnswerView& answer) override {
    for (const char* type : {"response.created", "response.in_progress"}) {
      Event(type, {{"response", Response(answer, "in_progress")}});
    }
    return std::move(events_);
  }

  std::string Next(const AnswerView&, const Piece& piece) override {
    events_.clear();
    Add(Kind::kReasoning, piece.reasoning);
    Add(Kind::kText, piece.text);
    for (const ToolCall& call : piece.calls) {
      AddCall(call);
    }
    if (piece.finished) {
      if (items_.empty() && kind_ == Kind::kNone) {
        Open(Kind::kText);
      }
      reason_ = piece.reason;
      Close(FinalStatus());
      is_whole_ = true;
    }
    return std::move(events_);
  }

  std::string End(const AnswerView& answer) override {
    if (!is_whole_) {
      return "";
    }
    events_.clear();
    const std::string status = FinalStatus();
    Event("response." + status, {{"response", Response(answer, status)}});
    return std::move(events_);
  }

  std::string Broken(const std::string& body) override {
    events_.clear();
    const Out error = Out::parse(body, nullptr, false);
    Event("error", {{"code", error["error"]["code"]},
                    {"message", error["error"]["message"]},
                    {"param", nullptr}});
    is_whole_ = false;
    return std::move(events_);
  }

 private:
  enum class Kind { kNone, kReasoning, kText };

  void Event(const std::string& type, const Out& members) {
    Out event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(members);
    events_ += "event: " + type + "\ndata: " + DumpJson(event) + "\n\n";
  }

  std::string FinalStatus() const {
    return reason_ == engine::FinishReason::kLength ? "incomplete" : "completed";
  }

  Out Response(const AnswerView& answer, const std::string& status) const {
    Out out = {{"id", answer.head.id},
               {"object", "response"},
               {"created_at", answer.head.created},
               {"status", status},
               {"error", nullptr},
               {"incomplete_details", nullptr},
               {"model", answer.head.model},
               {"output", items_},
               {"previous_response_id", nullptr},
               {"store", false},
               {"truncation", "disabled"}};
    out.update(echo_);
    if (status == "incomplete") {
      out["incomplete_details"] = {{"reason", "max_output_tokens"}};
    }
    if (status != "in_progress") {
      const Usage& usage = answer.usage;
      out["usage"] = {{"input_tokens", usage.prompt_tokens},
                      {"input_tokens_details",
                       {{"cached_tokens", usage.cached_tokens}, {"cache_write_tokens", 0}}},
                      {"output_tokens", usage.completion_tokens},
                      {"output_tokens_details", {{"reasoning_tokens", 0}}},
                      {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
    }
    return out;
  }

  // The open item, as far as it has come.
  Out Item(const std::string& status) const {
    if (kind_ == Kind::kReasoning) {
      return {{"id", item_id_},
              {"type", "reasoning"},
              {"summary", Out::array()},
              {"content", status != "in_progress" ? Out::array({Part()}) : Out::array()},
              {"status", status}};
    }
    return {{"id", item_id_},
            {"type", "message"},
            {"status", status},
            {"role", "assistant"},
            {"content", status != "in_progress" ? Out::array({Part()}) : Out::array()}};
  }

  Out Part() const {
    if (kind_ == Kind::kReasoning) {
      return {{"type", "reasoning_text"}, {"text", text_}};
    }
    return {{"type", "output_text"},
            {"text", text_},
            {"annotations", Out::array()},
            {"logprobs", Out::array()}};
  }

  // The members that point at the open item.
  Out Where(const Out& more) const {
    Out out = {{"item_id", item_id_}, {"output_index", items_.size()}, {"content_index", 0}};
    out.update(more);
    return out;
  }

  void Open(Kind kind) {
    Close();
    kind_ = kind;
    text_.clear();
    item_id_ = RandomId(kind == Kind::kReasoning ? "rs_" : "msg_", 24);
    Event("response.output_item.added",
          {{"output_index", items_.size()}, {"item", Item("in_progress")}});
    Event("response.content_part.added", Where({{"part", Part()}}));
  }

  void Add(Kind kind, const std::string& text) {
    if (text.empty()) {
      return;
    }
    if (kind_ != kind) {
      Open(kind);
    }
    text_ += text;
    if (kind == Kind::kReasoning) {
      Event("response.reasoning_text.delta", Where({{"delta", text}}));
    } else {
      Event("response.output_text.delta", Where({{"delta", text}, {"logprobs", Out::array()}}));
    }
  }

  void Close(const std::string& status = "completed") {
    if (kind_ == Kind::kNone) {
      return;
    }
    if (kind_ == Kind::kReasoning) {
      Event("response.reasoning_text.done", Where({{"text", text_}}));
    } else {
      Event("response.output_text.done", Where({{"text", text_}, {"logprobs", Out::array()}}));
    }
    Event("response.content_part.done", Where({{"part", Part()}}));
    Finish(Item(status));
  }

  void AddCall(const ToolCall& call) {
    Close();
    item_id_ = RandomId("fc_", 24);
    Out item = {{"id", item_id_},     {"type", "function_call"}, {"status", "in_progress"},
                {"call_id", call.id}, {"name", call.name},       {"arguments", ""}};
    const Out where = {{"item_id", item_id_}, {"output_index", items_.size()}};
    Event("response.output_item.added", {{"output_index", items_.size()}, {"item", item}});
    Out delta = where;
    delta["delta"] = call.arguments;
    Event("response.function_call_arguments.delta", delta);
    Out done = where;
    done["name"] = call.name;
    done["arguments"] = call.arguments;
    Event("response.function_call_arguments.done", done);
    item["status"] = "completed";
    item["arguments"] = call.arguments;
    Finish(std::move(item));
  }

  void Finish(Out item) {
    Event("response.output_item.done", {{"output_index", items_.size()}, {"item", item}});
    items_.push_back(std::move(item));
    kind_ = Kind::kNone;
  }

  const Out echo_;
  Out items_ = Out::array();  // closed
  Kind kind_ = Kind::kNone;   // of the open item
  std::string item_id_;
  std::string text_;  // of the open item
  std::string events_;
  int64_t sequence_ = 0;
  bool is_whole_ = false;
  engine::FinishReason reason_ = engine::FinishReason::kStop;
};

}  // namespace

std::unique_ptr<AnswerFormat> MakeResponsesFormat(ResponseEcho echo) {
  return std::make_unique<ResponsesFormat>(std::move(echo));
}

}  // namespace etch::serve
