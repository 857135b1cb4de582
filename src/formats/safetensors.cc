#include "formats/safetensors.h"

// Layout of a file (safetensors README §Format):
//
//   OFFSET   SIZE  MEANING
//   0        8     N, little-endian
//   8        N     JSON object, may end in spaces:
//                  {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …,
//                   "__metadata__": {"key": "text", …}}
//   8 + N    rest  the tensors; data_offsets count from here
//
// The header is read by events rather than into a document: a document forgets that a key came
// twice, and costs many times the header's size. The rules that make a header honest are checked on
// the sorted entries at once: each tensor starts where the one before ended, the last ends with the
// file. The original library checks the same, but for alignment: an element that does not lie on a
// multiple of its size from the start of the data is refused here, since no writer produces it.

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>
#include <unordered_set>
#include <utility>

#include "formats/dequantize.h"

namespace etch::formats {
namespace {

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the original library's limit
constexpr size_t kMaxDimensions = 16;
constexpr size_t kHeaderAlignment = 8;
constexpr size_t kWriteChunk = size_t{1} << 18;  // values converted at a time
constexpr std::string_view kMetadataKey = "__metadata__";

// Builds the entries out of the parser's events. Positions in the document are kept as a level: 0
// outside, 1 among the tensors, 2 inside one, 3 inside an array of one.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader header;
  std::string problem;

