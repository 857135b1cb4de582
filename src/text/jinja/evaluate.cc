// The walker of expressions.

#include <algorithm>

#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/functions.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/methods.h"
#include "text/jinja/operators.h"
#include "text/jinja/predicates.h"

namespace etch::jinja {

Result<Value> Interpreter::Evaluate(const Expression& expression) {
  if (depth_ >= meter_.limits().max_depth) {
    return Located(expression.position,
                   {ErrorCode::kNoSpace,
                    fmt::format("the template nests deeper than {}", meter_.limits().max_depth)});
  }
  ++depth_;
  Status step = meter_.Step();
  Result<Value> value = step ? EvaluateNode(expression) : tl::unexpected(std::move(step).error());
  --depth_;
  if (!value) {
    return Located(expression.position, std::move(value).error());
  }
  return value;
}

Result<Value> Interpreter::EvaluateNode(const Expression& expression) {
  switch (expression.kind) {
    case Expression::Kind::kConstant:
      return expression.constant;
    case Expression::Kind::kName:
      return Lookup(expression.name);
    case Expression::Kind::kList:
    case Expression::Kind::kTuple:
    case Expression::Kind::kDict:
      return EvaluateCollection(expression);
    case Expression::Kind::kAttribute: {
      ETCH_ASSIGN_OR_RETURN(const Value object, Evaluate(*expression.operands[0]));
      return Attribute(object, expression.name);
    }
    case Expression::Kind::kItem: {
      ETCH_ASSIGN_OR_RETURN(const Value object, Evaluate(*expression.operands[0]));
      ETCH_ASSIGN_OR_RETURN(const Value key, Evaluate(*expression.operands[1]));
      return Item(object, key);
    }
    case Expression::Kind::kSlice:
      return EvaluateSlice(expression);
    case Expression::Kind::kCall:
      return EvaluateCall(expression, nullptr);
    case Expression::Kind::kFilter:
      return EvaluateFilter(expression, nullptr);
    case Expression::Kind::kTest:
      return EvaluateTest(expression);
    case Expression::Kind::kNegate: {
      ETCH_ASSIGN_OR_RETURN(const Value operand, Evaluate(*expression.operands[0]));
      return Negate(operand);
    }
    case Expression::Kind::kPlus: {
      ETCH_ASSIGN_OR_RETURN(const Value operand, Evaluate(*expression.operands[0]));
      return operand.is_float() ? operand
                                : Arithmetic(Operator::kAdd, Value::Int(0), operand, meter_);
    }
    case Expression::Kind::kNot: {
      ETCH_ASSIGN_OR_RETURN(const Value operand, Evaluate(*expression.operands[0]));
      return Value::Bool(!Truthy(operand));
    }
    case Expression::Kind::kAnd:
    case Expression::Kind::kOr:
      return EvaluateLogic(expression);
    case Expression::Kind::kArithmetic:
      return EvaluateArithmetic(expression);
    case Expression::Kind::kConcatenate:
      return EvaluateConcatenation(expression);
    case Expression::Kind::kCompare:
      return EvaluateComparison(expression);
    case Expression::Kind::kConditional:
      break;
  }
  return EvaluateConditional(expression);
}

Result<Value> Interpreter::Lookup(const std::string& name) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    const auto found = scope->variables.find(name);
    if (found != scope->variables.end()) {
      return found->second;
    }
  }
  if (const Value* found = context_.dict().Find(name); found != nullptr) {
    return *found;
  }
  if (const Function* function = FindFunction(name); function != nullptr) {
    ETCH_ASSIGN_OR_RETURN(root_.variables[name], NewObject({*function}));
    return root_.variables[name];
  }
  return Value::UndefinedBecause(fmt::format("'{}' is undefined", name));
}

Result<Value> Interpreter::EvaluateCollection(const Expression& expression) {
  if (expression.kind == Expression::Kind::kDict) {
    Dict dict;
    for (size_t index = 0; index < expression.operands.size(); index += 2) {
      ETCH_ASSIGN_OR_RETURN(const Value key, Evaluate(*expression.operands[index]));
      ETCH_ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[index + 1]));
      ETCH_TRY(dict.Set(key, std::move(value)));
    }
    return MakeDict(meter_, std::move(dict));
  }
  std::vector<Value> items;
  items.reserve(expression.operands.size());
  for (const ExpressionPtr& operand : expression.operands) {
    ETCH_ASSIGN_OR_RETURN(Value item, Evaluate(*operand));
    items.push_back(std::move(item));
  }
  return MakeList(meter_, std::move(items), expression.kind == Expression::Kind::kTuple);
}

Result<Value> Interpreter::EvaluateSlice(const Expression& expression) {
  Value parts[4];
  for (size_t index = 0; index < 4; ++index) {
    if (expression.operands[index] == nullptr) {
      parts[index] = Value::None();
    } else {
      ETCH_ASSIGN_OR_RETURN(parts[index], Evaluate(*expression.operands[index]));
    }
  }
  return Slice(parts[0], &parts[1], &parts[2], &parts[3], meter_);
}

