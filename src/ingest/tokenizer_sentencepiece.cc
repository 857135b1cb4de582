// SentencePiece stores a protobuf. Only a dozen fields of it matter, so this reads the wire format
// (https://protobuf.dev/programming-guides/encoding) itself: a field is a varint tag (number << 3 |
// wire type) and a varint, 8 bytes, a counted string, or 4 bytes. Generated protobuf code was
// rejected: a dependency and a code generator for one small file. The numbers of the fields are
// those of sentencepiece_model.proto.

#include "ingest/tokenizer_sentencepiece.h"

#include <bit>
#include <cmath>
#include <string>

#include "ingest/tokenizer_parts.h"

namespace etch::ingest {

using model::TokenId;
using model::TokenType;
using model::Vocabulary;

namespace {

struct Field {
  uint64_t number = 0;
  int wire_type = 0;
  uint64_t integer = 0;  // wire types 0 (varint), 1 (8 bytes) and 5 (4 bytes)
  Bytes bytes;           // wire type 2
};

// The fields of one message, front to back.
class MessageReader {
 public:
  explicit MessageReader(Bytes message) : reader_(message, "SentencePiece model") {}

  bool at_end() const { return reader_.remaining() == 0; }

  Result<Field> Next() {
    ETCH_ASSIGN_OR_RETURN(const uint64_t tag, Varint());
    Field field;
    field.number = tag >> 3;
    field.wire_type = static_cast<int>(tag & 7);
    switch (field.wire_type) {
      case 0: {
        ETCH_ASSIGN_OR_RETURN(field.integer, Varint());
        return field;
      }
      case 1: {
        ETCH_ASSIGN_OR_RETURN(field.integer, reader_.Read<uint64_t>());
        return field;
      }
      case 2: {
        ETCH_ASSIGN_OR_RETURN(const uint64_t size, Varint());
        ETCH_ASSIGN_OR_RETURN(field.bytes, reader_.ReadBytes(size));
        return field;
      }
      case 5: {
        ETCH_ASSIGN_OR_RETURN(field.integer, reader_.Read<uint32_t>());
        return field;
      }
      default:
        return Fail(ErrorCode::kMalformed,
                    "SentencePiece model: wire type {} at byte {} of a message", field.wire_type,
                    reader_.position());
    }
  }

 private:
  Result<uint64_t> Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      ETCH_ASSIGN_OR_RETURN(const uint8_t byte, reader_.Read<uint8_t>());
      value |= uint64_t{byte & 0x7FU} << shift;
      if (byte < 0x80) {
        return value;
      }
    }
    return Fail(ErrorCode::kMalformed, "SentencePiece model: a varint has more than ten bytes");
  }

  ByteReader reader_;
};

// Calls visit(field), which returns a Status, for each field of `message`.
template <class Visit>
Status ForEachField(Bytes message, const Visit& visit) {
  MessageReader reader(message);
  while (!reader.at_end()) {
    ETCH_ASSIGN_OR_RETURN(const Field field, reader.Next());
    ETCH_TRY(visit(field));
  }
  return {};
}

// Of TrainerSpec and NormalizerSpec, with protobuf's defaults.
struct Spec {
  uint64_t model_type = 1;  // UNIGRAM
  bool byte_fallback = false;
  int32_t unknown = 0;
  int32_t bos = 1;
  int32_t eos = 2;
  int32_t padding = -1;
  size_t character_map_bytes = 0;
  bool add_dummy_prefix = true;
  bool remove_extra_spaces = true;
  bool escape_spaces = true;
  bool space_is_suffix = false;
};

Result<model::Token> ReadPiece(Bytes message, size_t id) {
  model::Token token;
  ETCH_TRY(ForEachField(message, [&](const Field& field) -> Status {
    if (field.number == 1 && field.wire_type == 2) {
      token.text = AsText(field.bytes);
    } else if (field.number == 2 && field.wire_type == 5) {
      token.score = std::bit_cast<float>(static_cast<uint32_t>(field.integer));
    } else if (field.number == 3 && field.wire_type == 0) {
      if (field.integer < 1 || field.integer > static_cast<uint64_t>(TokenType::kByte)) {
        return Fail(ErrorCode::kMalformed, "SentencePiece model: token {} has type {}", id,
                    field.integer);
      }
      token.type = static_cast<TokenType>(field.integer);
    }
    return {};
  }));
  if (std::isnan(token.score)) {
    return Fail(ErrorCode::kMalformed, "SentencePiece model: the score of token {} is not a number",
                id);
  }
  return token;
}

