// Verification goes from the outside in, so that the first thing that is wrong is the thing that is
// named: header checksum, version, size, section table, then the checksum of every section, and
// only then what the sections say.
//
// XXH3 of one section is sequential, so the work is spread over sections: each thread takes the
// largest that is left. A model of 8 billion weights has 44 sections, the largest a tenth of the
// whole. (A tree of hashes over chunks would balance better and cost a second table.)
//
// The checksum is no signature: whoever writes an image may write its checksums. So all that
// inference relies on is checked against the model's config as well, and nothing is taken from the
// directory that is not computed again here.

#include "image/verify.h"

#include <algorithm>
#include <atomic>
#include <numeric>

#include "base/thread_pool.h"

namespace etch::image {

using model::Role;
using numerics::WeightFormat;

namespace {

// The smallest image that is worth a second thread.
constexpr uint64_t kParallelBytes = 4U << 20;

Status CheckHeader(Bytes image, const HeaderRecord& header) {
  if (header.checksum != Hash(image.first(offsetof(HeaderRecord, checksum)))) {
    return Fail(ErrorCode::kMalformed, "the header is damaged; copy or compile the image again");
  }
  if (header.format_version != kFormatVersion || header.contract_version != kContractVersion) {
    return Fail(
        ErrorCode::kUnsupported,
        "image format {} with numeric contract {}, supported are format {} and contract {}; "
        "compile the model again with this version of etch",
        uint32_t{header.format_version}, uint32_t{header.contract_version}, kFormatVersion,
        kContractVersion);
  }
  if (header.size_bytes != image.size()) {
    return Fail(ErrorCode::kMalformed, "the image is {}: {} bytes, its header says {}",
                image.size() < header.size_bytes ? "truncated" : "followed by other bytes",
                image.size(), uint64_t{header.size_bytes});
  }
  if (header.zero != 0 || header.more_zero != decltype(header.more_zero){}) {
    return Fail(ErrorCode::kMalformed, "the header has values that format {} does not know",
                kFormatVersion);
  }
  return {};
}

// The section whose record is `record`, which must begin where the one before ended.
Result<SectionInfo> ReadSection(const SectionRecord& record, uint64_t previous_end,
                                uint64_t image_size) {
  const std::string_view padded(record.name.data(), record.name.size());
  const std::string_view name = padded.substr(0, padded.find('\0'));
  const bool printable =
      std::ranges::all_of(name, [](char letter) { return letter >= ' ' && letter <= '~'; });
  if (name.empty() || !printable ||
      padded.find_first_not_of('\0', name.size()) != std::string_view::npos || record.zero != 0) {
    return Fail(ErrorCode::kMalformed, "the section table has a record that is not one");
  }
  const uint64_t begin = AlignUp(previous_end, SectionAlignment(name));
  if (record.offset != begin || begin > image_size || record.size_bytes > image_size - begin) {
    return Fail(
        ErrorCode::kMalformed,
        "section \"{}\" is said to be {} bytes at byte {}; it begins at {} and the image has "
        "{}",
        name, uint64_t{record.size_bytes}, uint64_t{record.offset}, begin, image_size);
  }
  return SectionInfo{std::string(name), begin, record.size_bytes, record.xxh3};
}

// Bytes of the zero padding before section `index`.
Bytes PaddingBefore(Bytes image, const Frame& frame, size_t index) {
  const uint64_t begin =
      index == 0 ? sizeof(HeaderRecord) + frame.sections.size() * sizeof(SectionRecord)
                 : frame.sections[index - 1].offset + frame.sections[index - 1].size_bytes;
  return image.subspan(begin, frame.sections[index].offset - begin);
}

Status CheckSection(Bytes image, const Frame& frame, size_t index) {
  const SectionInfo& section = frame.sections[index];
  for (const std::byte value : PaddingBefore(image, frame, index)) {
    if (value != std::byte{0}) {
      return Fail(ErrorCode::kMalformed, "the padding before section \"{}\" is damaged",
                  section.name);
    }
  }
  const uint64_t hash = Hash(image.subspan(section.offset, section.size_bytes));
  if (hash != section.xxh3) {
    return Fail(ErrorCode::kMalformed,
                "section \"{}\" is damaged (checksum {:016x} instead of {:016x}); copy or compile "
                "the image again",
                section.name, hash, section.xxh3);
  }
  return {};
}

}  // namespace

Result<Frame> ReadFrame(Bytes image) {
  if (!StartsWithMagic(image)) {
    return Fail(ErrorCode::kMalformed, "is not an Etch image");
  }
  if (image.size() < sizeof(HeaderRecord)) {
    return Fail(ErrorCode::kMalformed, "the image is truncated in its header");
  }
  const auto header = LoadRecord<HeaderRecord>(image, 0);
  ETCH_TRY(CheckHeader(image, header));
  const uint64_t table_bytes = uint64_t{header.section_count} * sizeof(SectionRecord);
  ETCH_ASSIGN_OR_RETURN(const Bytes table, CheckedRange(image, sizeof(HeaderRecord), table_bytes,
                                                        "the section table"));
  if (Hash(table) != header.fingerprint) {
    return Fail(ErrorCode::kMalformed,
                "the section table is damaged; copy or compile the image again");
  }
  Frame frame;
  frame.fingerprint = header.fingerprint;
  uint64_t end = sizeof(HeaderRecord) + table_bytes;
  for (uint64_t offset = 0; offset < table_bytes; offset += sizeof(SectionRecord)) {
    ETCH_ASSIGN_OR_RETURN(SectionInfo section,
                          ReadSection(LoadRecord<SectionRecord>(table, offset), end, image.size()));
    end = section.offset + section.size_bytes;
    frame.sections.push_back(std::move(section));
  }
  if (end != image.size()) {
    return Fail(ErrorCode::kMalformed, "{} bytes follow the last section", image.size() - end);
  }
  return frame;
}

Status VerifyContent(Bytes image, const Frame& frame, int threads) {
  const size_t count = frame.sections.size();
  std::vector<size_t> by_size(count);
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::ranges::sort(by_size, std::ranges::greater(),
                    [&](size_t index) { return frame.sections[index].size_bytes; });
  std::vector<Status> results(count);
  std::atomic<size_t> next = 0;
  const auto check_rest = [&](int64_t, int64_t) {
    for (size_t turn = next.fetch_add(1); turn < count; turn = next.fetch_add(1)) {
      results[by_size[turn]] = CheckSection(image, frame, by_size[turn]);
    }
  };
  ThreadPool pool(image.size() < kParallelBytes ? 1 : threads);
  pool.ParallelFor(pool.threads(), 1, check_rest);
  for (const Status& result : results) {
    ETCH_TRY(result);
  }
  return {};
}

Status VerifySectionNames(const Frame& frame, const model::Config& config) {
  const std::vector<std::string> names = SectionNames(config);
  if (names.size() != frame.sections.size()) {
    return Fail(ErrorCode::kMalformed, "the image has {} sections, its model needs {}",
                frame.sections.size(), names.size());
  }
  for (size_t index = 0; index < names.size(); ++index) {
    if (names[index] != frame.sections[index].name) {
      return Fail(ErrorCode::kMalformed, "section {} is \"{}\", its model needs \"{}\"", index,
                  frame.sections[index].name, names[index]);
    }
  }
  return {};
}

bool IsStored(WeightFormat format, bool is_source) {
  switch (format) {
    case WeightFormat::kW3:
    case WeightFormat::kW6:
    case WeightFormat::kW4F:
      return !is_source;
    case WeightFormat::kF32:
    case WeightFormat::kF16:
    case WeightFormat::kBF16:
      return is_source;
    case WeightFormat::kW8:
      return false;
  }
  return false;
}

namespace {

// A record of the directory as a tensor, checked against the model; its place is checked by the
// caller.
Result<TensorInfo> ReadTensor(const TensorRecord& record, const model::Config& config,
                              bool is_source) {
  const auto role = static_cast<Role>(record.role);
  if (record.role >= model::kRoleCount || model::IsNorm(role) || record.zero != 0 ||
      (role == Role::kHead && config.tied_embeddings) ||
      record.layer >= (model::IsPerLayer(role) ? config.n_layers : 1)) {
    return Fail(ErrorCode::kMalformed,
                "section \"directory\": role {} of layer {} is not the model's", record.role,
                uint32_t{record.layer});
  }
  const std::string name = model::TensorName(role, record.layer);
  const auto format = static_cast<WeightFormat>(record.format);
  if (!IsStored(format, is_source)) {
    return Fail(ErrorCode::kMalformed, "section \"directory\": {} has format {}, not one of {}",
                name, record.format, is_source ? "F32, F16, BF16" : "W3, W6, W4F");
  }
  const model::Shape shape = model::TensorShape(config, role);
  if (record.rows != shape.rows || record.cols != shape.cols) {
    return Fail(ErrorCode::kMalformed,
                "section \"directory\": {} is {} by {}, the model's is {} by {}", name,
                uint32_t{record.rows}, uint32_t{record.cols}, shape.rows, shape.cols);
  }
  const auto size = static_cast<uint64_t>(numerics::WeightBytes(format, shape.rows, shape.cols));
  if (record.size_bytes != size) {
    return Fail(ErrorCode::kMalformed, "section \"directory\": {} has {} bytes instead of {}", name,
                uint64_t{record.size_bytes}, size);
  }
  return TensorInfo{role, record.layer, format, shape, record.offset, size};
}

}  // namespace

Result<std::vector<TensorInfo>> ReadDirectory(Bytes image, const Frame& frame,
                                              const model::Config& config, bool is_source) {
  const SectionInfo& directory =
      frame.sections[kFirstWeightSection + WeightSectionCount(config) + 1];
  const Bytes bytes = image.subspan(directory.offset, directory.size_bytes);
  const uint64_t count = model::kBlockLinears.size() * static_cast<uint64_t>(config.n_layers) +
                         (config.tied_embeddings ? 1 : 2);
  if (bytes.size() != count * sizeof(TensorRecord)) {
    return Fail(ErrorCode::kMalformed, "section \"directory\" has {} bytes instead of {}",
                bytes.size(), count * sizeof(TensorRecord));
  }
  std::vector<TensorInfo> tensors;
  for (size_t section = 0; section < WeightSectionCount(config); ++section) {
    const SectionInfo& place = frame.sections[kFirstWeightSection + section];
    const uint64_t place_end = place.offset + place.size_bytes;
    uint64_t end = place.offset;
    uint32_t seen = 0;  // bit r: role r stands in this section
    for (size_t matrix = 0; matrix < MatricesIn(config, section); ++matrix) {
      const auto record = LoadRecord<TensorRecord>(bytes, tensors.size() * sizeof(TensorRecord));
      ETCH_ASSIGN_OR_RETURN(const TensorInfo tensor, ReadTensor(record, config, is_source));
      const uint32_t bit = 1U << record.role;
      const uint64_t begin = AlignUp(end, kAlignment);
      if (WeightSectionOf(config, tensor.role, tensor.layer) != section || (seen & bit) != 0 ||
          tensor.offset != begin || begin > place_end || tensor.size_bytes > place_end - begin) {
        return Fail(ErrorCode::kMalformed,
                    "section \"directory\": {} at byte {} does not belong there, section \"{}\" "
                    "goes on at byte {}",
                    model::TensorName(tensor.role, tensor.layer), tensor.offset, place.name, begin);
      }
      seen |= bit;
      end = begin + tensor.size_bytes;
      tensors.push_back(tensor);
    }
    if (end != place_end) {
      return Fail(ErrorCode::kMalformed, "section \"{}\" has {} bytes after its last matrix",
                  place.name, place_end - end);
    }
  }
  return tensors;
}

}  // namespace etch::image
