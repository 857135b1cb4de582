#pragma once

// The bytes of an image, format version 1. docs/format/image.md is the same for readers without the
// source. All numbers are little-endian; nothing needs alignment to be read but the matrices.
//
//   header                       64 bytes
//   section table                64 bytes a section
//   config, vocabulary, template, tables, rope
//   weights/embedding            one section a layer, so that a damaged byte names its place; each
//   weights/blk.0 …              begins on a page, its matrices at multiples of 64 from there
//   weights/head                 absent when the head is the embedding
//   norms, directory, provenance, report
//
// Sections stand in exactly this order, each at the next multiple of its alignment; the bytes
// between are zero, and the file ends with the last section. So no two can overlap, and every byte
// is covered by a checksum or known to be zero.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "model/config.h"
#include "model/tensors.h"

namespace etch::image {

inline constexpr std::string_view kMagic = "ETCHIMG1";
inline constexpr std::string_view kTrailerMagic = "ETCHEXE1";
inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kContractVersion = 1;
inline constexpr uint64_t kPage = 4096;          // alignment of weight sections
inline constexpr uint64_t kAlignment = 64;       // of all other sections and of matrices
inline constexpr uint64_t kMaxJson = 16U << 20;  // bytes of provenance and of report, each
inline constexpr uint64_t kMaxNameBytes = 4096;  // of the model's name and of its architecture

// The first 64 bytes keep this meaning in every version of the format.
//
// OFFSET SIZE MEANING
//      0    8 "ETCHIMG1"
//      8    4 format version: 1
//     12    4 version of the numeric contract: 1
//     16    8 size of the image in bytes
//     24    4 number of sections
//     28    4 0
//     32    8 fingerprint: XXH3-64 of the section table
//     40   16 0
//     56    8 XXH3-64 of bytes 0 to 55
struct HeaderRecord {
  std::array<char, 8> magic{};
  LittleEndian<uint32_t> format_version;
  LittleEndian<uint32_t> contract_version;
  LittleEndian<uint64_t> size_bytes;
  LittleEndian<uint32_t> section_count;
  LittleEndian<uint32_t> zero;
  LittleEndian<uint64_t> fingerprint;
  std::array<std::byte, 16> more_zero{};
  LittleEndian<uint64_t> checksum;
};
static_assert(sizeof(HeaderRecord) == 64);

// OFFSET SIZE MEANING
//      0   32 name, padded with zeros
//     32    8 offset from the start of the image
//     40    8 size in bytes
//     48    8 XXH3-64 of the section
//     56    8 0
struct SectionRecord {
  std::array<char, 32> name{};
  LittleEndian<uint64_t> offset;
  LittleEndian<uint64_t> size_bytes;
  LittleEndian<uint64_t> xxh3;
  LittleEndian<uint64_t> zero;
};
static_assert(sizeof(SectionRecord) == 64);

// Section "config" begins with this record. One byte for each input of a linear layer follows
// (numerics::ActivationFormat; index layer * 4 + model::InputSite, the head's last), then name and
// architecture, each as a u32 length and its bytes.
//
// OFFSET SIZE MEANING
//      0   64 dim, ffn_dim, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, context: i64 each
//     64   16 norm_eps, rope_theta: f64 each
//     80   32 RoPE scaling: factor, low and high frequency factor, original context: f64 each
//    112    1 kind of RoPE scaling (model::RopeScaling::Kind)
//    113    1 1 when the head is the embedding
//    114    1 1 for a source image
//    115    5 0
struct ConfigRecord {
  LittleEndian<int64_t> dim;
  LittleEndian<int64_t> ffn_dim;
  LittleEndian<int64_t> n_layers;
  LittleEndian<int64_t> n_heads;
  LittleEndian<int64_t> n_kv_heads;
  LittleEndian<int64_t> head_dim;
  LittleEndian<int64_t> vocab_size;
  LittleEndian<int64_t> context;
  LittleEndian<double> norm_eps;
  LittleEndian<double> rope_theta;
  LittleEndian<double> rope_factor;
  LittleEndian<double> rope_low_freq_factor;
  LittleEndian<double> rope_high_freq_factor;
  LittleEndian<double> rope_original_context;
  uint8_t rope_kind = 0;
  uint8_t tied_embeddings = 0;
  uint8_t is_source = 0;
  std::array<std::byte, 5> zero{};
};
static_assert(sizeof(ConfigRecord) == 120);

// Section "directory": one record a matrix, in the order of the matrices in the file.
//
// OFFSET SIZE MEANING
//      0    1 role (model::Role)
//      1    1 format (numerics::WeightFormat)
//      2    2 0
//      4    4 layer, 0 for embedding and head
//      8    4 rows
//     12    4 columns
//     16    8 offset from the start of the image, a multiple of 64
//     24    8 size in bytes
struct TensorRecord {
  uint8_t role = 0;
  uint8_t format = 0;
  LittleEndian<uint16_t> zero;
  LittleEndian<uint32_t> layer;
  LittleEndian<uint32_t> rows;
  LittleEndian<uint32_t> cols;
  LittleEndian<uint64_t> offset;
  LittleEndian<uint64_t> size_bytes;
};
static_assert(sizeof(TensorRecord) == 32);

// The last bytes of an executable that carries its image (`etch compile --standalone`).
//
// OFFSET SIZE MEANING
//      0    8 "ETCHEXE1"
//      8    8 offset of the image in the file, a multiple of 4096
//     16    8 size of the image; the trailer follows it immediately
//     24    8 XXH3-64 of bytes 0 to 23
struct TrailerRecord {
  std::array<char, 8> magic{};
  LittleEndian<uint64_t> offset;
  LittleEndian<uint64_t> size_bytes;
  LittleEndian<uint64_t> checksum;
};
static_assert(sizeof(TrailerRecord) == 32);

constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

// The sections of a model's image, in the order of the file.
std::vector<std::string> SectionNames(const model::Config& config);
uint64_t SectionAlignment(std::string_view name);

// Position of the first weight section in SectionNames(), and how many there are: the embedding,
// each layer, and the head unless it is tied.
inline constexpr size_t kFirstWeightSection = 5;
size_t WeightSectionCount(const model::Config& config);
// Which of them holds a matrix: 0 for the embedding, 1 + layer, or n_layers + 1 for the head.
size_t WeightSectionOf(const model::Config& config, model::Role role, int64_t layer);
// How many matrices it holds: 1 for embedding and head, 7 for a layer.
size_t MatricesIn(const model::Config& config, size_t weight_section);

// Norms in the order of section "norms": layer * 2 for attention, layer * 2 + 1 for the
// feed-forward network, the final norm last.
size_t NormCount(const model::Config& config);
size_t NormIndex(const model::Config& config, model::Role role, int64_t layer);

// XXH3-64 with seed 0.
uint64_t Hash(Bytes bytes);

// A record as bytes, and back; the caller has checked that `bytes` holds it.
template <class Record>
Bytes BytesOf(const Record& record) {
  return std::as_bytes(std::span(&record, 1));
}
template <class Record>
Record LoadRecord(Bytes bytes, uint64_t offset) {
  return LoadLittleEndian<Record>(bytes, offset);
}

// `bytes` begins with an image's magic.
bool StartsWithMagic(Bytes bytes);
// The image at the end of `bytes`, found by a valid trailer; empty when there is none.
Bytes FindAppendedImage(Bytes bytes);

}  // namespace etch::image
