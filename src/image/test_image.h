#pragma once

// Images for tests: random weights and a random vocabulary in any shape, and images taken apart and
// put together again with right checksums.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "image/writer.h"

namespace etch::image::test {

// Three layers in sizes that fill no tile and no group: dim 40, 6 heads of 8 over 2, ffn 172, a
// context of two rows of angles.
model::Config OddConfig(bool tied);
// The smallest image that there is room for: one layer, dim 8, tied.
model::Config SmallConfig();

model::Vocabulary RandomVocabulary(uint32_t seed, int64_t size);
ImageHeader RandomHeader(const model::Config& config, bool is_source);

// The format that RandomImage gives a matrix: W3, W6 and W4F (not in layer 0), or the three floats,
// by turns.
numerics::WeightFormat FormatFor(model::Role role, int64_t layer, bool is_source);
// Bytes of a matrix: valid row scales, random codes.
std::vector<std::byte> RandomMatrix(const model::Config& config, model::Role role, int64_t layer,
                                    bool is_source);
std::vector<float> RandomGains(const model::Config& config, model::Role role, int64_t layer);

// Adds everything that a model has, in order; stops at the first failure.
Status AddAll(ImageWriter& writer, const ImageHeader& header);
// The whole image at `path`. Aborts on failure.
void WriteRandomImage(const std::filesystem::path& path, const ImageHeader& header);
std::vector<std::byte> RandomImage(const model::Config& config, bool is_source = false);

std::vector<std::byte> ReadFile(const std::filesystem::path& path);
// The message with which `bytes` fails to open; empty when it opens.
std::string FailureOf(Bytes bytes);

// An image as named sections; Join() lays them out and seals them.
struct Parts {
  std::vector<std::pair<std::string, std::vector<std::byte>>> sections;

  static Parts Of(Bytes image);
  std::vector<std::byte>& operator[](std::string_view name);
  std::vector<std::byte> Join() const;
};

}  // namespace etch::image::test
