// A template's output is one string in which its own control tokens and the users' words can no
// longer be told apart. So, before rendering, every control token's text inside a message is
// replaced by a placeholder (two private-use characters around the token's id), and behind the
// rendering each placeholder is tokenised as plain text. Messages without such texts, which is
// nearly all, go through unchanged.

#include "text/chat_prompt.h"

#include <algorithm>
#include <charconv>

namespace etch::text {
namespace {

constexpr std::string_view kOpen = "\xEE\x80\x80";   // U+E000
constexpr std::string_view kClose = "\xEE\x80\x81";  // U+E001

struct ControlText {
  std::string text;
  TokenId token;
};

// Texts of all control tokens, longest first.
std::vector<ControlText> ControlTexts(const model::Vocabulary& vocabulary) {
  std::vector<ControlText> texts;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    const model::Token& token = vocabulary.tokens[id];
    if (token.type == model::TokenType::kControl && !token.text.empty()) {
      texts.push_back({token.text, static_cast<TokenId>(id)});
    }
  }
  std::stable_sort(texts.begin(), texts.end(), [](const ControlText& a, const ControlText& b) {
    return a.text.size() > b.text.size();
  });
  return texts;
}

std::string Placeholder(TokenId token) {
  return std::string(kOpen) + std::to_string(token) + std::string(kClose);
}

std::string Shield(std::string_view content, const std::vector<ControlText>& controls) {
  std::string out;
  for (size_t at = 0; at < content.size();) {
    const std::string_view rest = content.substr(at);
    const auto found =
        std::find_if(controls.begin(), controls.end(),
                     [rest](const ControlText& control) { return rest.starts_with(control.text); });
    if (found != controls.end()) {
      out += Placeholder(found->token);
      at += found->text.size();
    } else if (rest.starts_with(kOpen)) {  // a user's own U+E000
      out += Placeholder(model::kNoToken);
      at += kOpen.size();
    } else {
      out += content[at++];
    }
  }
  return out;
}

std::string SpecialText(const Tokenizer& tokenizer, TokenId token) {
  return token == model::kNoToken ? "" : tokenizer.TokenBytes(token, true);
}

}  // namespace

Result<std::vector<TokenId>> EncodeChat(const ChatTemplate& chat_template,
                                        const Tokenizer& tokenizer,
                                        const std::vector<ChatMessage>& messages) {
  const model::Vocabulary& vocabulary = tokenizer.vocabulary();
  const std::vector<ControlText> controls = ControlTexts(vocabulary);
  std::vector<ChatMessage> shielded = messages;
  for (ChatMessage& message : shielded) {
    message.content = Shield(message.content, controls);
  }
  const std::string bos = SpecialText(tokenizer, vocabulary.bos);
  ETCH_ASSIGN_OR_RETURN(
      const std::string text,
      chat_template.RenderChat(shielded, true, bos, SpecialText(tokenizer, vocabulary.eos)));
  std::vector<TokenId> tokens;
  EncodeOptions options{bos.empty() || !text.starts_with(bos), true};
  const auto append = [&](std::string_view part) {
    if (!part.empty() || options.add_special) {
      const std::vector<TokenId> encoded = tokenizer.Encode(part, options);
      tokens.insert(tokens.end(), encoded.begin(), encoded.end());
    }
    options.add_special = false;
  };
  size_t at = 0;
  for (size_t open = text.find(kOpen); open != std::string::npos; open = text.find(kOpen, at)) {
    const size_t digits = open + kOpen.size();
    const size_t close = text.find(kClose, digits);
    TokenId token = model::kNoToken;
    if (close != std::string::npos) {
      std::from_chars(text.data() + digits, text.data() + close, token);
    }
    options.parse_special = true;
    append(std::string_view(text).substr(at, open - at));
    options.parse_special = false;
    const bool known = token >= 0 && static_cast<size_t>(token) < vocabulary.tokens.size();
    append(known ? std::string_view(vocabulary.tokens[static_cast<size_t>(token)].text) : kOpen);
    at = close == std::string::npos ? digits : close + kClose.size();
  }
  options.parse_special = true;
  append(std::string_view(text).substr(at));
  return tokens;
}

}  // namespace etch::text
