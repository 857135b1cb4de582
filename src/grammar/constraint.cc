#include "grammar/constraint.h"

#include "grammar/expression.h"
#include "grammar/gbnf.h"
#include "grammar/program.h"
#include "grammar/regex.h"
#include "grammar/schema_compiler.h"
#include "grammar/schema_source.h"
#include "text/utf8.h"

namespace etch::grammar {
namespace {

Result<ConstraintPtr> Share(std::unique_ptr<const Program> program) {
  return std::make_shared<const Constraint>(std::move(program));
}

Result<ConstraintPtr> CompileExpression(const Expression& expression, Budget& budget) {
  auto program = std::make_unique<Program>();
  program->kind = Program::Kind::kRegex;
  program->limits = budget.limits();
  ETCH_ASSIGN_OR_RETURN(Dfa dfa, ToDfa(expression, budget));
  if (dfa.empty()) {
    return Fail(ErrorCode::kMismatch, "no text satisfies the pattern");
  }
  program->dfas.push_back(std::move(dfa));
  return Share(std::move(program));
}

}  // namespace

Constraint::Constraint(std::unique_ptr<const Program> program) : program_(std::move(program)) {}

Constraint::~Constraint() = default;

Result<ConstraintPtr> CompileJsonSchema(std::string_view schema, const SchemaOptions& options,
                                        const Limits& limits) {
  Budget budget(limits);
  ETCH_ASSIGN_OR_RETURN(SchemaSource source, ReadSchema(schema, options, budget));
  ETCH_ASSIGN_OR_RETURN(auto program, CompileSchema(std::move(source), budget));
  program->prefix = options.prefix;
  program->suffix = options.suffix;
  return Share(std::move(program));
}

Result<ConstraintPtr> CompileJsonValue(const Limits& limits) {
  return CompileJsonSchema("true", {}, limits);
}

Result<ConstraintPtr> CompileJsonObject(const Limits& limits) {
  return CompileJsonSchema(R"({"type":"object"})", {}, limits);
}

Result<ConstraintPtr> CompileRegex(std::string_view pattern, const Limits& limits) {
  Budget budget(limits);
  ETCH_ASSIGN_OR_RETURN(const Expression expression, ParseRegex(pattern, limits));
  return CompileExpression(expression, budget);
}

Result<ConstraintPtr> CompileGbnf(std::string_view grammar, const Limits& limits) {
  Budget budget(limits);
  ETCH_ASSIGN_OR_RETURN(auto program, CompileRules(grammar, budget));
  return Share(std::move(program));
}

Result<ConstraintPtr> CompileChoice(const std::vector<std::string>& choices, const Limits& limits) {
  Budget budget(limits);
  Expression choice;
  choice.kind = Expression::Kind::kChoice;
  for (const std::string& text : choices) {
    if (text::ValidUtf8Prefix(text) != text.size()) {
      return Fail(ErrorCode::kMalformed, "a choice is not UTF-8");
    }
    ETCH_TRY(budget.Spend(static_cast<int64_t>(text.size()) * 10));
    choice.children.push_back(Literal(text));
  }
  if (choices.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "there is no choice to choose from");
  }
  return CompileExpression(choice, budget);
}

}  // namespace etch::grammar
