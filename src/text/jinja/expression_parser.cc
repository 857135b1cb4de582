// Recursive descent over Jinja's precedence levels, from weak to strong:
//
//   a if b else c · or · and · not · comparisons, in · + - · ~ · * / // % · ** · unary + - ·
//   primary with .name [item] (call) · | filter, is test
//
// A filter binds tighter than any operator but the unary ones: 1 + x | length is 1 + (x | length),
// and -x | abs is (-x) | abs. Each level is one function, and a chain of one level is one flat
// node. A precedence table was rejected: Jinja's unary level is not a plain binary-operator
// grammar.

#include "text/jinja/expression_parser.h"

#include <algorithm>

namespace etch::jinja {

ExpressionPtr MakeExpression(Expression::Kind kind, const Position& position) {
  return std::make_unique<Expression>(Expression{.kind = kind, .position = position});
}

Result<ExpressionPtr> ExpressionParser::Finish(ExpressionPtr expression) {
  int depth = 0;
  for (const ExpressionPtr& operand : expression->operands) {
    depth = std::max(depth, operand == nullptr ? 0 : operand->depth);
  }
  for (const Argument& argument : expression->arguments) {
    depth = std::max(depth, argument.value->depth);
  }
  expression->depth = depth + 1;
  if (expression->depth > kMaxNesting) {
    return stream_->FailAt(expression->position, ErrorCode::kUnsupported,
                           fmt::format("expressions are nested deeper than {}", kMaxNesting));
  }
  return expression;
}

Result<ExpressionPtr> ExpressionParser::ParseExpression() {
  const NestingGuard guard(&nesting_);
  if (guard.too_deep()) {
    return stream_->FailHere(ErrorCode::kUnsupported,
                             fmt::format("expressions are nested deeper than {}", kMaxNesting));
  }
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr expression, ParseOr());
  while (stream_->AtName("if")) {
    ExpressionPtr conditional =
        MakeExpression(Expression::Kind::kConditional, stream_->Take().position);
    conditional->operands.push_back(std::move(expression));
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr condition, ParseOr());
    conditional->operands.push_back(std::move(condition));
    ExpressionPtr otherwise;
    if (stream_->SkipName("else")) {
      ETCH_ASSIGN_OR_RETURN(otherwise, ParseExpression());
    }
    conditional->operands.push_back(std::move(otherwise));
    ETCH_ASSIGN_OR_RETURN(expression, Finish(std::move(conditional)));
  }
  return expression;
}

Result<ExpressionPtr> ExpressionParser::ParseWordChain(Expression::Kind kind, Rule operand,
                                                       std::string_view word) {
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*operand)());
  if (!stream_->AtName(word)) {
    return first;
  }
  ExpressionPtr chain = MakeExpression(kind, stream_->current().position);
  chain->operands.push_back(std::move(first));
  while (stream_->SkipName(word)) {
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr next, (this->*operand)());
    chain->operands.push_back(std::move(next));
  }
  return Finish(std::move(chain));
}

Result<ExpressionPtr> ExpressionParser::ParseChain(
    Expression::Kind kind, Rule operand,
    const std::vector<std::pair<std::string_view, Operator>>& names) {
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr first, (this->*operand)());
  ExpressionPtr chain;
  while (true) {
    const auto found = std::find_if(names.begin(), names.end(), [&](const auto& name) {
      return stream_->AtOperator(name.first);
    });
    if (found == names.end()) {
      break;
    }
    const Position position = stream_->Take().position;
    if (chain == nullptr) {
      chain = MakeExpression(kind, position);
      chain->operands.push_back(std::move(first));
    }
    chain->operators.push_back(found->second);
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr next, (this->*operand)());
    chain->operands.push_back(std::move(next));
  }
  if (chain == nullptr) {
    return first;
  }
  return Finish(std::move(chain));
}

Result<ExpressionPtr> ExpressionParser::ParseOr() {
  return ParseWordChain(Expression::Kind::kOr, &ExpressionParser::ParseAnd, "or");
}

Result<ExpressionPtr> ExpressionParser::ParseAnd() {
  return ParseWordChain(Expression::Kind::kAnd, &ExpressionParser::ParseNot, "and");
}

