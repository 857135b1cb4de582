#pragma once

// How one API surface writes the answer to a completion: whole, or as a stream. One object a
// request; called on the connection's strand.

#include <string>
#include <string_view>
#include <vector>

#include "serve/response.h"
#include "text/tokenizer.h"

namespace etch::serve {

// When things happened, in seconds since the request had arrived; 0: not yet.
struct Timings {
  double started_s = 0.0;      // the first choice left the queue
  double first_token_s = 0.0;  // the prompt was read
  double last_token_s = 0.0;
};

// What a format is told about an answer.
struct AnswerView {
  const AnswerHead& head;
  const Usage& usage;  // so far
  const Timings& timings;
  const text::Tokenizer& tokenizer;
};

class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;

  virtual std::string_view id_prefix() const { return ""; }
  virtual const char* stream_type() const { return "text/event-stream"; }

  // The body of a whole answer.
  virtual std::string Whole(const AnswerView& answer, const std::vector<ChoiceState>& choices) = 0;

  // What goes out before the first piece, for a piece, and behind the last one; "": nothing.
  virtual std::string Begin(const AnswerView&) { return ""; }
  virtual std::string Next(const AnswerView& answer, const Piece& piece) = 0;
  virtual std::string End(const AnswerView&) { return ""; }
  // In the place of a piece, when it goes wrong. `body` is an error as ErrorBody makes it.
  virtual std::string Broken(const std::string& body) { return ServerEvent(body); }

 protected:
  // One server-sent event.
  static std::string ServerEvent(std::string_view data) {
    return "data: " + std::string(data) + "\n\n";
  }
};

}  // namespace etch::serve
