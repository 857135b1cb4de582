// The walker of statements. It is a plain recursive interpreter: chat templates run once per
// request over a few hundred nodes, so compiling them would buy nothing, and a tree walk makes the
// bounds exact: every node is a step, every recursion a level, every value charged to the meter.
//
// Scopes follow Jinja: a loop's iteration, a macro, a captured block and {% with %} open one, {% if
// %} does not; {% set %} writes to the innermost, so only namespaces carry values out of a loop. A
// macro sees the variables of the template's top level as they are when it runs, and those of a
// loop or macro around it as they were where it was defined (a copy, so that no scope outlives its
// block).

#include "text/jinja/interpreter.h"

#include <algorithm>

#include "text/jinja/format.h"
#include "text/jinja/operators.h"

namespace etch::jinja {

namespace {

constexpr size_t kObjectBytes = 256;

// Restores a variable at the end of a block.
template <class T>
class Restore {
 public:
  Restore(T* variable, T value) : variable_(variable), before_(*variable) { *variable = value; }
  Restore(const Restore&) = delete;
  Restore& operator=(const Restore&) = delete;
  ~Restore() { *variable_ = before_; }

 private:
  T* variable_;
  T before_;
};

}  // namespace

Result<std::string> Interpreter::Run(const Body& body, Value context) {
  context_ = std::move(context);
  TextBuilder out(meter_, meter_.limits().max_output_bytes);
  out_ = &out;
  ETCH_TRY(Execute(body));
  return out.Take();
}

int64_t Interpreter::clock() const {
  const Value* clock = context_.dict().Find(kClockVariable);
  return clock != nullptr && clock->is_int() ? clock->integer() : kDefaultClock;
}

tl::unexpected<Error> Interpreter::Located(const Position& position, Error error) {
  if (!located_) {
    located_ = true;
    error.message = Locate(source_, position, error.message);
  }
  return tl::unexpected(std::move(error));
}

Result<Value> Interpreter::NewObject(Object object, size_t extra_bytes) {
  ETCH_TRY(meter_.Take(kObjectBytes + extra_bytes));  // never given back: it lives to the end
  objects_.push_back(std::move(object));
  return Value::Of(&objects_.back());
}

Result<Interpreter::Flow> Interpreter::Execute(const Body& body) {
  if (depth_ >= meter_.limits().max_depth) {
    return Fail(ErrorCode::kNoSpace, "the template nests deeper than {}",
                meter_.limits().max_depth);
  }
  const Restore depth(&depth_, depth_ + 1);
  for (const Statement& statement : body) {
    Status step = meter_.Step();
    Result<Flow> flow =
        step ? ExecuteStatement(statement) : tl::unexpected(std::move(step).error());
    if (!flow) {
      return Located(statement.position, std::move(flow).error());
    }
    if (*flow != Flow::kNext) {
      return flow;
    }
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteStatement(const Statement& statement) {
  switch (statement.kind) {
    case Statement::Kind::kText:
      ETCH_TRY(out_->Append(statement.text));
      break;
    case Statement::Kind::kPrint: {
      ETCH_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
      ETCH_TRY(AppendText(value, out_, meter_));
      break;
    }
    case Statement::Kind::kSet:
      ETCH_TRY(ExecuteSet(statement));
      break;
    case Statement::Kind::kSetBlock:
      ETCH_TRY(ExecuteSetBlock(statement));
      break;
    case Statement::Kind::kFor:
      return ExecuteFor(statement);
    case Statement::Kind::kIf:
      return ExecuteIf(statement);
    case Statement::Kind::kMacro:
      ETCH_TRY(ExecuteMacro(statement));
      break;
    case Statement::Kind::kCallBlock:
      ETCH_TRY(ExecuteCallBlock(statement));
      break;
    case Statement::Kind::kFilterBlock:
      ETCH_TRY(ExecuteFilterBlock(statement));
      break;
    case Statement::Kind::kScope:
      return ExecuteScope(statement);
    case Statement::Kind::kGeneration:
      return ExecuteGeneration(statement);
    case Statement::Kind::kBreak:
      return Flow::kBreak;
    case Statement::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteIf(const Statement& statement) {
  for (const Branch& branch : statement.branches) {
    if (branch.condition != nullptr) {
      ETCH_ASSIGN_OR_RETURN(const Value condition, Evaluate(*branch.condition));
      if (!Truthy(condition)) {
        continue;
      }
    }
    return Execute(branch.body);
  }
  return Flow::kNext;
}

Result<std::vector<Value>> Interpreter::LoopItems(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(const Value iterated, Evaluate(*statement.expression));
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> items, Items(iterated, meter_));
  if (statement.condition == nullptr) {
    return items;
  }
  std::vector<Value> kept;
  for (Value& item : items) {
    Scope scope{.parent = scope_};
    const Restore inner(&scope_, &scope);
    ETCH_TRY(Assign(*statement.target, item));
    ETCH_ASSIGN_OR_RETURN(const Value condition, Evaluate(*statement.condition));
    if (Truthy(condition)) {
      kept.push_back(std::move(item));
    }
  }
  return kept;
}

Result<Interpreter::Flow> Interpreter::ExecuteFor(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(std::vector<Value> items, LoopItems(statement));
  if (items.empty()) {
    return Execute(statement.otherwise);
  }
  const size_t count = items.size();
  ETCH_ASSIGN_OR_RETURN(const Value list, MakeList(meter_, std::move(items)));
  ETCH_ASSIGN_OR_RETURN(const Value loop_value,
                        NewObject({Loop{.items = list, .last_changed = {}}}));
  Loop& loop = std::get<Loop>(loop_value.object().body);
  for (; loop.index < count; ++loop.index) {
    ETCH_TRY(meter_.Step());
    Scope scope{.parent = scope_};
    const Restore inner(&scope_, &scope);
    scope.variables.emplace("loop", loop_value);
    ETCH_TRY(Assign(*statement.target, list.list().items[loop.index]));
    ETCH_ASSIGN_OR_RETURN(const Flow flow, Execute(statement.body));
    if (flow == Flow::kBreak) {
      break;
    }
  }
  ETCH_ASSIGN_OR_RETURN(loop.items, MakeList(meter_, {}));  // the object may outlive the loop
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::ExecuteScope(const Statement& statement) {
  Scope scope{.parent = scope_};
  for (const Binding& binding : statement.bindings) {
    ETCH_ASSIGN_OR_RETURN(scope.variables[binding.name], Evaluate(*binding.value));
  }
  const Restore inner(&scope_, &scope);
  return Execute(statement.body);
}

Result<Interpreter::Flow> Interpreter::ExecuteGeneration(const Statement& statement) {
  const auto mark = [this](std::string_view name) -> Status {
    const Value* text = context_.dict().Find(name);
    return text == nullptr ? Status() : AppendText(*text, out_, meter_);
  };
  ETCH_TRY(mark(kGenerationOpenVariable));
  ETCH_ASSIGN_OR_RETURN(const Flow flow, ExecuteScope(statement));
  ETCH_TRY(mark(kGenerationCloseVariable));
  return flow;
}

Status Interpreter::ExecuteSet(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expression));
  return Assign(*statement.target, value);
}

Status Interpreter::ExecuteSetBlock(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(Value text, Capture(statement.body));
  if (statement.expression != nullptr) {
    ETCH_ASSIGN_OR_RETURN(text, EvaluateFilter(*statement.expression, &text));
  }
  return Assign(*statement.target, text);
}

Status Interpreter::ExecuteFilterBlock(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(const Value text, Capture(statement.body));
  ETCH_ASSIGN_OR_RETURN(const Value filtered, EvaluateFilter(*statement.expression, &text));
  return AppendText(filtered, out_, meter_);
}

Result<Value> Interpreter::NewMacro(const Statement& statement) {
  Macro macro{.definition = &statement, .captured = {}};
  size_t bytes = 0;
  for (Scope* scope = scope_; scope != &root_; scope = scope->parent) {
    for (const auto& variable : scope->variables) {
      macro.captured.emplace_back(variable);  // the first, innermost one of a name wins later
      bytes += sizeof variable + variable.first.size();
    }
  }
  return NewObject({std::move(macro)}, bytes);
}

Status Interpreter::ExecuteMacro(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(scope_->variables[statement.text], NewMacro(statement));
  return {};
}

Status Interpreter::ExecuteCallBlock(const Statement& statement) {
  ETCH_ASSIGN_OR_RETURN(const Value caller, NewMacro(statement));
  ETCH_ASSIGN_OR_RETURN(const Value value, EvaluateCall(*statement.expression, &caller));
  return AppendText(value, out_, meter_);
}

Result<Value> Interpreter::Capture(const Body& body) {
  TextBuilder out(meter_);
  Scope scope{.parent = scope_};
  const Restore inner(&scope_, &scope);
  const Restore output(&out_, &out);
  ETCH_TRY(Execute(body));
  return out.Finish();
}

Status Interpreter::Assign(const Expression& target, const Value& value) {
  if (target.kind == Expression::Kind::kName) {
    scope_->variables.insert_or_assign(target.name, value);
    return {};
  }
  if (target.kind == Expression::Kind::kAttribute) {
    ETCH_ASSIGN_OR_RETURN(const Value object, Evaluate(*target.operands[0]));
    Namespace* space = object.is_object() ? std::get_if<Namespace>(&object.object().body) : nullptr;
    if (space == nullptr) {
      return Fail(ErrorCode::kInvalidArgument,
                  "only attributes of a namespace can be set, and '{}' is of type '{}'",
                  target.operands[0]->name, TypeName(object));
    }
    space->attributes.Set(target.name, value);
    return {};
  }
  ETCH_ASSIGN_OR_RETURN(const std::vector<Value> items, Items(value, meter_));
  if (items.size() != target.operands.size()) {
    return Fail(ErrorCode::kInvalidArgument, "{} values to unpack into {} names", items.size(),
                target.operands.size());
  }
  for (size_t index = 0; index < items.size(); ++index) {
    ETCH_TRY(Assign(*target.operands[index], items[index]));
  }
  return {};
}

Result<Value> Interpreter::CallMacro(const Macro& macro, const Arguments& arguments) {
  const Statement& definition = *macro.definition;
  const std::vector<Binding>& parameters = definition.bindings;
  if (arguments.positional.size() > parameters.size()) {
    return Fail(ErrorCode::kInvalidArgument, "macro '{}' takes {} arguments, not {}",
                definition.text, parameters.size(), arguments.positional.size());
  }
  Scope scope{.parent = &root_};
  for (const auto& [name, value] : macro.captured) {
    scope.variables.emplace(name, value);
  }
  const Restore inner(&scope_, &scope);
  for (const auto& [name, value] : arguments.named) {
    const bool is_parameter = std::any_of(parameters.begin(), parameters.end(),
                                          [&](const Binding& each) { return each.name == name; });
    if (!is_parameter && name != "caller") {
      return Fail(ErrorCode::kInvalidArgument, "macro '{}' has no parameter '{}'", definition.text,
                  name);
    }
    scope.variables.insert_or_assign(name, value);
  }
  for (size_t index = 0; index < parameters.size(); ++index) {
    const Binding& parameter = parameters[index];
    const bool named = std::any_of(arguments.named.begin(), arguments.named.end(),
                                   [&](const auto& each) { return each.first == parameter.name; });
    if (index < arguments.positional.size()) {
      scope.variables.insert_or_assign(parameter.name, arguments.positional[index]);
    } else if (!named && parameter.value != nullptr) {
      ETCH_ASSIGN_OR_RETURN(Value value, Evaluate(*parameter.value));
      scope.variables.insert_or_assign(parameter.name, std::move(value));
    } else if (!named) {
      scope.variables.insert_or_assign(
          parameter.name,
          Value::UndefinedBecause(fmt::format("parameter '{}' was not provided", parameter.name)));
    }
  }
  TextBuilder out(meter_);
  const Restore output(&out_, &out);
  ETCH_TRY(Execute(definition.body));
  return out.Finish();
}

}  // namespace etch::jinja