Status ReadTrainerSpec(Bytes message, Spec& spec) {
  return ForEachField(message, [&](const Field& field) -> Status {
    if (field.wire_type != 0) {
      return {};
    }
    const auto id = static_cast<int32_t>(static_cast<uint32_t>(field.integer));
    switch (field.number) {
      case 3:
        spec.model_type = field.integer;
        break;
      case 24:
        spec.space_is_suffix = field.integer != 0;
        break;
      case 35:
        spec.byte_fallback = field.integer != 0;
        break;
      case 40:
        spec.unknown = id;
        break;
      case 41:
        spec.bos = id;
        break;
      case 42:
        spec.eos = id;
        break;
      case 43:
        spec.padding = id;
        break;
      default:
        break;
    }
    return {};
  });
}

Status ReadNormalizerSpec(Bytes message, Spec& spec) {
  return ForEachField(message, [&](const Field& field) -> Status {
    if (field.number == 2 && field.wire_type == 2) {
      spec.character_map_bytes = field.bytes.size();
    } else if (field.number == 3 && field.wire_type == 0) {
      spec.add_dummy_prefix = field.integer != 0;
    } else if (field.number == 4 && field.wire_type == 0) {
      spec.remove_extra_spaces = field.integer != 0;
    } else if (field.number == 5 && field.wire_type == 0) {
      spec.escape_spaces = field.integer != 0;
    }
    return {};
  });
}

Status CheckSpec(const Spec& spec) {
  constexpr uint64_t kBpe = 2;
  if (spec.model_type != kBpe) {
    return Fail(ErrorCode::kUnsupported,
                "SentencePiece model of type {} (1 is Unigram, 3 words, 4 characters); Etch reads "
                "BPE",
                spec.model_type);
  }
  if (spec.character_map_bytes > 0) {
    return Fail(ErrorCode::kUnsupported,
                "SentencePiece model with a character map (normalizer other than \"identity\")");
  }
  if (!spec.escape_spaces || spec.space_is_suffix) {
    return Fail(ErrorCode::kUnsupported,
                "SentencePiece model that does not write spaces as \"▁\" before words");
  }
  return {};
}

Result<TokenId> CheckId(int32_t id, std::string_view what, size_t n_tokens) {
  if (id >= 0 && static_cast<size_t>(id) >= n_tokens) {
    return Fail(ErrorCode::kMalformed, "SentencePiece model: {} is {}, but there are {} tokens",
                what, id, n_tokens);
  }
  return id < 0 ? model::kNoToken : id;
}

}  // namespace

Result<Vocabulary> ReadSentencePieceModel(Bytes bytes) {
  Vocabulary vocabulary;
  Spec spec;
  ETCH_TRY(ForEachField(bytes, [&](const Field& field) -> Status {
    if (field.wire_type != 2) {
      return {};
    }
    if (field.number == 1) {
      ETCH_ASSIGN_OR_RETURN(model::Token token, ReadPiece(field.bytes, vocabulary.tokens.size()));
      vocabulary.tokens.push_back(std::move(token));
    } else if (field.number == 2) {
      return ReadTrainerSpec(field.bytes, spec);
    } else if (field.number == 3) {
      return ReadNormalizerSpec(field.bytes, spec);
    }
    return {};
  }));
  if (vocabulary.tokens.empty()) {
    return Fail(ErrorCode::kMalformed, "SentencePiece model without tokens");
  }
  ETCH_TRY(CheckSpec(spec));
  vocabulary.kind = model::TokenizerKind::kSentencePiece;
  vocabulary.order = model::MergeOrder::kScores;
  vocabulary.add_prefix_space = spec.add_dummy_prefix;
  vocabulary.prefix_space_first_only = false;
  vocabulary.remove_extra_spaces = spec.remove_extra_spaces;
  vocabulary.byte_fallback = spec.byte_fallback;
  const size_t n_tokens = vocabulary.tokens.size();
  ETCH_ASSIGN_OR_RETURN(vocabulary.unknown, CheckId(spec.unknown, "unk_id", n_tokens));
  ETCH_ASSIGN_OR_RETURN(vocabulary.bos, CheckId(spec.bos, "bos_id", n_tokens));
  ETCH_ASSIGN_OR_RETURN(vocabulary.eos, CheckId(spec.eos, "eos_id", n_tokens));
  ETCH_ASSIGN_OR_RETURN(vocabulary.padding, CheckId(spec.padding, "pad_id", n_tokens));
  vocabulary.add_bos = vocabulary.bos != model::kNoToken;
  CollectEndOfGeneration(vocabulary);
  return vocabulary;
}

}  // namespace etch::ingest
