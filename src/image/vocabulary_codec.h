#pragma once

// Section "vocabulary": a tokenizer as bytes. The chat template is a section of its own.
//
// OFFSET SIZE MEANING
//      0    1 kind (model::TokenizerKind)
//      1    1 merge order (model::MergeOrder)
//      2    2 flags, in the order of kFlags: bit 0 ranks_are_ids, 1 ignore_merges, 2 split_digits,
//             3 add_prefix_space, 4 prefix_space_first_only, 5 remove_extra_spaces,
//             6 byte_fallback, 7 add_bos, 8 add_eos, 9 prefix_space_unless_space
//      4   16 bos, eos, unknown, padding: i32 each, -1 for none
//     20   16 numbers of end-of-generation ids, split patterns, tokens, merges: u32 each
//     36      end-of-generation ids: i32 each
//             split patterns: u32 length, bytes
//             tokens: u32 length, bytes, f32 score, u8 type (model::TokenType), u8 white space
//             (1 lstrip, 2 rstrip)
//             merges: left, right, result: i32 each

#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "model/vocabulary.h"

namespace etch::image {

// kInvalidArgument unless every id lies inside the vocabulary, the vocabulary inside
// `vocab_size`, the ids that end an answer are sorted, and no score is NaN.
Status ValidateVocabulary(const model::Vocabulary& vocabulary, int64_t vocab_size);

// The vocabulary without its chat template; it must be valid.
std::vector<std::byte> EncodeVocabulary(const model::Vocabulary& vocabulary);

// The inverse. kMalformed naming the field; the result is valid. Allocates at most a small multiple
// of bytes.size().
Result<model::Vocabulary> DecodeVocabulary(Bytes bytes, int64_t vocab_size);

}  // namespace etch::image
