// Requests are put into OpenAI's words and read by the one reader of those. Options that would
// change the text and are not offered (repeat_penalty, mirostat …) are refused; those about
// Ollama's own machinery (num_ctx, num_gpu, keep_alive …) are passed over. Durations are in
// nanoseconds.

#include "serve/ollama_api.h"

#include <array>
#include <nlohmann/json.hpp>

#include "serve/adapter_routes.h"
#include "serve/error_body.h"
#include "serve/json_fields.h"
#include "tenant/api_key.h"  // HexDigest
#include "tenant/calendar.h"

namespace etch::serve {
namespace {

using Out = nlohmann::ordered_json;

constexpr std::string_view kTag = ":latest";
constexpr auto kFields = std::to_array<std::string_view>(
    {"model", "messages", "prompt", "system", "raw", "suffix", "images", "template", "context",
     "format", "options", "stream", "keep_alive", "tools", "think", "strict", "name"});

int64_t Nanoseconds(double seconds) { return static_cast<int64_t>(std::max(0.0, seconds) * 1e9); }

class OllamaFormat : public AnswerFormat {
 public:
  explicit OllamaFormat(bool is_chat) : is_chat_(is_chat) {}

  const char* stream_type() const override { return "application/x-ndjson"; }

  std::string Whole(const AnswerView& answer, const std::vector<ChoiceState>& choices) override {
    const ChoiceState& choice = choices.front();
    Out body = Text(answer.head.model, choice.text, choice.reasoning, choice.calls);
    Finish(answer, choice.reason, body);
    return DumpJson(body);
  }

  std::string Next(const AnswerView& answer, const Piece& piece) override {
    if (piece.text.empty() && piece.reasoning.empty() && piece.calls.empty() && !piece.finished) {
      return "";
    }
    std::string lines;
    const bool has_text = !piece.text.empty() || !piece.reasoning.empty() || !piece.calls.empty();
    if (has_text) {
      Out body = Text(answer.head.model, piece.text, piece.reasoning, piece.calls);
      body["done"] = false;
      lines += DumpJson(body) + "\n";
    }
    if (piece.finished) {
      Out body = Text(answer.head.model, "", "", {});
      Finish(answer, piece.reason, body);
      lines += DumpJson(body) + "\n";
    }
    return lines;
  }

  std::string Broken(const std::string& body) override { return body + "\n"; }

  // What the API answers to a request without text, which only asks for the model.
  Reply Loaded(const std::string& model) const {
    Out body = Text(model, "", "", {});
    body["done"] = true;
    body["done_reason"] = "load";
    return {200, DumpJson(body)};
  }

 private:
  Out Text(const std::string& model, const std::string& text, const std::string& reasoning,
           const std::vector<ToolCall>& calls) const {
    Out body = {{"model", model}, {"created_at", tenant::FormatTime(tenant::UnixTime())}};
    Out message = is_chat_ ? Out{{"role", "assistant"}, {"content", text}} : Out::object();
    if (!reasoning.empty()) {
      message["thinking"] = reasoning;
    }
    for (const ToolCall& call : calls) {
      message["tool_calls"].push_back(
          {{"function",
            {{"name", call.name}, {"arguments", Out::parse(call.arguments, nullptr, false)}}}});
    }
    if (is_chat_) {
      body["message"] = std::move(message);
    } else {
      body["response"] = text;
      body.update(message);
    }
    return body;
  }

  static void Finish(const AnswerView& answer, engine::FinishReason reason, Out& body) {
    const Timings& timings = answer.timings;
    body["done"] = true;
    body["done_reason"] = FinishName(reason);
    body["total_duration"] = Nanoseconds(timings.last_token_s);
    body["load_duration"] = 0;
    body["prompt_eval_count"] = answer.usage.prompt_tokens;
    body["prompt_eval_duration"] = Nanoseconds(timings.first_token_s - timings.started_s);
    body["eval_count"] = answer.usage.completion_tokens;
    body["eval_duration"] = Nanoseconds(timings.last_token_s - timings.first_token_s);
  }

