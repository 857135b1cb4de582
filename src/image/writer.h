#pragma once

// Writes an image a tensor at a time; it appears under its name whole or not at all, and the same
// calls give the same bytes.

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "image/image.h"

namespace etch::image {

// Everything of an image but its matrices.
struct ImageHeader {
  std::string name;
  model::Config config;
  model::Vocabulary vocabulary;
  numerics::LevelTables levels = numerics::kDefaultLevels;
  // Index layer * 4 + site for the four sites of a layer, then one for the head. A source image may
  // leave them out.
  std::vector<numerics::ActivationFormat> input_formats;
  bool is_source = false;
};

class ImageWriter {
 public:
  // kInvalidArgument when the parts of `header` do not agree, or what model::Validate says.
  static Result<ImageWriter> Create(const std::filesystem::path& path, const ImageHeader& header);
  ImageWriter(ImageWriter&&) noexcept;
  ~ImageWriter();

  // Appends a matrix: numerics::WeightBytes(format, rows, cols) bytes. Every matrix of the model
  // once, in this order: the embedding, the seven of layer 0 (among themselves in any order), those
  // of layer 1 …, the head unless it is tied. The data goes to the file at once. kInvalidArgument,
  // and nothing written, for a matrix out of order, of another size, or of a format that the image
  // may not hold (W3, W6 and W4F; F32, F16 and BF16 in a source image).
  Status AddMatrix(model::Role role, int64_t layer, numerics::WeightFormat format,
                   std::span<const std::byte> data);
  // Adds the gains of a norm, as the model states them (they are converted here); at any time, in
  // any order.
  Status AddNorm(model::Role role, int64_t layer, std::span<const float> gains);

  // Completes the file and puts it in place; kInvalidArgument when a tensor is missing or a text is
  // longer than 16 MiB. A writer that is destroyed before leaves nothing behind.
  Status Finish(const std::string& provenance_json, const std::string& report_json);

 private:
  struct Impl;
  explicit ImageWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// One executable that is the model: a copy of `program` followed by the image at `image`, which is
// verified first. Image::Open finds it there. Either may carry an image already: a program's is
// left behind, an image's is taken.
Status WriteStandalone(const std::filesystem::path& program, const std::filesystem::path& image,
                       const std::filesystem::path& out);
// True when the file at `path` ends in an image but does not start with one.
bool HasAppendedImage(const std::filesystem::path& path);

}  // namespace etch::image
