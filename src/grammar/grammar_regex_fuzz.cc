// Patterns: any bytes end in a constraint or one error, and what was compiled can be read with.

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "grammar/constraint.h"
#include "grammar/machine.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view pattern(reinterpret_cast<const char*>(data), size);
  etch::grammar::Limits limits;
  limits.work = 500'000;
  const auto constraint = etch::grammar::CompileRegex(pattern, limits);
  if (constraint) {
    etch::grammar::Machine machine((*constraint)->program());
    etch::grammar::StateId state = machine.start();
    for (const char byte : pattern) {
      state = machine.Next(state, static_cast<uint8_t>(byte));
    }
  }
  return 0;
}
