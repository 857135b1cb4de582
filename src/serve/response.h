#pragma once

// Bodies of the OpenAI API: whole answers, chunks of a stream, model lists, errors. Text only; no
// sockets.

#include <string>
#include <vector>

#include "base/error.h"
#include "serve/generation.h"
#include "serve/registry.h"
#include "serve/request.h"

namespace etch::serve {

// What all bodies of one answer share.
struct AnswerHead {
  std::string id;       // "chatcmpl-…", "cmpl-…"
  int64_t created = 0;  // Unix seconds
  std::string model;
  bool is_chat = false;
  bool logprobs = false;
};

// One choice as it grows.
struct ChoiceState {
  std::string text;
  std::string reasoning;
  std::vector<ToolCall> calls;
  std::vector<TokenDetail> details;
  std::vector<int32_t> hidden;
  int64_t tokens = 0;
  bool finished = false;
  engine::FinishReason reason = engine::FinishReason::kStop;
  bool at_stop_string = false;  // for kStop

  void Add(const Piece& piece);
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of prompt_tokens, that a kept context spared
};

// "stop", "length" or, when tools are called, "tool_calls", as the API has it.
std::string FinishName(engine::FinishReason reason, bool made_calls = false);

std::string AnswerBody(const AnswerHead& head, const std::vector<ChoiceState>& choices,
                       const Usage& usage, const text::Tokenizer& tokenizer);

// The chunk for one piece of a stream; `first` adds the role of a chat message; `calls` are the
// choice's before this piece.
std::string ChunkBody(const AnswerHead& head, const Piece& piece, bool first, int64_t calls,
                      const text::Tokenizer& tokenizer);
// The last chunk when stream_options.include_usage asks for it.
std::string UsageChunkBody(const AnswerHead& head, const Usage& usage);

// `with_base` false lists the adapters only.
std::string ModelsBody(const std::string& base, bool with_base,
                       const std::vector<AdapterState>& adapters, int64_t created, int64_t context);
// The entry of the base, and of one adapter.
std::string ModelBody(const std::string& id, int64_t created, int64_t context);
std::string AdapterBody(const AdapterState& adapter, const std::string& base, int64_t created,
                        int64_t context);

}  // namespace etch::serve