  const bool is_chat_;
};

Status RefuseOptions(const Json& options) {
  struct Neutral {
    const char* name;
    double value;
  };
  for (const Neutral& neutral : {Neutral{"repeat_penalty", 1.0}, Neutral{"mirostat", 0.0},
                                 Neutral{"typical_p", 1.0}, Neutral{"tfs_z", 1.0}}) {
    double value = neutral.value;
    ETCH_TRY(ReadNumber(options, neutral.name, value));
    if (value != neutral.value) {
      return Fail(ErrorCode::kUnsupported, "options: {} is not supported", neutral.name);
    }
  }
  return {};
}

Status CarryOptions(const Json& json, Json& body) {
  body["temperature"] = 0.8;  // Ollama's defaults
  body["top_k"] = 40;
  body["top_p"] = 0.9;
  const Json* options = Field(json, "options");
  if (options == nullptr) {
    return {};
  }
  if (!options->is_object()) {
    return Fail(ErrorCode::kInvalidArgument, "options is not an object");
  }
  ETCH_TRY(RefuseOptions(*options));
  for (const char* name : {"temperature", "top_k", "top_p", "min_p", "seed", "stop",
                           "presence_penalty", "frequency_penalty"}) {
    if (const Json* field = Field(*options, name)) {
      body[name] = *field;
    }
  }
  ETCH_ASSIGN_OR_RETURN(const auto limit, ReadInteger(*options, "num_predict", -2, 1 << 30));
  if (limit.value_or(0) > 0) {  // -1 and -2: as far as the context goes
    body["max_tokens"] = *limit;
  }
  return {};
}

// What both routes share, in OpenAI's words.
Result<Json> ReadCommon(const Service& service, const Json& json, bool strict) {
  ETCH_TRY(CheckFields(json, strict, kFields));
  for (const char* name : {"suffix", "images", "template", "context"}) {
    if (const Json* field = Field(json, name);
        field != nullptr && *field != "" && !(field->is_array() && field->empty())) {
      return Fail(ErrorCode::kUnsupported, "{} is not supported", name);
    }
  }
  std::string model;
  ETCH_TRY(ReadString(json, "model", model));
  bool stream = true;
  ETCH_TRY(ReadBool(json, "stream", stream));
  Json body = {{"model", ModelWithoutTag(service, model)}, {"stream", stream}};
  ETCH_TRY(CarryOptions(json, body));
  if (const Json* format = Field(json, "format"); format != nullptr && *format != "") {
    if (*format == "json") {
      body["response_format"] = {{"type", "json_object"}};
    } else if (format->is_object()) {
      body["response_format"] = {{"type", "json_schema"},
                                 {"json_schema", {{"name", "format"}, {"schema", *format}}}};
    } else {
      return Fail(ErrorCode::kInvalidArgument, "format is neither \"json\" nor a schema");
    }
  }
  if (const Json* tools = Field(json, "tools")) {
    body["tools"] = *tools;
  }
  return body;
}

Result<Json> ReadMessages(const Json& messages) {
  Json list = Json::array();
  for (const Json& message : messages) {
    if (!message.is_object()) {
      return Fail(ErrorCode::kInvalidArgument, "a message is not an object");
    }
    if (const Json* images = Field(message, "images"); images != nullptr && !images->empty()) {
      return Fail(ErrorCode::kUnsupported, "images are not supported");
    }
    Json item = message;
    if (const Json* thoughts = Field(message, "thinking")) {
      item["reasoning_content"] = *thoughts;
    }
    if (const Json* name = Field(message, "tool_name")) {
      item["name"] = *name;
    }
    list.push_back(std::move(item));
  }
  return list;
}

Ask Loading(const Json& body, const OllamaFormat& format) {
  Ask ask;
  ask.request.model = body["model"].get<std::string>();
  ask.ready = format.Loaded(ask.request.model);
  return ask;
}

Out Details(const Service& service, bool is_base) {
  return {{"parent_model", is_base ? "" : service.adapters.base()},
          {"format", "etch"},
          {"family", "llama"},
          {"families", {"llama"}},
          {"parameter_size", ""},
          {"quantization_level", ""}};
}

Reply Tags(const Service& service, const Caller& caller) {
  Out models = Out::array();
  const auto add = [&](const std::string& name, uint64_t size) {
    models.push_back({{"name", name},
                      {"model", name},
                      {"modified_at", tenant::FormatTime(service.started)},
                      {"size", size},
                      {"digest", tenant::HexDigest(name)},
                      {"details", Details(service, name == service.adapters.base())}});
  };
  if (caller.MayUseBase()) {
    add(service.adapters.base(), service.engine.image().size_bytes());
  }
  for (const std::string& name : VisibleAdapters(service, caller)) {
    const std::optional<AdapterState> state = service.adapters.State(name);
    add(name, state ? state->size_bytes : 0);
  }
  return {200, DumpJson(Out{{"models", std::move(models)}})};
}

Result<Reply> Show(const Service& service, const Caller& caller, std::string_view body) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(body));
  std::string model;
  ETCH_TRY(ReadString(json, "name", model));
  ETCH_TRY(ReadString(json, "model", model));
  model = ModelWithoutTag(service, model);
  if (model.empty() || !IsVisible(service, caller, model)) {
    return Reply{404, OllamaError("model '" + model + "' not found")};
  }
  const std::string& chat_template = service.engine.image().vocabulary().chat_template;
  const model::Config& config = service.engine.image().config();
  Out capabilities = {"completion"};
  if (chat_template.find("tools") != std::string::npos) {
    capabilities.push_back("tools");
  }
  return Reply{200, DumpJson(Out{{"modelfile", ""},
                                 {"parameters", ""},
                                 {"template", chat_template},
                                 {"details", Details(service, model == service.adapters.base())},
                                 {"model_info",
                                  {{"general.architecture", "llama"},
                                   {"llama.block_count", config.n_layers},
                                   {"llama.context_length", service.engine.info().context},
                                   {"llama.embedding_length", config.dim},
                                   {"llama.vocab_size", config.vocab_size}}},
                                 {"capabilities", std::move(capabilities)}})};
}

}  // namespace

