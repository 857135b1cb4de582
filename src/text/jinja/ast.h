#pragma once

// The syntax tree of a template. Nodes are plain data: the parser builds them, the interpreter
// walks them. Chains of equal precedence are flat, so that the tree is only as deep as the source
// is nested.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/lexer.h"
#include "text/jinja/value.h"

namespace etch::jinja {

enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Argument {
  enum class Spread { kNone, kList, kDict };  // f(x), f(*x), f(**x)

  std::string name;  // empty: positional
  Spread spread = Spread::kNone;
  ExpressionPtr value;
};

struct Expression {
  enum class Kind {
    kConstant,   // `constant`
    kName,       // `name`
    kList,       // operands
    kTuple,      // operands
    kDict,       // operands: key, value, key, value …
    kAttribute,  // operands[0].name
    kItem,       // operands[0][operands[1]]
    kSlice,      // operands[0][operands[1]:operands[2]:operands[3]], each of the last three or null
    kCall,       // operands[0](arguments)
    kFilter,     // operands[0] | name(arguments); null for the body of a filter block
    kTest,       // operands[0] is name(arguments)
    kNegate,     // -operands[0]
    kPlus,       // +operands[0]
    kNot,        // not operands[0]
    kAnd,        // operands[0] and operands[1] and …
    kOr,         // the same with or
    kArithmetic,   // operands[0] operators[0] operands[1] operators[1] …, from the left
    kConcatenate,  // operands[0] ~ operands[1] ~ …
    kCompare,      // operands[0] operators[0] operands[1] …, all of them
    kConditional,  // operands[0] if operands[1] else operands[2], or null
  };

  Kind kind;
  Position position;
  std::string name = {};
  Value constant = {};
  std::vector<ExpressionPtr> operands = {};
  std::vector<Operator> operators = {};
  std::vector<Argument> arguments = {};
  int depth = 1;  // of the tree below
};

struct Statement;
using Body = std::vector<Statement>;

struct Branch {
  ExpressionPtr condition;  // null for else
  Body body;
};

// A name with its value: an assignment of {% with %}, or a macro's parameter and its default.
struct Binding {
  std::string name;
  ExpressionPtr value;  // null: no default
};

struct Statement {
  enum class Kind {
    kText,         // `text`
    kPrint,        // {{ expression }}
    kSet,          // {% set target = expression %}
    kSetBlock,     // {% set target | filter %} body {% endset %}
    kFor,          // {% for target in expression if condition %} body {% else %} otherwise
    kIf,           // branches
    kMacro,        // {% macro text(bindings) %} body
    kCallBlock,    // {% call(bindings) expression %} body
    kFilterBlock,  // {% filter … %} body; `expression` is the chain of filters
    kScope,        // {% with bindings %} body
    kGeneration,   // {% generation %} body
    kBreak,
    kContinue,
  };

  Kind kind;
  Position position;
  std::string text = {};
  ExpressionPtr target = {};  // a name, an attribute of a name, or a tuple or list of targets
  ExpressionPtr expression = {};
  ExpressionPtr condition = {};
  std::vector<Branch> branches = {};
  std::vector<Binding> bindings = {};
  Body body = {};
  Body otherwise = {};
};

}  // namespace etch::jinja
