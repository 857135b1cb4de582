// The face of the Jinja engine (jinja/) that the rest of Etch sees. The engine is Etch's own, small
// enough to read and bounded by construction: an embedded Python would run Jinja itself, but a chat
// template arrives inside a model file, and Jinja's sandbox has been escaped more than once.

#include "text/chat_template.h"

#include <nlohmann/json.hpp>

#include "text/jinja/template.h"

namespace etch::text {

struct ChatTemplate::Impl {
  jinja::Template parsed;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::Parse(std::string_view source) {
  Result<jinja::Template> parsed = jinja::Template::Parse(source);
  if (!parsed) {
    return Prefix("chat template", std::move(parsed).error());
  }
  return ChatTemplate(std::make_unique<Impl>(Impl{std::move(*parsed)}));
}

Result<std::string> ChatTemplate::Render(std::string_view context_json,
                                         const RenderLimits& limits) const {
  Result<std::string> text =
      impl_->parsed.Render(context_json, {.max_steps = limits.max_steps,
                                          .max_output_bytes = limits.max_output_bytes,
                                          .max_value_bytes = limits.max_value_bytes,
                                          .max_depth = limits.max_depth});
  if (!text) {
    return Prefix("chat template", std::move(text).error());
  }
  return text;
}

namespace {

using Json = nlohmann::ordered_json;

// kInvalidArgument when a message's further members or the tools are not the JSON they must be.
Result<Json> ChatContext(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                         std::string_view bos_token, std::string_view eos_token,
                         std::string_view tools_json = {}) {
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    Json item = {{"role", message.role}, {"content", message.content}};
    if (!message.extra_json.empty()) {
      const Json extra = Json::parse(message.extra_json, nullptr, false);
      if (!extra.is_object()) {
        return Fail(ErrorCode::kInvalidArgument, "a message's members are not a JSON object");
      }
      item.update(extra);
    }
    list.push_back(std::move(item));
  }
  Json context = {{"messages", std::move(list)},
                  {"add_generation_prompt", add_generation_prompt},
                  {"bos_token", bos_token},
                  {"eos_token", eos_token}};
  if (!tools_json.empty()) {
    context["tools"] = Json::parse(tools_json, nullptr, false);
    if (!context["tools"].is_array()) {
      return Fail(ErrorCode::kInvalidArgument, "tools is not a JSON list");
    }
  }
  return context;
}

Result<std::string> Dump(const Json& context) {
  try {
    return context.dump();
  } catch (const Json::exception&) {  // dump refuses what is no UTF-8
    return Fail(ErrorCode::kInvalidArgument, "a chat message or token is not UTF-8");
  }
}

}  // namespace

Result<std::string> ChatTemplate::RenderChat(const std::vector<ChatMessage>& messages,
                                             bool add_generation_prompt, std::string_view bos_token,
                                             std::string_view eos_token, const RenderLimits& limits,
                                             std::string_view tools_json) const {
  ETCH_ASSIGN_OR_RETURN(const Json context, ChatContext(messages, add_generation_prompt, bos_token,
                                                        eos_token, tools_json));
  ETCH_ASSIGN_OR_RETURN(const std::string text, Dump(context));
  return Render(text, limits);
}

Result<std::string> ChatTemplate::RenderMarkedChat(const std::vector<ChatMessage>& messages,
                                                   std::string_view bos_token,
                                                   std::string_view eos_token,
                                                   std::string_view open, std::string_view close,
                                                   const RenderLimits& limits) const {
  ETCH_ASSIGN_OR_RETURN(Json context, ChatContext(messages, false, bos_token, eos_token));
  context["generation_open"] = open;
  context["generation_close"] = close;
  ETCH_ASSIGN_OR_RETURN(const std::string text, Dump(context));
  return Render(text, limits);
}

}  // namespace etch::text
