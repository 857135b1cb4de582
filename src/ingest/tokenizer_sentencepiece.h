#pragma once

// SentencePiece's "tokenizer.model" (a protobuf ModelProto) as a Vocabulary.

#include "base/bytes.h"
#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::ingest {

// kUnsupported for models other than BPE; kMalformed for bytes that are no ModelProto.
Result<model::Vocabulary> ReadSentencePieceModel(Bytes bytes);

}  // namespace etch::ingest
