// Any bytes as a template: parse, then render a small chat under small limits. Nothing but an error
// or a text may come out.

#include <cstdint>
#include <string_view>

#include "text/chat_template.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using etch::text::ChatTemplate;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const etch::Result<ChatTemplate> parsed = ChatTemplate::Parse(source);
  if (parsed) {
    (void)parsed->Render(
        R"({"messages": [{"role": "system", "content": "Sé brief"}, {"role": "user", "content": ""},
             {"role": "assistant", "content": [{"type": "text", "text": "hi"}], "n": [1, 2.5]}],
            "bos_token": "<s>", "add_generation_prompt": true, "tools": null})",
        {.max_steps = 20'000,
         .max_output_bytes = 1 << 16,
         .max_value_bytes = 1 << 20,
         .max_depth = 40});
    (void)parsed->Render(source, {.max_steps = 20'000});  // the same bytes as context
  }
  return 0;
}
