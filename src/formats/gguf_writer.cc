#include "formats/gguf.h"

// Writes GGUF version 3. The layout is drawn in gguf.cc. The header is built in memory, the tensors
// are appended from where they lie.

#include <bit>
#include <unordered_set>

namespace etch::formats {
namespace {

constexpr uint32_t kVersion = 3;
constexpr int64_t kDefaultAlignment = 32;

void WriteString(ByteWriter& writer, std::string_view text) {
  writer.Write(static_cast<uint64_t>(text.size()));
  writer.WriteBytes(AsBytes(text));
}

void WriteInteger(ByteWriter& writer, GgufType type, int64_t number) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return writer.Write(static_cast<uint8_t>(number));
    case GgufType::kUint16:
    case GgufType::kInt16:
      return writer.Write(static_cast<uint16_t>(number));
    case GgufType::kUint32:
    case GgufType::kInt32:
      return writer.Write(static_cast<uint32_t>(number));
    default:
      return writer.Write(static_cast<uint64_t>(number));
  }
}

void WriteValue(ByteWriter& writer, const GgufValue& value) {
  const size_t count = value.integers.size() + value.floats.size() + value.strings.size();
  if (value.is_array) {
    writer.Write(GgufType::kArray);
    writer.Write(value.type);
    writer.Write(static_cast<uint64_t>(count));
  } else {
    ETCH_CHECK(count == 1, "a scalar has one element");
    writer.Write(value.type);
  }
  for (const int64_t number : value.integers) {
    WriteInteger(writer, value.type, number);
  }
  for (const double number : value.floats) {
    if (value.type == GgufType::kFloat32) {
      writer.Write(static_cast<float>(number));
    } else {
      writer.Write(number);
    }
  }
  for (const std::string& text : value.strings) {
    WriteString(writer, text);
  }
}

// Bytes of a tensor; kInvalidArgument when GGUF cannot hold it.
Result<uint64_t> PlannedSize(const GgufTensorPlan& tensor, const std::string& where) {
  const DataTypeTraits& traits = Traits(tensor.type);
  if (traits.gguf_code < 0) {
    return Fail(ErrorCode::kInvalidArgument, "{}: GGUF has no type {}", where, traits.name);
  }
  if (tensor.dims.empty() || tensor.dims.size() > 4) {
    return Fail(ErrorCode::kInvalidArgument, "{} has {} dimensions, 1 to 4 are allowed", where,
                tensor.dims.size());
  }
  const Result<uint64_t> values = ElementCount(tensor.dims, where);
  const bool whole_rows = tensor.dims.front() % traits.block_values == 0;
  const uint64_t size =
      values && whole_rows ? DataSize(tensor.type, *values, where).value_or(0) : 0;
  if (size == 0) {
    return Fail(ErrorCode::kInvalidArgument, "{}: its shape holds no whole rows of {}", where,
                traits.name);
  }
  return size;
}

Status AppendPadding(AtomicFile& file, uint64_t alignment) {
  const uint64_t padding = (alignment - file.size() % alignment) % alignment;
  return file.Append(std::vector<std::byte>(padding));
}

}  // namespace

Result<GgufWriter> GgufWriter::Create(const std::filesystem::path& path,
                                      const GgufMetadata& metadata,
                                      std::vector<GgufTensorPlan> tensors) {
  const std::string what = path.filename().string();
  ETCH_ASSIGN_OR_RETURN(const std::optional<int64_t> chosen, metadata.Integer("general.alignment"));
  if (chosen.value_or(kDefaultAlignment) < 1 ||
      !std::has_single_bit(static_cast<uint64_t>(chosen.value_or(kDefaultAlignment)))) {
    return Fail(ErrorCode::kInvalidArgument, "{}: general.alignment {} is not a power of two", what,
                chosen.value_or(0));
  }
  const auto alignment = static_cast<uint64_t>(chosen.value_or(kDefaultAlignment));
  ByteWriter header;
  header.WriteBytes(AsBytes("GGUF"));
  header.Write(kVersion);
  header.Write(static_cast<uint64_t>(tensors.size()));
  header.Write(static_cast<uint64_t>(metadata.entries().size()));
  for (const auto& [key, value] : metadata.entries()) {
    WriteString(header, key);
    WriteValue(header, value);
  }
  std::unordered_set<std::string_view> names;
  std::vector<uint64_t> sizes;
  uint64_t offset = 0;
  for (const GgufTensorPlan& tensor : tensors) {
    const std::string where = fmt::format("{}: tensor \"{}\"", what, tensor.name);
    ETCH_ASSIGN_OR_RETURN(const uint64_t size, PlannedSize(tensor, where));
    if (!names.insert(tensor.name).second) {
      return Fail(ErrorCode::kInvalidArgument, "{} comes twice", where);
    }
    WriteString(header, tensor.name);
    header.Write(static_cast<uint32_t>(tensor.dims.size()));
    for (const int64_t extent : tensor.dims) {
      header.Write(static_cast<uint64_t>(extent));
    }
    header.Write(static_cast<uint32_t>(Traits(tensor.type).gguf_code));
    header.Write(offset);
    offset += (size + alignment - 1) / alignment * alignment;
    sizes.push_back(size);
  }
  ETCH_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  ETCH_TRY(file.Append(header.bytes()));
  ETCH_TRY(AppendPadding(file, alignment));
  return GgufWriter(std::move(file), std::move(tensors), std::move(sizes), alignment);
}

Status GgufWriter::Append(Bytes data) {
  ETCH_CHECK(current_ < sizes_.size() && written_ + data.size() <= sizes_[current_],
             "{} bytes that no tensor has a place for", data.size());
  ETCH_TRY(file_.Append(data));
  written_ += data.size();
  if (written_ == sizes_[current_]) {
    ETCH_TRY(AppendPadding(file_, alignment_));
    ++current_;
    written_ = 0;
  }
  return {};
}

Status GgufWriter::Finish() {
  ETCH_CHECK(current_ == sizes_.size(), "tensor \"{}\" was not appended", tensors_[current_].name);
  return file_.Commit();
}

Status WriteGguf(const std::filesystem::path& path, const GgufMetadata& metadata,
                 std::span<const GgufSource> tensors) {
  std::vector<GgufTensorPlan> plans;
  for (const GgufSource& tensor : tensors) {
    plans.push_back({tensor.name, tensor.type, tensor.dims});
    const std::string where =
        fmt::format("{}: tensor \"{}\"", path.filename().string(), tensor.name);
    ETCH_ASSIGN_OR_RETURN(const uint64_t size, PlannedSize(plans.back(), where));
    if (size != tensor.data.size()) {
      return Fail(ErrorCode::kInvalidArgument, "{}: {} bytes of {} do not fill its shape", where,
                  tensor.data.size(), Traits(tensor.type).name);
    }
  }
  ETCH_ASSIGN_OR_RETURN(GgufWriter writer, GgufWriter::Create(path, metadata, std::move(plans)));
  for (const GgufSource& tensor : tensors) {
    ETCH_TRY(writer.Append(tensor.data));
  }
  return writer.Finish();
}

}  // namespace etch::formats
