// A template's output is one string in which its own control tokens and the users' words can no
// longer be told apart. So, before rendering, every control token's text inside a message is
// replaced by a placeholder (two private-use characters around the token's id), and behind the
// rendering each placeholder is tokenised as plain text. Messages without such texts, which is
// nearly all, go through unchanged.
//
// Two more private-use characters mark what {% generation %} blocks write. A user's own characters
// of these four are placeholders too, with negative numbers for ids.

#include "text/chat_prompt.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace etch::text {
namespace {

constexpr std::string_view kOpen = "\xEE\x80\x80";             // U+E000
constexpr std::string_view kClose = "\xEE\x80\x81";            // U+E001
constexpr std::string_view kGenerationOpen = "\xEE\x80\x82";   // U+E002
constexpr std::string_view kGenerationClose = "\xEE\x80\x83";  // U+E003
// A user's own marks, numbered -1, -2 …; U+E001 alone means nothing.
constexpr std::array kOwnMarks = {kOpen, kGenerationOpen, kGenerationClose};

std::string Placeholder(TokenId token) {
  return std::string(kOpen) + std::to_string(token) + std::string(kClose);
}

std::string SpecialText(const Tokenizer& tokenizer, TokenId token) {
  return token == model::kNoToken ? "" : tokenizer.TokenBytes(token, true);
}

// What a placeholder stands for; a number that none has means its opening mark.
std::string_view PlaceholderText(const model::Vocabulary& vocabulary, TokenId number) {
  if (number >= 0 && static_cast<size_t>(number) < vocabulary.tokens.size()) {
    return vocabulary.tokens[static_cast<size_t>(number)].text;
  }
  const int64_t mark = -int64_t{number} - 1;
  return mark >= 0 && mark < std::ssize(kOwnMarks) ? kOwnMarks[static_cast<size_t>(mark)] : kOpen;
}

}  // namespace

Result<std::vector<TokenId>> EncodeChat(const ChatTemplate& chat_template,
                                        const Tokenizer& tokenizer,
                                        const std::vector<ChatMessage>& messages,
                                        std::string_view tools_json) {
  const ChatEncoder encoder(chat_template, tokenizer);
  ETCH_ASSIGN_OR_RETURN(const std::string text, encoder.Render(messages, true, tools_json));
  std::vector<TokenId> tokens;
  encoder.Append(text, tokens);
  return tokens;
}

ChatEncoder::ChatEncoder(const ChatTemplate& chat_template, const Tokenizer& tokenizer)
    : chat_template_(chat_template),
      tokenizer_(tokenizer),
      bos_(SpecialText(tokenizer, tokenizer.vocabulary().bos)),
      eos_(SpecialText(tokenizer, tokenizer.vocabulary().eos)) {
  const std::vector<model::Token>& all = tokenizer.vocabulary().tokens;
  for (size_t id = 0; id < all.size(); ++id) {
    if (all[id].type == model::TokenType::kControl && !all[id].text.empty()) {
      controls_.push_back({all[id].text, static_cast<TokenId>(id)});
      may_begin_control_[static_cast<uint8_t>(all[id].text[0])] = true;
    }
  }
  std::stable_sort(
      controls_.begin(), controls_.end(),
      [](const ControlText& a, const ControlText& b) { return a.text.size() > b.text.size(); });
}

Result<std::string> ChatEncoder::Render(const std::vector<ChatMessage>& messages,
                                        bool add_generation_prompt,
                                        std::string_view tools_json) const {
  return chat_template_.RenderChat(Shielded(messages), add_generation_prompt, bos_, eos_, {},
                                   ShieldJson(tools_json));
}

Result<std::vector<ChatEncoder::Piece>> ChatEncoder::RenderPieces(
    const std::vector<ChatMessage>& messages) const {
  ETCH_ASSIGN_OR_RETURN(const std::string text,
                        chat_template_.RenderMarkedChat(Shielded(messages), bos_, eos_,
                                                        kGenerationOpen, kGenerationClose));
  std::vector<Piece> pieces;
  bool is_generated = false;
  for (size_t at = 0; at <= text.size();) {
    const size_t mark = text.find(is_generated ? kGenerationClose : kGenerationOpen, at);
    const size_t end = std::min(mark, text.size());
    if (end > at) {
      pieces.push_back({text.substr(at, end - at), is_generated});
    }
    at = mark == std::string::npos ? text.size() + 1 : mark + kGenerationOpen.size();
    is_generated = !is_generated;
  }
  return pieces;
}

