#pragma once

// What a text must be, compiled: any JSON value or object, a JSON Schema, a regular expression or a
// grammar in GBNF. docs/structured-output.md says what is supported; everything else is refused
// here.
//
//   ETCH_ASSIGN_OR_RETURN(auto constraint, CompileJsonSchema(text));
//   auto masks = std::make_shared<TokenMasks>(constraint, tokens);
//   Matcher matcher(masks, false);

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "grammar/limits.h"

namespace etch::grammar {

struct Program;

// Immutable; safe to use from any number of threads. Shared by all matchers of one constraint.
class Constraint {
 public:
  explicit Constraint(std::unique_ptr<const Program> program);
  ~Constraint();

  const Program& program() const { return *program_; }

 private:
  std::unique_ptr<const Program> program_;
};
using ConstraintPtr = std::shared_ptr<const Constraint>;  // matchers keep it alive

struct SchemaOptions {
  bool formats = true;  // hold texts to "format"; otherwise it is an annotation
  // What the text begins and ends with, around the JSON.
  std::string prefix = {};
  std::string suffix = {};
};

// Errors: kMalformed for what is no schema, pattern or grammar; kUnsupported naming the keyword and
// its JSON pointer, or the construct; kInvalidArgument for what would cost more than the limits
// allow; kMismatch when no text can satisfy the constraint.
Result<ConstraintPtr> CompileJsonSchema(std::string_view schema, const SchemaOptions& options = {},
                                        const Limits& limits = {});
Result<ConstraintPtr> CompileJsonValue(const Limits& limits = {});
Result<ConstraintPtr> CompileJsonObject(const Limits& limits = {});
// The whole text matches.
Result<ConstraintPtr> CompileRegex(std::string_view pattern, const Limits& limits = {});
Result<ConstraintPtr> CompileGbnf(std::string_view grammar, const Limits& limits = {});
// One of `choices`.
Result<ConstraintPtr> CompileChoice(const std::vector<std::string>& choices,
                                    const Limits& limits = {});

}  // namespace etch::grammar
