#include "formats/gguf.h"

// Layout (GGUF v3; v2 is the same):
//
//   "GGUF" | u32 version | u64 tensor count | u64 key count
//   per key:     string name | u32 type | value
//                string = u64 length, bytes;  array = u32 type | u64 count | values
//   per tensor:  string name | u32 dimensions | u64 extent … | u32 type | u64 offset
//   padding to general.alignment (32)
//   the tensors, each padded to the alignment; offsets count from here
//
// Counts come from the file and are never believed: nothing is allocated for an element before its
// bytes have been read, so the memory of a header is bounded by a small multiple of the file.
// llama.cpp wants the tensor data in the order of the infos; here any order will do, as long as the
// data tiles the file with no more between than padding.

#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_set>
#include <utility>

namespace etch::formats {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr uint32_t kMaxDimensions = 4;  // GGML_MAX_DIMS
constexpr std::string_view kAlignmentKey = "general.alignment";

// Size of an element of a fixed size, 0 for strings and arrays and unknown types.
uint64_t ScalarSize(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    default:
      return 0;
  }
}

uint64_t RoundUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}

class GgufReader {
 public:
  GgufReader(Bytes file, std::string_view what) : file_(file), what_(what), reader_(file, what) {}

  Result<GgufHeader> Read();

 private:
  Result<std::string> ReadString();
  Status ReadScalar(GgufValue& value);
  Result<GgufValue> ReadValue(std::string_view key);
  Status ReadKeys(uint64_t count);
  Status ReadTensors(uint64_t count);
  Result<GgufTensor> ReadTensor();
  Status ReadAlignment();
  Status PlaceTensors();

  Bytes file_;
  std::string what_;
  ByteReader reader_;
  GgufHeader header_;
};

Result<std::string> GgufReader::ReadString() {
  ETCH_ASSIGN_OR_RETURN(const uint64_t size, reader_.Read<uint64_t>());
  ETCH_ASSIGN_OR_RETURN(const Bytes raw, reader_.ReadBytes(size));
  return std::string(AsText(raw));
}

// Appends one element of value.type.
Status GgufReader::ReadScalar(GgufValue& value) {
  if (value.type == GgufType::kString) {
    ETCH_ASSIGN_OR_RETURN(std::string text, ReadString());
    value.strings.push_back(std::move(text));
    return {};
  }
  const uint64_t position = reader_.position();
  ETCH_ASSIGN_OR_RETURN(const Bytes raw, reader_.ReadBytes(ScalarSize(value.type)));
  const auto add = [&value](auto number) {
    value.integers.push_back(static_cast<int64_t>(number));
  };
  switch (value.type) {
    case GgufType::kUint8:
      add(LoadLittleEndian<uint8_t>(raw, 0));
      break;
    case GgufType::kInt8:
      add(LoadLittleEndian<int8_t>(raw, 0));
      break;
    case GgufType::kUint16:
      add(LoadLittleEndian<uint16_t>(raw, 0));
      break;
    case GgufType::kInt16:
      add(LoadLittleEndian<int16_t>(raw, 0));
      break;
    case GgufType::kUint32:
      add(LoadLittleEndian<uint32_t>(raw, 0));
      break;
    case GgufType::kInt32:
      add(LoadLittleEndian<int32_t>(raw, 0));
      break;
    case GgufType::kUint64:
    case GgufType::kInt64:
      add(LoadLittleEndian<int64_t>(raw, 0));
      if (value.type == GgufType::kUint64 && value.integers.back() < 0) {
        return Fail(ErrorCode::kMalformed, "{}: integer above 2^63 at byte {}", what_, position);
      }
      break;
    case GgufType::kFloat32:
      value.floats.push_back(static_cast<double>(LoadLittleEndian<float>(raw, 0)));
      break;
    case GgufType::kFloat64:
      value.floats.push_back(LoadLittleEndian<double>(raw, 0));
      break;
    default:
      add(LoadLittleEndian<uint8_t>(raw, 0));
      if (value.integers.back() > 1) {
        return Fail(ErrorCode::kMalformed, "{}: boolean {} at byte {}", what_,
                    value.integers.back(), position);
      }
      break;
  }
  return {};
}