void ChatEncoder::Append(std::string_view rendered, std::vector<TokenId>& tokens) const {
  const model::Vocabulary& vocabulary = tokenizer_.vocabulary();
  bool is_first = tokens.empty();
  const auto append = [&](std::string_view part, bool parse_special) {
    if (part.empty() && !is_first) {
      return;
    }
    EncodeOptions options{.parse_special = parse_special};
    options.add_special = is_first && (bos_.empty() || !rendered.starts_with(bos_));
    // Where each text behind a control token gets a prefix space, such a token begins anew.
    const auto is_control = [&](TokenId token) {
      return vocabulary.tokens[static_cast<size_t>(token)].type == model::TokenType::kControl;
    };
    options.continues =
        !tokens.empty() && (vocabulary.prefix_space_first_only || !is_control(tokens.back()));
    const std::vector<TokenId> encoded = tokenizer_.Encode(part, options);
    tokens.insert(tokens.end(), encoded.begin(), encoded.end());
    is_first = false;
  };
  size_t at = 0;
  for (size_t open = rendered.find(kOpen); open != std::string_view::npos;
       open = rendered.find(kOpen, at)) {
    const size_t digits = open + kOpen.size();
    const size_t close = rendered.find(kClose, digits);
    TokenId number = model::kNoToken;
    if (close != std::string_view::npos) {
      std::from_chars(rendered.data() + digits, rendered.data() + close, number);
    }
    append(rendered.substr(at, open - at), true);
    append(PlaceholderText(vocabulary, number), false);
    at = close == std::string_view::npos ? digits : close + kClose.size();
  }
  append(rendered.substr(at), true);
}

std::string ChatEncoder::Shield(std::string_view content) const {
  std::string out;
  for (size_t at = 0; at < content.size();) {
    const std::string_view rest = content.substr(at);
    const auto begins = [rest](std::string_view text) { return rest.starts_with(text); };
    if (may_begin_control_[static_cast<uint8_t>(rest[0])]) {
      const auto found = std::ranges::find_if(controls_, begins, &ControlText::text);
      if (found != controls_.end()) {
        out += Placeholder(found->token);
        at += found->text.size();
        continue;
      }
    }
    if (const auto mark = std::ranges::find_if(kOwnMarks, begins); mark != kOwnMarks.end()) {
      out += Placeholder(static_cast<TokenId>(-1 - (mark - kOwnMarks.begin())));
      at += mark->size();
      continue;
    }
    out += content[at++];
  }
  return out;
}

std::string ChatEncoder::ShieldJson(std::string_view json) const {
  using Json = nlohmann::ordered_json;
  if (json.empty()) {
    return "";
  }
  // Depth is bounded by whoever read the request.
  const auto shield = [this](const auto& self, const Json& value) -> Json {
    if (value.is_string()) {
      return Shield(value.get_ref<const std::string&>());
    }
    if (!value.is_structured()) {
      return value;
    }
    Json out = value.is_array() ? Json::array() : Json::object();
    for (const auto& [name, item] : value.items()) {
      if (value.is_array()) {
        out.push_back(self(self, item));
      } else {
        out[Shield(name)] = self(self, item);
      }
    }
    return out;
  };
  const Json parsed = Json::parse(json, nullptr, false);
  return parsed.is_discarded()
             ? std::string(json)
             : shield(shield, parsed).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<ChatMessage> ChatEncoder::Shielded(const std::vector<ChatMessage>& messages) const {
  std::vector<ChatMessage> shielded = messages;
  for (ChatMessage& message : shielded) {
    message.role = Shield(message.role);
    message.content = Shield(message.content);
    message.extra_json = ShieldJson(message.extra_json);
  }
  return shielded;
}

}  // namespace etch::text
