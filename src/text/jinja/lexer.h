#pragma once

// Splits a template into tokens and applies Jinja's white-space rules, with trim_blocks and
// lstrip_blocks on, as transformers renders chat templates.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace etch::jinja {

struct Position {
  int line = 1;       // from 1
  int column = 1;     // from 1, in bytes
  size_t offset = 0;  // into the source
};

enum class TokenKind {
  kText,           // `text` is output as it is
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,    // `text` has its escapes resolved
  kInteger,   // `text` is the literal
  kFloat,     // the same
  kOperator,  // `text` is the operator
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;
  Position position;
};

// Fails with kMalformed, naming line and column. The last token is kEnd. `source` has \n line ends
// and no newline at its end: NormalizeSource makes it so.
Result<std::vector<Token>> Tokenize(std::string_view source);

// \r\n and \r become \n, and one newline at the end is dropped.
std::string NormalizeSource(std::string_view source);

// "line 3, column 14: message, near `{{ foo }}`".
std::string Locate(std::string_view source, const Position& position, std::string_view message);

}  // namespace etch::jinja
