// Primary expressions: literals, names, and what stands in brackets.

#include <charconv>
#include <string>
#include <utility>

#include "text/jinja/expression_parser.h"

namespace etch::jinja {

Result<ExpressionPtr> ExpressionParser::ParsePrimary() {
  const Token token = stream_->current();
  ExpressionPtr constant = MakeExpression(Expression::Kind::kConstant, token.position);
  switch (token.kind) {
    case TokenKind::kName:
      stream_->Take();
      if (token.text == "true" || token.text == "True") {
        constant->constant = Value::Bool(true);
      } else if (token.text == "false" || token.text == "False") {
        constant->constant = Value::Bool(false);
      } else if (token.text == "none" || token.text == "None") {
        constant->constant = Value::None();
      } else {
        constant->kind = Expression::Kind::kName;
        constant->name = token.text;
      }
      return constant;
    case TokenKind::kString: {
      std::string text;
      while (stream_->At(TokenKind::kString)) {  // literals side by side are one
        text += stream_->Take().text;
      }
      constant->constant = Value::Literal(text);
      return constant;
    }
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber();
    case TokenKind::kOperator:
      if (stream_->SkipOperator("(")) {
        return ParseParenthesis(token.position);
      }
      if (stream_->SkipOperator("[")) {
        return ParseList(token.position);
      }
      if (stream_->SkipOperator("{")) {
        return ParseDict(token.position);
      }
      break;
    default:
      break;
  }
  return stream_->Unexpected("an expression");
}

Result<ExpressionPtr> ExpressionParser::ParseNumber() {
  const Token token = stream_->Take();
  ExpressionPtr constant = MakeExpression(Expression::Kind::kConstant, token.position);
  const bool is_hex = token.text.size() > 2 && (token.text[1] | 0x20) == 'x';
  const char* begin = token.text.data() + (is_hex ? 2 : 0);
  const char* end = token.text.data() + token.text.size();
  std::from_chars_result parsed{};
  if (token.kind == TokenKind::kInteger) {
    int64_t number = 0;
    parsed = std::from_chars(begin, end, number, is_hex ? 16 : 10);
    constant->constant = Value::Int(number);
  } else {
    double number = 0;
    parsed = std::from_chars(begin, end, number);
    constant->constant = Value::Float(number);
  }
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return stream_->FailAt(token.position, ErrorCode::kUnsupported,
                           fmt::format("the number {} is out of range", token.text));
  }
  return constant;
}

Result<ExpressionPtr> ExpressionParser::ParseParenthesis(const Position& position) {
  ExpressionPtr tuple = MakeExpression(Expression::Kind::kTuple, position);
  bool is_tuple = stream_->AtOperator(")");
  while (!stream_->AtOperator(")")) {
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    tuple->operands.push_back(std::move(item));
    if (!stream_->SkipOperator(",")) {
      break;
    }
    is_tuple = true;
  }
  ETCH_TRY(stream_->ExpectOperator(")"));
  if (!is_tuple) {
    return std::move(tuple->operands.front());
  }
  return Finish(std::move(tuple));
}

Result<ExpressionPtr> ExpressionParser::ParseList(const Position& position) {
  ExpressionPtr list = MakeExpression(Expression::Kind::kList, position);
  while (!stream_->AtOperator("]")) {
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr item, ParseExpression());
    list->operands.push_back(std::move(item));
    if (!stream_->SkipOperator(",")) {
      break;
    }
  }
  ETCH_TRY(stream_->ExpectOperator("]"));
  return Finish(std::move(list));
}

Result<ExpressionPtr> ExpressionParser::ParseDict(const Position& position) {
  ExpressionPtr dict = MakeExpression(Expression::Kind::kDict, position);
  while (!stream_->AtOperator("}")) {
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr key, ParseExpression());
    ETCH_TRY(stream_->ExpectOperator(":"));
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr value, ParseExpression());
    dict->operands.push_back(std::move(key));
    dict->operands.push_back(std::move(value));
    if (!stream_->SkipOperator(",")) {
      break;
    }
  }
  ETCH_TRY(stream_->ExpectOperator("}"));
  return Finish(std::move(dict));
}

}  // namespace etch::jinja
