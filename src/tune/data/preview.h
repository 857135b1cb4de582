#pragma once

// Rows token by token, for eyes: what is trained on and what is only read.
//
//   line 3: 14 tokens, 3 trained
//   <|begin|>·<|user|>·2+2·?·<|end|>·<|assistant|>·⟦4·.·<|end|>⟧
//
// Trained tokens stand in ⟦⟧, or are green with colour. Line ends show as \n and break the line
// behind them; bytes that are no whole character show as \xE2, other control characters too, so
// that a dataset cannot steer a terminal.

#include <cstdint>
#include <string>

#include "text/tokenizer.h"
#include "tune/data/encode.h"

namespace etch::tune {

struct PreviewOptions {
  bool color = false;        // ANSI: trained green, the rest dim
  bool ids = false;          // each token with its id: "4(19)"
  int64_t max_tokens = 512;  // of a row; what is left out is counted
};

// Ends with a line end.
std::string Preview(const text::Tokenizer& tokenizer, const Sample& sample,
                    const PreviewOptions& options = {});

}  // namespace etch::tune
