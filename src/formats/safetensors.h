#pragma once

// One .safetensors file: a length, a JSON header, and the tensors end to end behind it. The reader
// refuses every header that does not describe its file exactly; the writer makes the bytes that the
// original library would.

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/error.h"
#include "base/file.h"
#include "formats/data_type.h"

namespace etch::formats {

struct SafetensorsEntry {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> shape;  // slowest first: (rows, cols)
  uint64_t offset = 0;         // of the first byte, from the start of the file
  uint64_t size_bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;        // in the order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
};

// Reads the header of `file` (the whole file). kMalformed when the header is no JSON of the right
// form, names a tensor twice, or its offsets overlap, leave a gap, are not a multiple of the
// element size, or do not end where the file ends; kUnsupported for a dtype that Etch does not
// know. Errors begin with `what`, the file's name.
Result<SafetensorsHeader> ParseSafetensors(Bytes file, std::string_view what);

// A mapped and checked file. Movable; reading is thread-safe.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::filesystem::path& path);

  const std::vector<SafetensorsEntry>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  // Null when there is no such tensor.
  const SafetensorsEntry* Find(std::string_view name) const;
  // The tensor's bytes inside the mapping.
  Bytes Data(const SafetensorsEntry& tensor) const {
    return file_.bytes().subspan(tensor.offset, tensor.size_bytes);
  }
  const MappedFile& file() const { return file_; }
  // Gives up the mapping; spans from Data() stay valid as long as it lives.
  MappedFile TakeFile() && { return std::move(file_); }

 private:
  SafetensorsFile(MappedFile file, SafetensorsHeader header)
      : file_(std::move(file)), header_(std::move(header)) {}

  MappedFile file_;
  SafetensorsHeader header_;
};

// A tensor to write: `type` is kF32, kF16 or kBf16 (rounded to nearest, ties to even); `values` has
// the product of `shape` elements.
struct SafetensorsSource {
  std::string name;
  DataType type = DataType::kF32;
  std::vector<int64_t> shape;
  std::span<const float> values;
};

// Writes a file atomically; the same input gives the same bytes, in any order of `tensors`.
// kInvalidArgument when a shape and its values disagree, a type cannot be written, or a name comes
// twice.
Status WriteSafetensors(const std::filesystem::path& path,
                        std::span<const SafetensorsSource> tensors,
                        const std::map<std::string, std::string>& metadata = {});

}  // namespace etch::formats