Result<Ask> AskOllamaChat(const Service& service, const RouteRequest& route, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(route.body));
  ETCH_ASSIGN_OR_RETURN(Json body, ReadCommon(service, json, strict));
  auto format = std::make_unique<OllamaFormat>(true);
  const Json* messages = Field(json, "messages");
  if (messages == nullptr || (messages->is_array() && messages->empty())) {
    return Loading(body, *format);
  }
  ETCH_ASSIGN_OR_RETURN(body["messages"], ReadMessages(*messages));
  Ask ask;
  ETCH_ASSIGN_OR_RETURN(ask.request, ParseChatRequest(DumpJson(body)));
  ask.format = std::move(format);
  return ask;
}

Result<Ask> AskOllamaGenerate(const Service& service, const RouteRequest& route, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(route.body));
  ETCH_ASSIGN_OR_RETURN(Json body, ReadCommon(service, json, strict));
  auto format = std::make_unique<OllamaFormat>(false);
  std::string prompt;
  std::string instructions;
  bool is_raw = service.chat_template == nullptr;
  ETCH_TRY(ReadString(json, "prompt", prompt));
  ETCH_TRY(ReadString(json, "system", instructions));
  ETCH_TRY(ReadBool(json, "raw", is_raw));
  if (prompt.empty()) {
    return Loading(body, *format);
  }
  Ask ask;
  if (is_raw) {
    body["prompt"] = prompt;
    if (!body.contains("max_tokens")) {
      body["max_tokens"] = 1 << 30;  // up to the context's end
    }
    ETCH_ASSIGN_OR_RETURN(ask.request, ParseCompletionRequest(DumpJson(body)));
  } else {
    body["messages"] = Json::array();
    if (!instructions.empty()) {
      body["messages"].push_back({{"role", "system"}, {"content", instructions}});
    }
    body["messages"].push_back({{"role", "user"}, {"content", prompt}});
    ETCH_ASSIGN_OR_RETURN(ask.request, ParseChatRequest(DumpJson(body)));
  }
  ask.format = std::move(format);
  return ask;
}

Reply AnswerOllamaRoute(const Service& service, const Caller& caller, const RouteRequest& route) {
  if (route.method == Method::kGet && route.path == "/api/tags") {
    return Tags(service, caller);
  }
  if (route.method == Method::kGet && route.path == "/api/version") {
    return {200, DumpJson(Out{{"version", ETCH_VERSION}})};
  }
  if (route.method == Method::kPost && route.path == "/api/show") {
    Result<Reply> reply = Show(service, caller, route.body);
    return reply ? std::move(*reply)
                 : Reply{HttpStatus(reply.error().code), OllamaError(reply.error().message)};
  }
  return {404, OllamaError("no route " + std::string(route.path))};
}

std::string ModelWithoutTag(const Service& service, std::string model) {
  if (model.ends_with(kTag) && !service.adapters.State(model)) {
    model.resize(model.size() - kTag.size());
  }
  return model;
}

std::string OllamaError(const std::string& message) {
  return DumpJson(Out{{"error", Shortened(message)}});
}

}  // namespace etch::serve
