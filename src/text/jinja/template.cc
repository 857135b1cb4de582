#include "text/jinja/template.h"

#include <utility>

#include "text/jinja/interpreter.h"
#include "text/jinja/json_reader.h"
#include "text/jinja/parser.h"

namespace etch::jinja {

namespace {

// A token takes some hundred bytes, so this bounds the memory of parsing to some hundred megabytes.
constexpr size_t kMaxSourceBytes = 1 << 20;

}  // namespace

struct Template::Tree {
  std::string source;
  Body body;
};

Template::Template(std::unique_ptr<const Tree> tree) : tree_(std::move(tree)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::Parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return Fail(ErrorCode::kUnsupported, "the template has {} bytes, more than {}", source.size(),
                kMaxSourceBytes);
  }
  auto tree = std::make_unique<Tree>();
  tree->source = NormalizeSource(source);
  ETCH_ASSIGN_OR_RETURN(tree->body, jinja::Parse(tree->source));
  return Template(std::move(tree));
}

Result<std::string> Template::Render(std::string_view context_json, const Limits& limits) const {
  Meter meter(limits);  // outlives every value
  Result<Value> context = ReadJson(context_json, meter);
  if (!context) {
    return Prefix("the variables", std::move(context).error());
  }
  if (!context->is_dict()) {
    return Fail(ErrorCode::kInvalidArgument, "the variables are no JSON object");
  }
  return Interpreter(tree_->source, meter).Run(tree_->body, std::move(*context));
}

}  // namespace etch::jinja
