#pragma once

// The expressions of a template. Used by the parser of statements.

#include <string>
#include <vector>

#include "base/error.h"
#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace etch::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream* stream) : stream_(stream) {}

  Result<ExpressionPtr> ParseExpression();  // with `a if b else c`
  Result<ExpressionPtr> ParseOr();          // without it
  // One expression, or a tuple without parentheses.
  Result<ExpressionPtr> ParseTuple(bool with_conditional);
  // What can stand left of = and after `for`: names and tuples of names; with `with_attribute` also
  // name.attribute.
  Result<ExpressionPtr> ParseTarget(bool with_attribute);
  // Primary with attributes, items and calls, without filters: the call of {% call %}.
  Result<ExpressionPtr> ParseCallee();
  // name(args) | name …, applied to `input`; the first | is already taken. `input` may be null.
  Result<ExpressionPtr> ParseFilters(ExpressionPtr input);

 private:
  Result<ExpressionPtr> ParseAnd();
  Result<ExpressionPtr> ParseNot();
  Result<ExpressionPtr> ParseCompare();
  Result<ExpressionPtr> ParseSum();
  Result<ExpressionPtr> ParseConcatenation();
  Result<ExpressionPtr> ParseProduct();
  Result<ExpressionPtr> ParsePower();
  Result<ExpressionPtr> ParseUnary(bool with_filter);
  Result<ExpressionPtr> ParsePrimary();
  Result<ExpressionPtr> ParseParenthesis(const Position& position);
  Result<ExpressionPtr> ParseList(const Position& position);
  Result<ExpressionPtr> ParseDict(const Position& position);
  Result<ExpressionPtr> ParseNumber();
  Result<ExpressionPtr> ParsePostfix(ExpressionPtr expression);
  Result<ExpressionPtr> ParseFilterAndTests(ExpressionPtr expression);
  Result<ExpressionPtr> ParseSubscript(ExpressionPtr expression);
  Result<ExpressionPtr> ParseTest(ExpressionPtr expression);
  Result<ExpressionPtr> ParseTargetItem(bool with_attribute);
  Result<std::vector<Argument>> ParseArguments();  // after the opening parenthesis

  // operand (operator operand)*, flat.
  using Rule = Result<ExpressionPtr> (ExpressionParser::*)();
  Result<ExpressionPtr> ParseChain(Expression::Kind kind, Rule operand,
                                   const std::vector<std::pair<std::string_view, Operator>>& names);
  Result<ExpressionPtr> ParseWordChain(Expression::Kind kind, Rule operand, std::string_view word);

  // Sets the depth of a finished node and checks it.
  Result<ExpressionPtr> Finish(ExpressionPtr expression);

  TokenStream* stream_;
  int nesting_ = 0;
};

// A node with these operands.
ExpressionPtr MakeExpression(Expression::Kind kind, const Position& position);

}  // namespace etch::jinja
