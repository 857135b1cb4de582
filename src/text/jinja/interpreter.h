#pragma once

// Runs a syntax tree. One interpreter renders once; it owns the objects that the template makes.

#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/object.h"
#include "text/jinja/value.h"

namespace etch::jinja {

// The context variable that strftime_now reads: seconds since 1970, UTC.
constexpr std::string_view kClockVariable = "strftime_now_seconds";
// What it reads when there is none, so that a render depends on its inputs only: 2024-07-26, the
// date that Llama 3's templates fall back to.
constexpr int64_t kDefaultClock = 1'721'952'000;

// The context variables that are written before and behind what {% generation %} prints.
constexpr std::string_view kGenerationOpenVariable = "generation_open";
constexpr std::string_view kGenerationCloseVariable = "generation_close";

class Interpreter {
 public:
  // `source` is for messages. Both outlive the interpreter.
  Interpreter(std::string_view source, Meter& meter) : source_(source), meter_(meter) {}

  // Renders `body` with the entries of the dict `context` as variables.
  Result<std::string> Run(const Body& body, Value context);

  // For filters, tests, methods and functions.
  Meter& meter() { return meter_; }
  int64_t clock() const;
  Result<Value> NewObject(Object object, size_t extra_bytes = 0);
  Result<Value> Call(const Value& callee, const Arguments& arguments);
  // value.name and value[key]; undefined when absent.
  Result<Value> Attribute(const Value& value, std::string_view name);
  Result<Value> Item(const Value& value, const Value& key);
  // The method if the type has one, else a call of the attribute.
  Result<Value> CallNamed(const Value& receiver, std::string_view name, const Arguments& arguments);

 private:
  enum class Flow { kNext, kBreak, kContinue };

  struct Scope {
    Scope* parent = nullptr;
    std::map<std::string, Value, std::less<>> variables = {};
  };

  // Statements.
  Result<Flow> Execute(const Body& body);
  Result<Flow> ExecuteStatement(const Statement& statement);
  Result<Flow> ExecuteIf(const Statement& statement);
  Result<Flow> ExecuteFor(const Statement& statement);
  Result<Flow> ExecuteScope(const Statement& statement);
  Result<Flow> ExecuteGeneration(const Statement& statement);
  Status ExecuteSet(const Statement& statement);
  Status ExecuteSetBlock(const Statement& statement);
  Status ExecuteMacro(const Statement& statement);
  Status ExecuteCallBlock(const Statement& statement);
  Status ExecuteFilterBlock(const Statement& statement);
  // The items that a loop visits, filtered by its condition.
  Result<std::vector<Value>> LoopItems(const Statement& statement);
  // The text that `body` prints, in a scope of its own.
  Result<Value> Capture(const Body& body);
  Status Assign(const Expression& target, const Value& value);
  Result<Value> NewMacro(const Statement& statement);

  // Expressions. Evaluate counts steps and depth and puts the position into errors.
  Result<Value> Evaluate(const Expression& expression);
  Result<Value> EvaluateNode(const Expression& expression);
  Result<Value> EvaluateCollection(const Expression& expression);
  Result<Value> EvaluateSlice(const Expression& expression);
  Result<Value> EvaluateCall(const Expression& expression, const Value* caller);
  Result<Value> EvaluateFilter(const Expression& expression, const Value* input);
  Result<Value> EvaluateTest(const Expression& expression);
  Result<Value> EvaluateLogic(const Expression& expression);
  Result<Value> EvaluateArithmetic(const Expression& expression);
  Result<Value> EvaluateConcatenation(const Expression& expression);
  Result<Value> EvaluateComparison(const Expression& expression);
  Result<Value> EvaluateConditional(const Expression& expression);
  Result<Arguments> EvaluateArguments(const std::vector<Argument>& arguments);
  Result<Value> Lookup(const std::string& name);
  Result<Value> CallMacro(const Macro& macro, const Arguments& arguments);

  // The error, with the position in front unless an inner node has put one there.
  tl::unexpected<Error> Located(const Position& position, Error error);

  std::string_view source_;
  Meter& meter_;
  Value context_;
  Scope root_;
  Scope* scope_ = &root_;
  TextBuilder* out_ = nullptr;
  std::deque<Object> objects_;  // stable addresses
  int depth_ = 0;
  bool located_ = false;
};

}  // namespace etch::jinja