  bool null() override { return Unexpected("null"); }
  bool boolean(bool /*value*/) override { return Unexpected("a boolean"); }
  bool number_float(number_float_t /*value*/, const string_t& text) override {
    return Unexpected(text);
  }
  bool binary(binary_t& /*value*/) override { return Unexpected("binary data"); }
  bool number_integer(number_integer_t value) override {
    return Unexpected(fmt::format("{}", value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (level_ != 3 || value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Unexpected(fmt::format("{}", value));
    }
    if (numbers_->size() >= kMaxDimensions) {
      return Problem(fmt::format("tensor \"{}\": \"{}\" has more than {} numbers", entry_.name,
                                 field_, kMaxDimensions));
    }
    numbers_->push_back(static_cast<int64_t>(value));
    return true;
  }

  bool string(string_t& value) override {
    if (level_ == 2 && in_metadata_) {
      if (!header.metadata.emplace(field_, value).second) {
        return Problem(fmt::format("metadata key \"{}\" comes twice", field_));
      }
      return true;
    }
    if (level_ != 2 || field_ != "dtype") {
      return Unexpected(fmt::format("\"{}\"", value));
    }
    const std::optional<DataType> type = DataTypeFromSafetensors(value);
    if (!type) {
      unsupported = true;
      return Problem(fmt::format("tensor \"{}\": unknown dtype \"{}\"", entry_.name, value));
    }
    entry_.type = *type;
    has_type_ = true;
    return true;
  }

  bool start_object(size_t /*elements*/) override {
    if (level_ >= 2) {
      return Unexpected("an object");
    }
    ++level_;
    if (level_ == 2) {
      in_metadata_ = field_ == kMetadataKey;
      entry_ = SafetensorsEntry{.name = field_, .type = {}, .shape = {}};
      has_type_ = has_shape_ = has_offsets_ = false;
      offsets_.clear();
    }
    return true;
  }

  bool key(string_t& value) override {
    field_ = value;
    if (level_ == 1) {
      return names_.insert(value).second || Problem(fmt::format("\"{}\" comes twice", value));
    }
    if (in_metadata_) {
      return true;
    }
    const bool seen = value == "dtype"          ? has_type_
                      : value == "shape"        ? has_shape_
                      : value == "data_offsets" ? has_offsets_
                                                : true;
    if (seen) {
      return Problem(
          fmt::format("tensor \"{}\": key \"{}\" comes twice or is not known", entry_.name, value));
    }
    return true;
  }

  bool end_object() override {
    --level_;
    if (level_ != 1 || in_metadata_) {
      in_metadata_ = false;
      return true;
    }
    if (!has_type_ || !has_shape_ || !has_offsets_) {
      return Problem(
          fmt::format("tensor \"{}\" lacks its dtype, shape or data_offsets", entry_.name));
    }
    if (offsets_.size() != 2 || offsets_[1] < offsets_[0]) {
      return Problem(
          fmt::format("tensor \"{}\": data_offsets are not a start and an end", entry_.name));
    }
    entry_.offset = static_cast<uint64_t>(offsets_[0]);
    entry_.size_bytes = static_cast<uint64_t>(offsets_[1] - offsets_[0]);
    header.tensors.push_back(std::move(entry_));
    return true;
  }

  bool start_array(size_t /*elements*/) override {
    if (level_ != 2 || in_metadata_ || (field_ != "shape" && field_ != "data_offsets")) {
      return Unexpected("an array");
    }
    const bool is_shape = field_ == "shape";
    (is_shape ? has_shape_ : has_offsets_) = true;
    numbers_ = is_shape ? &entry_.shape : &offsets_;
    ++level_;
    return true;
  }
  bool end_array() override {
    --level_;
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const nlohmann::json::exception& /*error*/) override {
    return Problem(fmt::format("the header is no JSON at byte {}", kLengthBytes + position));
  }

  bool unsupported = false;

 private:
  bool Problem(std::string text) {
    if (problem.empty()) {
      problem = std::move(text);
    }
    return false;
  }
  bool Unexpected(std::string_view what) {
    return Problem(fmt::format("header: {} where none belongs (in \"{}\")", what,
                               level_ >= 2 ? entry_.name : field_));
  }

  int level_ = 0;
  bool in_metadata_ = false;
  bool has_type_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  std::string field_;
  SafetensorsEntry entry_;
  std::vector<int64_t> offsets_;
  std::vector<int64_t>* numbers_ = nullptr;
  std::unordered_set<std::string> names_;
};

// One entry against its shape. `offset` still counts from the start of the data.
Status CheckEntry(const SafetensorsEntry& entry, std::string_view what) {
  const std::string where = fmt::format("{}: tensor \"{}\"", what, entry.name);
  ETCH_ASSIGN_OR_RETURN(const uint64_t count, ElementCount(entry.shape, where));
  ETCH_ASSIGN_OR_RETURN(const uint64_t size, DataSize(entry.type, count, where));
  if (size != entry.size_bytes) {
    return Fail(ErrorCode::kMalformed, "{}: its shape and dtype need {} bytes, its offsets give {}",
                where, size, entry.size_bytes);
  }
  const auto element = static_cast<uint64_t>(Traits(entry.type).block_bytes);
  if (entry.offset % element != 0) {
    return Fail(ErrorCode::kMalformed, "{}: starts at byte {} of the data, not a multiple of {}",
                where, entry.offset, element);
  }
  return {};
}

// The entries, sorted by offset, tile [0, data_size) exactly.
Status CheckTiling(const std::vector<SafetensorsEntry>& tensors, uint64_t data_size,
                   std::string_view what) {
  uint64_t expected = 0;
  for (const SafetensorsEntry& entry : tensors) {
    if (entry.offset != expected) {
      return Fail(ErrorCode::kMalformed, "{}: tensor \"{}\" starts at byte {} of the data, {} {}",
                  what, entry.name, entry.offset,
                  entry.offset < expected ? "inside the one before, which ends at"
                                          : "with a gap after the one before, which ends at",
                  expected);
    }
    ETCH_TRY(CheckEntry(entry, what));
    expected += entry.size_bytes;  // offset + size is at most 2^63 - 1: both came as data_offsets
    if (expected > data_size) {
      return Fail(ErrorCode::kMalformed,
                  "{}: tensor \"{}\" ends at byte {} of the data, but the file has {}; it is "
                  "truncated",
                  what, entry.name, expected, data_size);
    }
  }
  if (expected != data_size) {
    return Fail(ErrorCode::kMalformed, "{}: {} bytes after the last tensor belong to none", what,
                data_size - expected);
  }
  return {};
}

Status CheckSources(std::span<const SafetensorsSource* const> tensors, std::string_view what) {
  for (const SafetensorsSource* tensor : tensors) {
    const std::string where = fmt::format("{}: tensor \"{}\"", what, tensor->name);
    if (tensor->type != DataType::kF32 && tensor->type != DataType::kF16 &&
        tensor->type != DataType::kBf16) {
      return Fail(ErrorCode::kInvalidArgument, "{}: {} cannot be written, use F32, F16 or BF16",
                  where, Traits(tensor->type).name);
    }
    const Result<uint64_t> count = ElementCount(tensor->shape, where);
    if (!count || *count != tensor->values.size()) {
      return Fail(ErrorCode::kInvalidArgument, "{}: {} values do not fill its shape", where,
                  tensor->values.size());
    }
  }
  return {};
}

}  // namespace

Result<SafetensorsHeader> ParseSafetensors(Bytes file, std::string_view what) {
  if (file.size() < kLengthBytes) {
    return Fail(ErrorCode::kMalformed, "{}: {} bytes are too few for a safetensors file", what,
                file.size());
  }
  const auto length = LoadLittleEndian<uint64_t>(file, 0);
  if (length > kMaxHeaderBytes) {
    return Fail(ErrorCode::kMalformed, "{}: header of {} bytes, at most {} are allowed", what,
                length, kMaxHeaderBytes);
  }
  ETCH_ASSIGN_OR_RETURN(const Bytes raw,
                        CheckedRange(file, kLengthBytes, length, fmt::format("{}: header", what)));
  const std::string_view text = AsText(raw);
  if (!text.starts_with('{')) {
    return Fail(ErrorCode::kMalformed, "{}: the header at byte {} does not begin with a brace",
                what, kLengthBytes);
  }
  HeaderReader reader;
  if (!nlohmann::json::sax_parse(text.begin(), text.end(), &reader)) {
    return Fail(reader.unsupported ? ErrorCode::kUnsupported : ErrorCode::kMalformed, "{}: {}",
                what, reader.problem);
  }
  SafetensorsHeader header = std::move(reader.header);
  // An empty tensor goes before the one that starts at the same byte.
  std::ranges::sort(header.tensors, {}, [](const SafetensorsEntry& entry) {
    return std::tuple(entry.offset, entry.size_bytes, std::string_view(entry.name));
  });
  const uint64_t data_start = kLengthBytes + length;
  ETCH_TRY(CheckTiling(header.tensors, file.size() - data_start, what));
  for (SafetensorsEntry& entry : header.tensors) {
    entry.offset += data_start;
  }
  return header;
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  ETCH_ASSIGN_OR_RETURN(SafetensorsHeader header,
                        ParseSafetensors(file.bytes(), path.filename().string()));
  return SafetensorsFile(std::move(file), std::move(header));
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto found = std::ranges::find(header_.tensors, name, &SafetensorsEntry::name);
  return found == header_.tensors.end() ? nullptr : &*found;
}

Status WriteSafetensors(const std::filesystem::path& path,
                        std::span<const SafetensorsSource> tensors,
                        const std::map<std::string, std::string>& metadata) {
  const std::string what = path.filename().string();
  std::vector<const SafetensorsSource*> order;
  for (const SafetensorsSource& tensor : tensors) {
    order.push_back(&tensor);
  }
  ETCH_TRY(CheckSources(order, what));
  // Widest elements first keeps every tensor aligned without padding; then by name.
  std::ranges::sort(order, {}, [](const SafetensorsSource* tensor) {
    return std::pair(-Traits(tensor->type).block_bytes, std::string_view(tensor->name));
  });
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) {
    header[std::string(kMetadataKey)] = metadata;
  }
  uint64_t offset = 0;
  for (const SafetensorsSource* tensor : order) {
    if (header.contains(tensor->name)) {
      return Fail(ErrorCode::kInvalidArgument, "{}: tensor \"{}\" comes twice", what, tensor->name);
    }
    const DataTypeTraits& traits = Traits(tensor->type);
    const uint64_t end = offset + tensor->values.size() * static_cast<uint64_t>(traits.block_bytes);
    header[tensor->name] = {
        {"dtype", traits.name}, {"shape", tensor->shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + kHeaderAlignment - 1) / kHeaderAlignment * kHeaderAlignment, ' ');

  ETCH_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  ByteWriter length;
  length.Write(static_cast<uint64_t>(text.size()));
  ETCH_TRY(file.Append(length.bytes()));
  ETCH_TRY(file.Append(AsBytes(text)));
  std::vector<std::byte> encoded;
  for (const SafetensorsSource* tensor : order) {
    const auto element = static_cast<size_t>(Traits(tensor->type).block_bytes);
    for (std::span<const float> rest = tensor->values; !rest.empty();) {
      const std::span<const float> chunk = rest.first(std::min(rest.size(), kWriteChunk));
      encoded.resize(chunk.size() * element);
      ETCH_TRY(EncodeFloats(tensor->type, chunk, encoded));
      ETCH_TRY(file.Append(encoded));
      rest = rest.subspan(chunk.size());
    }
  }
  return file.Commit();
}

}  // namespace etch::formats