Result<ExpressionPtr> ExpressionParser::ParseNot() {
  if (!stream_->AtName("not")) {
    return ParseCompare();
  }
  const NestingGuard guard(&nesting_);
  if (guard.too_deep()) {
    return stream_->FailHere(ErrorCode::kUnsupported,
                             fmt::format("expressions are nested deeper than {}", kMaxNesting));
  }
  ExpressionPtr negation = MakeExpression(Expression::Kind::kNot, stream_->Take().position);
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseNot());
  negation->operands.push_back(std::move(operand));
  return Finish(std::move(negation));
}

Result<ExpressionPtr> ExpressionParser::ParseCompare() {
  static constexpr std::pair<std::string_view, Operator> kNames[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr first, ParseSum());
  ExpressionPtr chain;
  while (true) {
    const Position position = stream_->current().position;
    const auto* found = std::find_if(std::begin(kNames), std::end(kNames), [&](const auto& name) {
      return stream_->AtOperator(name.first);
    });
    Operator comparison = Operator::kIn;
    if (found != std::end(kNames)) {
      comparison = found->second;
      stream_->Take();
    } else if (stream_->AtName("not") && stream_->ahead().kind == TokenKind::kName &&
               stream_->ahead().text == "in") {
      comparison = Operator::kNotIn;
      stream_->Take();
      stream_->Take();
    } else if (!stream_->SkipName("in")) {
      break;
    }
    if (chain == nullptr) {
      chain = MakeExpression(Expression::Kind::kCompare, position);
      chain->operands.push_back(std::move(first));
    }
    chain->operators.push_back(comparison);
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr next, ParseSum());
    chain->operands.push_back(std::move(next));
  }
  if (chain == nullptr) {
    return first;
  }
  return Finish(std::move(chain));
}

Result<ExpressionPtr> ExpressionParser::ParseSum() {
  return ParseChain(Expression::Kind::kArithmetic, &ExpressionParser::ParseConcatenation,
                    {{"+", Operator::kAdd}, {"-", Operator::kSubtract}});
}

Result<ExpressionPtr> ExpressionParser::ParseConcatenation() {
  return ParseChain(Expression::Kind::kConcatenate, &ExpressionParser::ParseProduct,
                    {{"~", Operator::kAdd}});
}

Result<ExpressionPtr> ExpressionParser::ParseProduct() {
  return ParseChain(Expression::Kind::kArithmetic, &ExpressionParser::ParsePower,
                    {{"*", Operator::kMultiply},
                     {"/", Operator::kDivide},
                     {"//", Operator::kFloorDivide},
                     {"%", Operator::kModulo}});
}

Result<ExpressionPtr> ExpressionParser::ParsePower() {
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr first, ParseUnary(true));
  if (!stream_->AtOperator("**")) {
    return first;
  }
  ExpressionPtr chain = MakeExpression(Expression::Kind::kArithmetic, stream_->current().position);
  chain->operands.push_back(std::move(first));
  while (stream_->SkipOperator("**")) {
    chain->operators.push_back(Operator::kPower);
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr next, ParseUnary(true));
    chain->operands.push_back(std::move(next));
  }
  return Finish(std::move(chain));
}

Result<ExpressionPtr> ExpressionParser::ParseUnary(bool with_filter) {
  const NestingGuard guard(&nesting_);
  if (guard.too_deep()) {
    return stream_->FailHere(ErrorCode::kUnsupported,
                             fmt::format("expressions are nested deeper than {}", kMaxNesting));
  }
  ExpressionPtr expression;
  if (stream_->AtOperator("-") || stream_->AtOperator("+")) {
    const Token sign = stream_->Take();
    expression = MakeExpression(
        sign.text == "-" ? Expression::Kind::kNegate : Expression::Kind::kPlus, sign.position);
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr operand, ParseUnary(false));
    expression->operands.push_back(std::move(operand));
    ETCH_ASSIGN_OR_RETURN(expression, Finish(std::move(expression)));
  } else {
    ETCH_ASSIGN_OR_RETURN(expression, ParsePrimary());
  }
  ETCH_ASSIGN_OR_RETURN(expression, ParsePostfix(std::move(expression)));
  if (with_filter) {
    ETCH_ASSIGN_OR_RETURN(expression, ParseFilterAndTests(std::move(expression)));
  }
  return expression;
}