Result<GgufValue> GgufReader::ReadValue(std::string_view key) {
  ETCH_ASSIGN_OR_RETURN(uint32_t code, reader_.Read<uint32_t>());
  GgufValue value;
  uint64_t count = 1;
  if (static_cast<GgufType>(code) == GgufType::kArray) {
    value.is_array = true;
    ETCH_ASSIGN_OR_RETURN(code, reader_.Read<uint32_t>());
    ETCH_ASSIGN_OR_RETURN(count, reader_.Read<uint64_t>());
    if (static_cast<GgufType>(code) == GgufType::kArray) {
      return Fail(ErrorCode::kUnsupported, "{}: key \"{}\" is an array of arrays", what_, key);
    }
  }
  value.type = static_cast<GgufType>(code);
  if (value.type != GgufType::kString && ScalarSize(value.type) == 0) {
    return Fail(ErrorCode::kMalformed, "{}: key \"{}\" has the unknown type {}", what_, key, code);
  }
  // A string takes at least its length.
  const uint64_t least = value.type == GgufType::kString ? 8 : ScalarSize(value.type);
  if (count > reader_.remaining() / least) {
    return Fail(ErrorCode::kMalformed,
                "{}: key \"{}\" claims {} elements, the file has {} bytes left", what_, key, count,
                reader_.remaining());
  }
  for (uint64_t index = 0; index < count; ++index) {
    ETCH_TRY(ReadScalar(value));
  }
  return value;
}

Status GgufReader::ReadKeys(uint64_t count) {
  for (uint64_t index = 0; index < count; ++index) {
    ETCH_ASSIGN_OR_RETURN(std::string key, ReadString());
    ETCH_ASSIGN_OR_RETURN(GgufValue value, ReadValue(key));
    if (!header_.metadata.Add(key, std::move(value))) {
      return Fail(ErrorCode::kMalformed, "{}: key \"{}\" comes twice", what_, key);
    }
  }
  return {};
}

Result<GgufTensor> GgufReader::ReadTensor() {
  GgufTensor tensor;
  ETCH_ASSIGN_OR_RETURN(tensor.name, ReadString());
  const std::string where = fmt::format("{}: tensor \"{}\"", what_, tensor.name);
  ETCH_ASSIGN_OR_RETURN(const uint32_t dimensions, reader_.Read<uint32_t>());
  if (dimensions < 1 || dimensions > kMaxDimensions) {
    return Fail(ErrorCode::kMalformed, "{} has {} dimensions, 1 to {} are allowed", where,
                dimensions, kMaxDimensions);
  }
  for (uint32_t index = 0; index < dimensions; ++index) {
    ETCH_ASSIGN_OR_RETURN(const uint64_t extent, reader_.Read<uint64_t>());
    if (extent < 1 || extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(ErrorCode::kMalformed, "{}: dimension {} is {}", where, index, extent);
    }
    tensor.dims.push_back(static_cast<int64_t>(extent));
  }
  ETCH_ASSIGN_OR_RETURN(const uint32_t code, reader_.Read<uint32_t>());
  const std::optional<DataType> type = DataTypeFromGguf(code);
  if (!type) {
    return Fail(ErrorCode::kUnsupported, "{}: unknown type {}", where, code);
  }
  tensor.type = *type;
  ETCH_ASSIGN_OR_RETURN(tensor.offset, reader_.Read<uint64_t>());
  ETCH_ASSIGN_OR_RETURN(const uint64_t values, ElementCount(tensor.dims, where));
  // Blocks run along a row and never cross into the next.
  ETCH_TRY(DataSize(tensor.type, static_cast<uint64_t>(tensor.dims.front()),
                    fmt::format("{}: its row", where)));
  ETCH_ASSIGN_OR_RETURN(tensor.size_bytes, DataSize(tensor.type, values, where));
  return tensor;
}

Status GgufReader::ReadTensors(uint64_t count) {
  std::unordered_set<std::string> names;
  for (uint64_t index = 0; index < count; ++index) {
    ETCH_ASSIGN_OR_RETURN(GgufTensor tensor, ReadTensor());
    if (!names.insert(tensor.name).second) {
      return Fail(ErrorCode::kMalformed, "{}: tensor \"{}\" comes twice", what_, tensor.name);
    }
    header_.tensors.push_back(std::move(tensor));
  }
  return {};
}

