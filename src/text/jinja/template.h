#pragma once

// The engine's edge: a parsed template that renders within limits.

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "text/jinja/meter.h"

namespace etch::jinja {

class Template {
 public:
  // kMalformed for a syntax error, kUnsupported for what the subset leaves out, both with line and
  // column.
  static Result<Template> Parse(std::string_view source);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // Renders with the entries of `context_json`, a JSON object, as variables. Thread-safe.
  Result<std::string> Render(std::string_view context_json, const Limits& limits) const;

 private:
  struct Tree;
  explicit Template(std::unique_ptr<const Tree> tree);
  std::unique_ptr<const Tree> tree_;
};

}  // namespace etch::jinja