Result<ExpressionPtr> ExpressionParser::ParsePostfix(ExpressionPtr expression) {
  while (stream_->AtOperator(".") || stream_->AtOperator("[") || stream_->AtOperator("(")) {
    if (stream_->AtOperator("(")) {
      ExpressionPtr call = MakeExpression(Expression::Kind::kCall, expression->position);
      stream_->Take();
      ETCH_ASSIGN_OR_RETURN(call->arguments, ParseArguments());
      call->operands.push_back(std::move(expression));
      ETCH_ASSIGN_OR_RETURN(expression, Finish(std::move(call)));
    } else {
      ETCH_ASSIGN_OR_RETURN(expression, ParseSubscript(std::move(expression)));
    }
  }
  return expression;
}

Result<ExpressionPtr> ExpressionParser::ParseSubscript(ExpressionPtr expression) {
  ExpressionPtr access = MakeExpression(Expression::Kind::kAttribute, expression->position);
  access->operands.push_back(std::move(expression));
  if (stream_->SkipOperator(".")) {
    if (stream_->At(TokenKind::kInteger)) {  // x.0 is x[0]
      access->kind = Expression::Kind::kItem;
      ETCH_ASSIGN_OR_RETURN(ExpressionPtr index, ParseNumber());
      access->operands.push_back(std::move(index));
    } else {
      ETCH_ASSIGN_OR_RETURN(access->name, stream_->TakeName());
    }
    return Finish(std::move(access));
  }
  ETCH_TRY(stream_->ExpectOperator("["));
  access->kind = Expression::Kind::kItem;
  for (int part = 0; part < 3 && !stream_->AtOperator("]"); ++part) {
    ExpressionPtr bound;
    if (!stream_->AtOperator(":")) {
      ETCH_ASSIGN_OR_RETURN(bound, ParseExpression());
    }
    access->operands.push_back(std::move(bound));
    if (part < 2 && stream_->SkipOperator(":")) {
      access->kind = Expression::Kind::kSlice;
    } else {
      break;
    }
  }
  ETCH_TRY(stream_->ExpectOperator("]"));
  if (access->kind == Expression::Kind::kSlice) {
    access->operands.resize(4);
  } else if (access->operands.size() < 2) {
    return stream_->Unexpected("an index");
  }
  return Finish(std::move(access));
}

Result<std::vector<Argument>> ExpressionParser::ParseArguments() {
  std::vector<Argument> arguments;
  while (!stream_->AtOperator(")")) {
    Argument argument;
    if (stream_->SkipOperator("**")) {
      argument.spread = Argument::Spread::kDict;
    } else if (stream_->SkipOperator("*")) {
      argument.spread = Argument::Spread::kList;
    } else if (stream_->At(TokenKind::kName) && stream_->ahead().kind == TokenKind::kOperator &&
               stream_->ahead().text == "=") {
      argument.name = stream_->Take().text;
      stream_->Take();
    } else if (!arguments.empty() && !arguments.back().name.empty()) {
      return stream_->FailHere(ErrorCode::kMalformed,
                               "an argument without a name follows one with a name");
    }
    ETCH_ASSIGN_OR_RETURN(argument.value, ParseExpression());
    arguments.push_back(std::move(argument));
    if (!stream_->SkipOperator(",")) {
      break;
    }
  }
  ETCH_TRY(stream_->ExpectOperator(")"));
  return arguments;
}

Result<ExpressionPtr> ExpressionParser::ParseFilterAndTests(ExpressionPtr expression) {
  while (true) {
    if (stream_->SkipOperator("|")) {
      ETCH_ASSIGN_OR_RETURN(expression, ParseFilters(std::move(expression)));
    } else if (stream_->AtName("is")) {
      ETCH_ASSIGN_OR_RETURN(expression, ParseTest(std::move(expression)));
    } else if (stream_->AtOperator("(")) {
      ETCH_ASSIGN_OR_RETURN(expression, ParsePostfix(std::move(expression)));
    } else {
      return expression;
    }
  }
}

Result<ExpressionPtr> ExpressionParser::ParseFilters(ExpressionPtr input) {
  do {
    ExpressionPtr filter = MakeExpression(Expression::Kind::kFilter, stream_->current().position);
    ETCH_ASSIGN_OR_RETURN(filter->name, stream_->TakeName());
    if (stream_->SkipOperator("(")) {
      ETCH_ASSIGN_OR_RETURN(filter->arguments, ParseArguments());
    }
    filter->operands.push_back(std::move(input));
    ETCH_ASSIGN_OR_RETURN(input, Finish(std::move(filter)));
  } while (stream_->SkipOperator("|"));
  return input;
}

