#include "image/layout.h"

#include <xxhash.h>

#include <algorithm>

namespace etch::image {

using model::Role;

std::vector<std::string> SectionNames(const model::Config& config) {
  std::vector<std::string> names = {"config", "vocabulary", "template", "tables", "rope"};
  ETCH_DCHECK(names.size() == kFirstWeightSection);
  names.emplace_back("weights/embedding");
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    names.push_back(fmt::format("weights/blk.{}", layer));
  }
  if (!config.tied_embeddings) {
    names.emplace_back("weights/head");
  }
  names.insert(names.end(), {"norms", "directory", "provenance", "report"});
  return names;
}

uint64_t SectionAlignment(std::string_view name) {
  return name.starts_with("weights/") ? kPage : kAlignment;
}

size_t WeightSectionCount(const model::Config& config) {
  return static_cast<size_t>(config.n_layers) + (config.tied_embeddings ? 1 : 2);
}

size_t WeightSectionOf(const model::Config& config, Role role, int64_t layer) {
  return role == Role::kTokenEmbedding ? 0
         : role == Role::kHead         ? static_cast<size_t>(config.n_layers) + 1
                                       : static_cast<size_t>(layer) + 1;
}

size_t MatricesIn(const model::Config& config, size_t weight_section) {
  const bool is_layer =
      weight_section >= 1 && weight_section <= static_cast<size_t>(config.n_layers);
  return is_layer ? model::kBlockLinears.size() : 1;
}

size_t NormCount(const model::Config& config) {
  return static_cast<size_t>(config.n_layers) * 2 + 1;
}

size_t NormIndex(const model::Config& config, Role role, int64_t layer) {
  ETCH_DCHECK(model::IsNorm(role));
  return role == Role::kFinalNorm ? static_cast<size_t>(config.n_layers) * 2
                                  : static_cast<size_t>(layer) * 2 + (role == Role::kFfnNorm);
}

uint64_t Hash(Bytes bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

bool StartsWithMagic(Bytes bytes) { return AsText(bytes).starts_with(kMagic); }

Bytes FindAppendedImage(Bytes bytes) {
  if (bytes.size() < sizeof(TrailerRecord)) {
    return {};
  }
  const uint64_t end = bytes.size() - sizeof(TrailerRecord);
  const auto trailer = LoadRecord<TrailerRecord>(bytes, end);
  const uint64_t offset = trailer.offset;
  const bool valid =
      std::ranges::equal(trailer.magic, kTrailerMagic) &&
      trailer.checksum == Hash(bytes.subspan(end, offsetof(TrailerRecord, checksum))) &&
      offset % kPage == 0 && offset <= end && trailer.size_bytes == end - offset;
  return valid ? bytes.subspan(offset, end - offset) : Bytes();
}

}  // namespace etch::image
