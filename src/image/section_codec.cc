// Encoders and decoders stand in pairs, so that a change to one is a change to both. Decoders work
// on bytes whose checksum is right but whose author is not trusted: a checksum is no signature, so
// every bound on which the proofs of the numeric contract rest is checked here, once, and the
// engine needs no checks of its own.

#include "image/section_codec.h"

#include <cmath>
#include <cstdlib>

#include "image/layout.h"

namespace etch::image {

using model::Config;
using numerics::ActivationFormat;
using numerics::Gain16;
using numerics::Rotation;

namespace {

Status CheckSize(std::string_view section, Bytes bytes, uint64_t expected) {
  if (bytes.size() != expected) {
    return Fail(ErrorCode::kMalformed, "section \"{}\" has {} bytes instead of {}", section,
                bytes.size(), expected);
  }
  return {};
}

ConfigRecord RecordOf(const ConfigSection& section) {
  const Config& config = section.config;
  ConfigRecord record;
  record.dim = config.dim;
  record.ffn_dim = config.ffn_dim;
  record.n_layers = config.n_layers;
  record.n_heads = config.n_heads;
  record.n_kv_heads = config.n_kv_heads;
  record.head_dim = config.head_dim;
  record.vocab_size = config.vocab_size;
  record.context = config.context;
  record.norm_eps = config.norm_eps;
  record.rope_theta = config.rope_theta;
  record.rope_factor = config.rope_scaling.factor;
  record.rope_low_freq_factor = config.rope_scaling.low_freq_factor;
  record.rope_high_freq_factor = config.rope_scaling.high_freq_factor;
  record.rope_original_context = config.rope_scaling.original_context;
  record.rope_kind = static_cast<uint8_t>(config.rope_scaling.kind);
  record.tied_embeddings = config.tied_embeddings ? 1 : 0;
  record.is_source = section.is_source ? 1 : 0;
  return record;
}

// Reads the record into all of `config` but its architecture.
Config ConfigOf(const ConfigRecord& record) {
  Config config;
  config.dim = record.dim;
  config.ffn_dim = record.ffn_dim;
  config.n_layers = record.n_layers;
  config.n_heads = record.n_heads;
  config.n_kv_heads = record.n_kv_heads;
  config.head_dim = record.head_dim;
  config.vocab_size = record.vocab_size;
  config.context = record.context;
  config.norm_eps = record.norm_eps;
  config.rope_theta = record.rope_theta;
  config.rope_scaling.kind = static_cast<model::RopeScaling::Kind>(record.rope_kind);
  config.rope_scaling.factor = record.rope_factor;
  config.rope_scaling.low_freq_factor = record.rope_low_freq_factor;
  config.rope_scaling.high_freq_factor = record.rope_high_freq_factor;
  config.rope_scaling.original_context = record.rope_original_context;
  config.tied_embeddings = record.tied_embeddings != 0;
  return config;
}

Result<std::string> ReadName(ByteReader& reader) {
  ETCH_ASSIGN_OR_RETURN(std::string name, reader.ReadString32());
  if (name.size() > kMaxNameBytes) {
    return Fail(ErrorCode::kMalformed,
                "section \"config\": a name of {} bytes, at most {} are read", name.size(),
                kMaxNameBytes);
  }
  return name;
}

}  // namespace

std::vector<std::byte> EncodeConfig(const ConfigSection& section) {
  ByteWriter writer;
  writer.Write(RecordOf(section));
  for (const ActivationFormat format : section.input_formats) {
    writer.Write(static_cast<uint8_t>(format));
  }
  writer.WriteString32(section.name);
  writer.WriteString32(section.config.architecture);
  return writer.Take();
}

Result<ConfigSection> DecodeConfig(Bytes bytes) {
  ByteReader reader(bytes, "section \"config\"");
  ETCH_ASSIGN_OR_RETURN(const auto record, reader.Read<ConfigRecord>());
  if (record.rope_kind > static_cast<uint8_t>(model::RopeScaling::Kind::kLlama3) ||
      record.tied_embeddings > 1 || record.is_source > 1 ||
      record.zero != decltype(record.zero){}) {
    return Fail(ErrorCode::kMalformed,
                "section \"config\": RoPE scaling {}, tied {}, source {} or what follows is not "
                "known",
                record.rope_kind, record.tied_embeddings, record.is_source);
  }
  ConfigSection section;
  section.config = ConfigOf(record);
  section.is_source = record.is_source != 0;
  ETCH_TRY(model::Validate(section.config));
  ETCH_ASSIGN_OR_RETURN(const Bytes formats, reader.ReadBytes(InputFormatCount(section.config)));
  for (const std::byte format : formats) {
    if (format > std::byte{static_cast<uint8_t>(ActivationFormat::kA16)}) {
      return Fail(ErrorCode::kMalformed, "section \"config\": input format {} is not known",
                  std::to_integer<int>(format));
    }
    section.input_formats.push_back(static_cast<ActivationFormat>(format));
  }
  ETCH_ASSIGN_OR_RETURN(section.name, ReadName(reader));
  ETCH_ASSIGN_OR_RETURN(section.config.architecture, ReadName(reader));
  ETCH_TRY(CheckSize("config", bytes, reader.position()));
  return section;
}

namespace {

// Calls visit(value) for every value of the function tables, in the order of the section.
template <class Tables, class Visit>
void ForEachEntry(Tables& tables, const Visit& visit) {
  for (auto& value : tables.exp2) {
    visit(value);
  }
  for (auto& value : tables.sigmoid) {
    visit(value);
  }
  for (auto& value : tables.rsqrt) {
    visit(value);
  }
}

}  // namespace

std::vector<std::byte> EncodeTables(const TablesSection& section) {
  ByteWriter writer;
  ForEachEntry(section.functions, [&](int32_t value) { writer.Write(value); });
  writer.Write(section.levels.levels);
  return writer.Take();
}

Result<TablesSection> DecodeTables(Bytes bytes) {
  TablesSection section;
  ETCH_TRY(
      CheckSize("tables", bytes, sizeof(numerics::FunctionTables) + sizeof(section.levels.levels)));
  size_t offset = 0;
  ForEachEntry(section.functions, [&](int32_t& value) {
    value = LoadLittleEndian<int32_t>(bytes, offset);
    offset += sizeof value;
  });
  section.levels.levels = LoadLittleEndian<decltype(section.levels.levels)>(bytes, offset);
  ETCH_TRY(numerics::Validate(section.functions));
  ETCH_TRY(numerics::Validate(section.levels));
  return section;
}

std::vector<std::byte> EncodeRope(const numerics::RopeTables& tables) {
  ByteWriter writer;
  for (const auto* table : {&tables.high, &tables.low}) {
    for (const Rotation& rotation : *table) {
      writer.Write(rotation.cosine);
      writer.Write(rotation.sine);
    }
  }
  return writer.Take();
}

Result<numerics::RopeTables> DecodeRope(Bytes bytes, const Config& config) {
  constexpr int64_t kLargest = int64_t{1} << numerics::kAngleBits;
  constexpr size_t kEntryBytes = 8;
  numerics::RopeTables tables;
  tables.pairs = config.head_dim / 2;
  const int64_t high_rows = (config.context + numerics::kAngleStride - 1) / numerics::kAngleStride;
  const auto high = static_cast<size_t>(high_rows * tables.pairs);
  const auto low = static_cast<size_t>(numerics::kAngleStride * tables.pairs);
  ETCH_TRY(CheckSize("rope", bytes, (high + low) * kEntryBytes));
  tables.high.reserve(high);
  tables.low.reserve(low);
  for (size_t index = 0; index < high + low; ++index) {
    const auto cosine = LoadLittleEndian<int32_t>(bytes, index * kEntryBytes);
    const auto sine = LoadLittleEndian<int32_t>(bytes, index * kEntryBytes + 4);
    if (std::abs(int64_t{cosine}) > kLargest || std::abs(int64_t{sine}) > kLargest) {
      return Fail(ErrorCode::kMalformed,
                  "section \"rope\": entry {} ({}, {}) is larger than one (2^30)", index, cosine,
                  sine);
    }
    (index < high ? tables.high : tables.low).push_back({cosine, sine});
  }
  return tables;
}

std::vector<std::byte> EncodeNorms(std::span<const NormGains> norms) {
  ByteWriter writer;
  for (const NormGains& norm : norms) {
    for (const float gain : norm.stated) {
      writer.Write(gain);
    }
    for (const Gain16& gain : norm.integer) {
      writer.Write(gain.mantissa);
    }
    for (const Gain16& gain : norm.integer) {
      writer.Write(gain.exponent);
    }
  }
  return writer.Take();
}

Result<std::vector<NormGains>> DecodeNorms(Bytes bytes, const Config& config, bool is_source) {
  constexpr size_t kIntegerBytes = 3;
  const auto dim = static_cast<size_t>(config.dim);
  const size_t norm_bytes = dim * (sizeof(float) + (is_source ? 0 : kIntegerBytes));
  ETCH_TRY(CheckSize("norms", bytes, NormCount(config) * norm_bytes));
  std::vector<NormGains> norms(NormCount(config));
  for (size_t index = 0; index < norms.size(); ++index) {
    const Bytes stated = bytes.subspan(index * norm_bytes, dim * sizeof(float));
    const Bytes integer = bytes.subspan(index * norm_bytes + stated.size());
    for (size_t channel = 0; channel < dim; ++channel) {
      const auto gain = LoadLittleEndian<float>(stated, channel * sizeof(float));
      if (!std::isfinite(gain)) {
        return Fail(ErrorCode::kMalformed, "section \"norms\": gain {} of norm {} is not finite",
                    channel, index);
      }
      norms[index].stated.push_back(gain);
      if (!is_source) {
        // Any mantissa and exponent is within the proofs: |unit| < 2^31, so the product fits 46
        // bits, and the shift saturates.
        norms[index].integer.push_back(
            {LoadLittleEndian<int16_t>(integer, channel * sizeof(int16_t)),
             LoadLittleEndian<int8_t>(integer, dim * sizeof(int16_t) + channel)});
      }
    }
  }
  return norms;
}

}  // namespace etch::image