Result<ExpressionPtr> ExpressionParser::ParseTest(ExpressionPtr expression) {
  const Position position = expression->position;
  ETCH_TRY(stream_->ExpectName("is"));
  const bool is_negated = stream_->SkipName("not");
  ExpressionPtr test = MakeExpression(Expression::Kind::kTest, stream_->current().position);
  ETCH_ASSIGN_OR_RETURN(test->name, stream_->TakeName());
  test->operands.push_back(std::move(expression));
  const Token& next = stream_->current();
  const bool is_word = next.kind == TokenKind::kName && next.text != "else" && next.text != "or" &&
                       next.text != "and" && next.text != "if" && next.text != "in" &&
                       next.text != "not" && next.text != "is";
  if (stream_->SkipOperator("(")) {
    ETCH_ASSIGN_OR_RETURN(test->arguments, ParseArguments());
  } else if (is_word || next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
             next.kind == TokenKind::kFloat || stream_->AtOperator("[") ||
             stream_->AtOperator("{")) {
    Argument argument;
    ETCH_ASSIGN_OR_RETURN(argument.value, ParseCallee());
    test->arguments.push_back(std::move(argument));
  }
  ETCH_ASSIGN_OR_RETURN(test, Finish(std::move(test)));
  if (!is_negated) {
    return test;
  }
  ExpressionPtr negation = MakeExpression(Expression::Kind::kNot, position);
  negation->operands.push_back(std::move(test));
  return Finish(std::move(negation));
}

Result<ExpressionPtr> ExpressionParser::ParseCallee() {
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr expression, ParsePrimary());
  return ParsePostfix(std::move(expression));
}

Result<ExpressionPtr> ExpressionParser::ParseTuple(bool with_conditional) {
  const Position position = stream_->current().position;
  const auto parse_item = [&] { return with_conditional ? ParseExpression() : ParseOr(); };
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr first, parse_item());
  if (!stream_->AtOperator(",")) {
    return first;
  }
  ExpressionPtr tuple = MakeExpression(Expression::Kind::kTuple, position);
  tuple->operands.push_back(std::move(first));
  while (stream_->SkipOperator(",")) {
    if (stream_->At(TokenKind::kVariableEnd) || stream_->At(TokenKind::kBlockEnd)) {
      break;
    }
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr next, parse_item());
    tuple->operands.push_back(std::move(next));
  }
  return Finish(std::move(tuple));
}

Result<ExpressionPtr> ExpressionParser::ParseTarget(bool with_attribute) {
  const Position position = stream_->current().position;
  ETCH_ASSIGN_OR_RETURN(ExpressionPtr first, ParseTargetItem(with_attribute));
  if (!stream_->AtOperator(",")) {
    return first;
  }
  ExpressionPtr tuple = MakeExpression(Expression::Kind::kTuple, position);
  tuple->operands.push_back(std::move(first));
  while (stream_->SkipOperator(",")) {
    if (!stream_->At(TokenKind::kName) && !stream_->AtOperator("(")) {
      break;
    }
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr next, ParseTargetItem(with_attribute));
    tuple->operands.push_back(std::move(next));
  }
  return Finish(std::move(tuple));
}

Result<ExpressionPtr> ExpressionParser::ParseTargetItem(bool with_attribute) {
  const NestingGuard guard(&nesting_);
  if (guard.too_deep()) {
    return stream_->FailHere(ErrorCode::kUnsupported,
                             fmt::format("expressions are nested deeper than {}", kMaxNesting));
  }
  if (stream_->SkipOperator("(")) {
    ETCH_ASSIGN_OR_RETURN(ExpressionPtr inner, ParseTarget(with_attribute));
    ETCH_TRY(stream_->ExpectOperator(")"));
    return inner;
  }
  ExpressionPtr target = MakeExpression(Expression::Kind::kName, stream_->current().position);
  ETCH_ASSIGN_OR_RETURN(target->name, stream_->TakeName());
  if (!with_attribute || !stream_->SkipOperator(".")) {
    return target;
  }
  ExpressionPtr attribute = MakeExpression(Expression::Kind::kAttribute, target->position);
  ETCH_ASSIGN_OR_RETURN(attribute->name, stream_->TakeName());
  attribute->operands.push_back(std::move(target));
  return Finish(std::move(attribute));
}

}  // namespace etch::jinja
