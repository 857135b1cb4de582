#pragma once

// The tokenizer.bin of llama2.c: u32 longest token, then for each id a f32 score, an i32 length,
// and the bytes.

#include <cstdint>

#include "base/bytes.h"
#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// The file does not say how many tokens it holds: `vocab_size` comes from the model. kMalformed
// when the bytes end before that, or go on after it.
Result<model::Vocabulary> ReadLlama2cTokenizer(Bytes bytes, int64_t vocab_size);

}  // namespace etch::ingest
