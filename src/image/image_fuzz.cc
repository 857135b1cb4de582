// An image from a hostile author: the bytes as they are, then with every checksum made right, so
// that the fuzzer gets past them. What opens must be safe to read to the last byte.

#include <cstdint>
#include <vector>

#include "image/image.h"
#include "image/reseal.h"

namespace {

using namespace etch;

// Reads everything that inference would.
void ReadAll(const image::Image& image) {
  const model::Config& config = image.config();
  std::vector<float> row;
  for (const image::TensorInfo& tensor : image.tensors()) {
    const numerics::WeightView view = image.Weights(tensor.role, tensor.layer);
    row.resize(static_cast<size_t>(view.cols));
    numerics::DequantizeRow(view, 0, row);
    numerics::DequantizeRow(view, view.rows - 1, row);
  }
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    const auto dim = static_cast<size_t>(config.dim);
    ETCH_CHECK(image.FloatGains(model::Role::kFfnNorm, layer).size() == dim);
    ETCH_CHECK(image.Gains(model::Role::kAttentionNorm, layer).size() ==
               (image.is_source() ? 0 : dim));
    image.InputFormat(model::InputSite::kDown, layer);
  }
  image.InputFormat(model::InputSite::kHead, 0);
  const auto pairs = static_cast<size_t>(config.head_dim / 2);
  ETCH_CHECK(image.rope_low().size() == static_cast<size_t>(numerics::kAngleStride) * pairs);
  ETCH_CHECK(static_cast<int64_t>(image.vocabulary().tokens.size()) <= config.vocab_size);
  for (const model::Merge& merge : image.vocabulary().merges) {
    ETCH_CHECK(static_cast<size_t>(merge.result) < image.vocabulary().tokens.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Bytes input = std::as_bytes(std::span(data, size));
  if (const auto image = image::Image::FromBytes(input)) {
    ReadAll(*image);
  }
  std::vector<std::byte> resealed(input.begin(), input.end());
  image::Reseal(resealed);
  if (const auto image = image::Image::FromBytes(resealed)) {
    ReadAll(*image);
  }
  return 0;
}