Result<Arguments> Interpreter::EvaluateArguments(const std::vector<Argument>& arguments) {
  Arguments evaluated;
  for (const Argument& argument : arguments) {
    ETCH_ASSIGN_OR_RETURN(Value value, Evaluate(*argument.value));
    if (argument.spread == Argument::Spread::kList) {
      ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, meter_));
      evaluated.positional.insert(evaluated.positional.end(), items.begin(), items.end());
    } else if (argument.spread == Argument::Spread::kDict) {
      if (!value.is_dict()) {
        return Fail(ErrorCode::kInvalidArgument, "** wants a dict, not '{}'", TypeName(value));
      }
      for (const auto& [key, entry] : value.dict().entries()) {
        if (!key.is_text()) {
          return Fail(ErrorCode::kInvalidArgument, "** wants texts as keys, not '{}'",
                      TypeName(key));
        }
        evaluated.named.emplace_back(key.text(), entry);
      }
    } else if (argument.name.empty()) {
      evaluated.positional.push_back(std::move(value));
    } else {
      evaluated.named.emplace_back(argument.name, std::move(value));
    }
  }
  ETCH_TRY(meter_.Read(evaluated.named.size() * evaluated.named.size()));  // names are searched
  return evaluated;
}

Result<Value> Interpreter::EvaluateCall(const Expression& expression, const Value* caller) {
  const Expression& callee = *expression.operands[0];
  // value.method(…) needs no object for the method.
  const bool is_method = callee.kind == Expression::Kind::kAttribute;
  ETCH_ASSIGN_OR_RETURN(const Value target, Evaluate(is_method ? *callee.operands[0] : callee));
  ETCH_ASSIGN_OR_RETURN(Arguments arguments, EvaluateArguments(expression.arguments));
  if (caller != nullptr) {
    arguments.named.emplace_back("caller", *caller);
  }
  return is_method ? CallNamed(target, callee.name, arguments) : Call(target, arguments);
}

Result<Value> Interpreter::EvaluateFilter(const Expression& expression, const Value* input) {
  if (depth_ >= meter_.limits().max_depth) {
    return Fail(ErrorCode::kNoSpace, "the template nests deeper than {}",
                meter_.limits().max_depth);
  }
  Value value;
  const Expression* operand = expression.operands[0].get();
  if (operand == nullptr) {
    value = *input;
  } else if (input != nullptr) {  // an inner filter of a block's chain
    ++depth_;
    Result<Value> inner = EvaluateFilter(*operand, input);
    --depth_;
    ETCH_ASSIGN_OR_RETURN(value, std::move(inner));
  } else {
    ETCH_ASSIGN_OR_RETURN(value, Evaluate(*operand));
  }
  ETCH_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression.arguments));
  return ApplyFilter(*this, expression.name, value, arguments);
}

Result<Value> Interpreter::EvaluateTest(const Expression& expression) {
  ETCH_ASSIGN_OR_RETURN(const Value value, Evaluate(*expression.operands[0]));
  ETCH_ASSIGN_OR_RETURN(const Arguments arguments, EvaluateArguments(expression.arguments));
  ETCH_ASSIGN_OR_RETURN(const bool holds, ApplyTest(*this, expression.name, value, arguments));
  return Value::Bool(holds);
}

Result<Value> Interpreter::EvaluateLogic(const Expression& expression) {
  const bool stops_at = expression.kind == Expression::Kind::kOr;
  Value value;
  for (const ExpressionPtr& operand : expression.operands) {
    ETCH_ASSIGN_OR_RETURN(value, Evaluate(*operand));
    if (Truthy(value) == stops_at) {
      break;
    }
  }
  return value;
}

Result<Value> Interpreter::EvaluateArithmetic(const Expression& expression) {
  ETCH_ASSIGN_OR_RETURN(Value value, Evaluate(*expression.operands[0]));
  for (size_t index = 0; index < expression.operators.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(const Value right, Evaluate(*expression.operands[index + 1]));
    ETCH_ASSIGN_OR_RETURN(value, Arithmetic(expression.operators[index], value, right, meter_));
  }
  return value;
}

Result<Value> Interpreter::EvaluateConcatenation(const Expression& expression) {
  TextBuilder out(meter_);
  for (const ExpressionPtr& operand : expression.operands) {
    ETCH_ASSIGN_OR_RETURN(const Value value, Evaluate(*operand));
    ETCH_TRY(AppendText(value, &out, meter_));
  }
  return out.Finish();
}

Result<Value> Interpreter::EvaluateComparison(const Expression& expression) {
  ETCH_ASSIGN_OR_RETURN(Value left, Evaluate(*expression.operands[0]));
  for (size_t index = 0; index < expression.operators.size(); ++index) {
    ETCH_ASSIGN_OR_RETURN(Value right, Evaluate(*expression.operands[index + 1]));
    ETCH_ASSIGN_OR_RETURN(const bool holds,
                          Compare(expression.operators[index], left, right, meter_));
    if (!holds) {
      return Value::Bool(false);
    }
    left = std::move(right);
  }
  return Value::Bool(true);
}

Result<Value> Interpreter::EvaluateConditional(const Expression& expression) {
  ETCH_ASSIGN_OR_RETURN(const Value condition, Evaluate(*expression.operands[1]));
  if (Truthy(condition)) {
    return Evaluate(*expression.operands[0]);
  }
  if (expression.operands[2] != nullptr) {
    return Evaluate(*expression.operands[2]);
  }
  return Value::UndefinedBecause("the condition is false and there is no else");
}

}  // namespace etch::jinja
