#pragma once

// GGUF versions 2 and 3, the container of llama.cpp: typed metadata, tensor infos, aligned tensor
// data. Reader and writer.

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/data_type.h"

namespace etch::formats {

// GGUF v3 §gguf_metadata_value_type.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// A metadata value. A scalar is one element in the vector of its kind; an array fills that vector.
struct GgufValue {
  GgufType type = GgufType::kUint32;  // of the scalar, or of the array's elements; never kArray
  bool is_array = false;
  std::vector<int64_t> integers;     // integer types and bools; a kUint64 above 2^63-1 is refused
  std::vector<double> floats;        // kFloat32, kFloat64
  std::vector<std::string> strings;  // bytes as they are in the file

  bool operator==(const GgufValue&) const = default;
};

struct GgufTensor {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> dims;  // as in the file, fastest first: (cols, rows)
  uint64_t offset = 0;        // of the first byte, from the start of the file
  uint64_t size_bytes = 0;
};

// Metadata by key, with typed reading. Keys keep the order of the file.
class GgufMetadata {
 public:
  // Null when there is no such key.
  const GgufValue* Find(std::string_view key) const;
  const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }
  // False when the key is there already.
  bool Add(std::string key, GgufValue value);

  // Absent keys give an empty optional; a value of another type is kMalformed naming the key.
  // Integers of any width, floats of either, are converted.
  Result<std::optional<int64_t>> Integer(std::string_view key) const;
  // A kFloat32 comes as the shortest decimal that it prints as (1e-5f as 1e-5), so that it equals
  // what a JSON source of the same model says.
  Result<std::optional<double>> Number(std::string_view key) const;
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string>> String(std::string_view key) const;
  // Null when absent; the array's elements otherwise.
  Result<const std::vector<std::string>*> Strings(std::string_view key) const;
  Result<const std::vector<int64_t>*> Integers(std::string_view key) const;
  Result<const std::vector<double>*> Numbers(std::string_view key) const;

 private:
  std::vector<std::pair<std::string, GgufValue>> entries_;
  std::unordered_map<std::string, size_t> index_;
};

struct GgufHeader {
  uint32_t version = 3;
  uint64_t alignment = 32;
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // in the order of the file
};

// Reads the header of `file` (the whole file). kMalformed when it is truncated, has a key or tensor
// twice, values out of their type's range, or tensor data that overlaps, is misaligned, leaves gaps
// beyond the alignment, or does not end where the file ends; kUnsupported for versions other than 2
// and 3, big-endian files, nested arrays, and tensor types that Etch does not know. Errors begin
// with `what`, the file's name.
Result<GgufHeader> ParseGguf(Bytes file, std::string_view what);

// A mapped and checked file. Movable; reading is thread-safe.
class GgufFile {
 public:
  static Result<GgufFile> Open(const std::filesystem::path& path);

  const GgufHeader& header() const { return header_; }
  const GgufMetadata& metadata() const { return header_.metadata; }
  const std::vector<GgufTensor>& tensors() const { return header_.tensors; }
  // Null when there is no such tensor.
  const GgufTensor* Find(std::string_view name) const;
  Bytes Data(const GgufTensor& tensor) const {
    return file_.bytes().subspan(tensor.offset, tensor.size_bytes);
  }
  const MappedFile& file() const { return file_; }
  // Gives up the mapping; spans from Data() stay valid as long as it lives.
  MappedFile TakeFile() && { return std::move(file_); }

 private:
  GgufFile(MappedFile file, GgufHeader header)
      : file_(std::move(file)), header_(std::move(header)) {}

  MappedFile file_;
  GgufHeader header_;
};

GgufValue GgufString(std::string text);
GgufValue GgufUint32(uint32_t number);
GgufValue GgufInt32(int32_t number);
GgufValue GgufUint64(uint64_t number);
GgufValue GgufFloat32(float number);
GgufValue GgufBool(bool value);
GgufValue GgufStrings(std::vector<std::string> texts);
GgufValue GgufInt32s(std::vector<int64_t> numbers);
GgufValue GgufFloat32s(std::vector<double> numbers);

// A tensor to write, without its data.
struct GgufTensorPlan {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> dims;  // fastest first
};

// Writes a version 3 file a piece at a time, so that a model larger than memory can be written; it
// appears under its name whole or not at all.
class GgufWriter {
 public:
  // Writes the header. The alignment is 32, or the metadata's "general.alignment".
  // kInvalidArgument when a shape is none that its type can have, a name comes twice, or a type has
  // no GGUF code.
  static Result<GgufWriter> Create(const std::filesystem::path& path, const GgufMetadata& metadata,
                                   std::vector<GgufTensorPlan> tensors);

  // Appends encoded values, in the order of the plan; a tensor may come in any number of pieces,
  // none of which reaches into the next tensor.
  Status Append(Bytes data);
  // Completes the file and puts it in place. Every tensor has been appended.
  Status Finish();

 private:
  GgufWriter(AtomicFile file, std::vector<GgufTensorPlan> tensors, std::vector<uint64_t> sizes,
             uint64_t alignment)
      : file_(std::move(file)),
        tensors_(std::move(tensors)),
        sizes_(std::move(sizes)),
        alignment_(alignment) {}

  AtomicFile file_;
  std::vector<GgufTensorPlan> tensors_;
  std::vector<uint64_t> sizes_;  // of the tensors, in bytes
  uint64_t alignment_ = 0;
  size_t current_ = 0;    // the tensor that the next piece belongs to
  uint64_t written_ = 0;  // bytes of it so far
};

// A tensor to write; `data` holds `dims` values encoded as `type` and outlives the call.
struct GgufSource {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> dims;  // fastest first
  Bytes data;
};

// GgufWriter in one call. kInvalidArgument also when a tensor's size and its data disagree.
Status WriteGguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                 std::span<const GgufSource> tensors);

}  // namespace etch::formats
