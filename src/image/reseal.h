#pragma once

// Makes the checksums of a changed image right again, for tests and the fuzz target: what a hostile
// author would do.

#include <algorithm>
#include <span>

#include "image/layout.h"

namespace etch::image {

// Sections that lie outside of `image` keep their checksum. Nothing happens to bytes that are
// shorter than a header and its section table.
inline void Reseal(std::span<std::byte> image) {
  if (image.size() < sizeof(HeaderRecord)) {
    return;
  }
  auto header = LoadRecord<HeaderRecord>(image, 0);
  const uint64_t table_bytes = uint64_t{header.section_count} * sizeof(SectionRecord);
  if (table_bytes > image.size() - sizeof header) {
    return;
  }
  const auto store = [&](uint64_t offset, Bytes record) {
    std::ranges::copy(record, image.begin() + static_cast<std::ptrdiff_t>(offset));
  };
  const uint64_t table_end = sizeof header + table_bytes;
  for (uint64_t at = sizeof header; at < table_end; at += sizeof(SectionRecord)) {
    auto record = LoadRecord<SectionRecord>(image, at);
    const Result<Bytes> content = CheckedRange(image, record.offset, record.size_bytes, "");
    if (content) {
      record.xxh3 = Hash(*content);
      store(at, BytesOf(record));
    }
  }
  header.fingerprint = Hash(image.subspan(sizeof header, table_bytes));
  header.checksum = Hash(BytesOf(header).first(offsetof(HeaderRecord, checksum)));
  store(0, BytesOf(header));
}

}  // namespace etch::image
