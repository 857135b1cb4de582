#pragma once

// What the two halves of the parser share: the tokens, the bound on nesting, and errors.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace etch::jinja {

constexpr int kMaxNesting = 100;  // of expressions in expressions and of blocks in blocks

class TokenStream {
 public:
  TokenStream(std::string_view source, std::vector<Token> tokens)
      : source_(source), tokens_(std::move(tokens)) {}

  const Token& current() const { return tokens_[next_]; }
  const Token& ahead() const { return tokens_[next_ + 1 < tokens_.size() ? next_ + 1 : next_]; }
  // Never moves past kEnd.
  Token Take() {
    Token token = tokens_[next_];
    next_ += next_ + 1 < tokens_.size() ? 1 : 0;
    return token;
  }

  bool At(TokenKind kind) const { return current().kind == kind; }
  bool AtOperator(std::string_view text) const {
    return At(TokenKind::kOperator) && current().text == text;
  }
  bool AtName(std::string_view text) const {
    return At(TokenKind::kName) && current().text == text;
  }
  bool SkipOperator(std::string_view text) {
    const bool found = AtOperator(text);
    next_ += found ? 1 : 0;
    return found;
  }
  bool SkipName(std::string_view text) {
    const bool found = AtName(text);
    next_ += found ? 1 : 0;
    return found;
  }
  Status ExpectOperator(std::string_view text) {
    return SkipOperator(text) ? Status() : Unexpected(fmt::format("'{}'", text));
  }
  Status ExpectName(std::string_view text) {
    return SkipName(text) ? Status() : Unexpected(fmt::format("'{}'", text));
  }
  // A name, whatever it is.
  Result<std::string> TakeName() {
    if (!At(TokenKind::kName)) {
      return Unexpected("a name");
    }
    return Take().text;
  }

  tl::unexpected<Error> Unexpected(std::string_view wanted) const {
    return FailHere(ErrorCode::kMalformed,
                    At(TokenKind::kEnd)
                        ? fmt::format("the template ends where {} should follow", wanted)
                        : fmt::format("expected {}, got '{}'", wanted, current().text));
  }
  tl::unexpected<Error> FailHere(ErrorCode code, std::string_view message) const {
    return FailAt(current().position, code, message);
  }
  tl::unexpected<Error> FailAt(const Position& position, ErrorCode code,
                               std::string_view message) const {
    return Fail(code, "{}", Locate(source_, position, message));
  }

 private:
  std::string_view source_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
};

// Counts the parser's own recursion.
class NestingGuard {
 public:
  explicit NestingGuard(int* nesting) : nesting_(nesting) { ++*nesting_; }
  NestingGuard(const NestingGuard&) = delete;
  NestingGuard& operator=(const NestingGuard&) = delete;
  ~NestingGuard() { --*nesting_; }

  bool too_deep() const { return *nesting_ > kMaxNesting; }

 private:
  int* nesting_;
};

}  // namespace etch::jinja