Status GgufReader::ReadAlignment() {
  Result<std::optional<int64_t>> alignment = header_.metadata.Integer(kAlignmentKey);
  if (!alignment) {
    return Prefix(what_, std::move(alignment).error());
  }
  const int64_t value = alignment->value_or(32);
  if (value < 1 || value > static_cast<int64_t>(kMaxAlignment) ||
      !std::has_single_bit(static_cast<uint64_t>(value))) {
    return Fail(ErrorCode::kMalformed, "{}: {} is {}, not a power of two up to {}", what_,
                kAlignmentKey, value, kMaxAlignment);
  }
  header_.alignment = static_cast<uint64_t>(value);
  return {};
}

// Checks that the data tiles the rest of the file, and turns offsets into those of the file.
Status GgufReader::PlaceTensors() {
  const uint64_t alignment = header_.alignment;
  const uint64_t start = RoundUp(reader_.position(), alignment);
  std::vector<GgufTensor*> order;
  for (GgufTensor& tensor : header_.tensors) {
    order.push_back(&tensor);
  }
  std::ranges::sort(order, {}, [](const GgufTensor* tensor) { return tensor->offset; });
  uint64_t end = start;  // of the tensor before
  for (GgufTensor* tensor : order) {
    const std::string where = fmt::format("{}: tensor \"{}\"", what_, tensor->name);
    if (tensor->offset % alignment != 0) {
      return Fail(ErrorCode::kMalformed, "{} at byte {} of the data is not aligned to {}", where,
                  tensor->offset, alignment);
    }
    if (tensor->offset > file_.size()) {
      return Fail(ErrorCode::kMalformed, "{} starts at byte {} of the data, beyond the file of {}",
                  where, tensor->offset, file_.size());
    }
    tensor->offset += start;
    const uint64_t expected = RoundUp(end, alignment);
    if (tensor->offset != expected) {
      return Fail(ErrorCode::kMalformed, "{} starts at byte {}, {} the one before, expected {}",
                  where, tensor->offset, tensor->offset < expected ? "inside" : "with a gap after",
                  expected);
    }
    ETCH_TRY(CheckedRange(file_, tensor->offset, tensor->size_bytes, where));
    end = tensor->offset + tensor->size_bytes;
  }
  // A file without tensors may lack the padding, one with tensors may lack that of the last.
  if (file_.size() > RoundUp(end, alignment)) {
    return Fail(ErrorCode::kMalformed, "{}: {} bytes after the last tensor belong to none", what_,
                file_.size() - RoundUp(end, alignment));
  }
  return {};
}

Result<GgufHeader> GgufReader::Read() {
  ETCH_ASSIGN_OR_RETURN(const Bytes magic, reader_.ReadBytes(kMagic.size()));
  if (AsText(magic) != kMagic) {
    return Fail(ErrorCode::kMalformed, "{}: does not begin with \"{}\"", what_, kMagic);
  }
  ETCH_ASSIGN_OR_RETURN(header_.version, reader_.Read<uint32_t>());
  if (header_.version != 2 && header_.version != 3) {
    const bool swapped = header_.version != 0 && (header_.version & 0xFFFFU) == 0;
    return Fail(
        ErrorCode::kUnsupported, "{}: {}; convert it to version 2 or 3, little-endian", what_,
        swapped ? std::string("big-endian GGUF") : fmt::format("GGUF version {}", header_.version));
  }
  ETCH_ASSIGN_OR_RETURN(const uint64_t tensor_count, reader_.Read<uint64_t>());
  ETCH_ASSIGN_OR_RETURN(const uint64_t key_count, reader_.Read<uint64_t>());
  ETCH_TRY(ReadKeys(key_count));
  ETCH_TRY(ReadTensors(tensor_count));
  ETCH_TRY(ReadAlignment());
  ETCH_TRY(PlaceTensors());
  return std::move(header_);
}

}  // namespace

Result<GgufHeader> ParseGguf(Bytes file, std::string_view what) {
  return GgufReader(file, what).Read();
}

Result<GgufFile> GgufFile::Open(const std::filesystem::path& path) {
  ETCH_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  ETCH_ASSIGN_OR_RETURN(GgufHeader header, ParseGguf(file.bytes(), path.filename().string()));
  return GgufFile(std::move(file), std::move(header));
}

const GgufTensor* GgufFile::Find(std::string_view name) const {
  const auto found = std::ranges::find(header_.tensors, name, &GgufTensor::name);
  return found == header_.tensors.end() ? nullptr : &*found;
}

}  // namespace etch::formats
