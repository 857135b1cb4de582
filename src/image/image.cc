// Opening an image: map it, verify it from the outside in (verify.cc), decode the small sections
// into memory, and leave the matrices where they are. What is decoded is a few megabytes for the
// largest model; the weights are read straight from the mapping, whose pages every process that
// runs the image shares.

#include "image/image.h"

#include <optional>

#include "image/layout.h"
#include "image/section_codec.h"
#include "image/verify.h"
#include "image/vocabulary_codec.h"
#include "numerics/attention.h"
#include "numerics/norm.h"

namespace etch::image {

using model::Role;

struct Image::Impl {
  std::optional<MappedFile> file;  // none when someone else owns the bytes
  std::filesystem::path path;
  Bytes bytes;
  Frame frame;
  ConfigSection model;
  model::Vocabulary vocabulary;
  TablesSection tables;
  numerics::RopeTables rope;
  std::vector<NormGains> norms;
  std::vector<TensorInfo> tensors;
  std::vector<size_t> tensor_index;  // by role * n_layers + layer, into `tensors`
  std::string provenance_json;
  std::string report_json;
  uint64_t norm_epsilon = 0;
  numerics::Scale16 score_scale;

  Bytes Section(size_t index) const {
    return bytes.subspan(frame.sections[index].offset, frame.sections[index].size_bytes);
  }
  size_t Slot(Role role, int64_t layer) const {
    return static_cast<size_t>(static_cast<int64_t>(role) * model.config.n_layers + layer);
  }
  Status Decode();
};

Status Image::Impl::Decode() {
  if (frame.sections.empty() || frame.sections.front().name != "config") {
    return Fail(ErrorCode::kMalformed, "the first section is not \"config\"");
  }
  ETCH_ASSIGN_OR_RETURN(model, DecodeConfig(Section(0)));
  const model::Config& config = model.config;
  ETCH_TRY(VerifySectionNames(frame, config));
  ETCH_ASSIGN_OR_RETURN(vocabulary, DecodeVocabulary(Section(1), config.vocab_size));
  vocabulary.chat_template = AsText(Section(2));
  ETCH_ASSIGN_OR_RETURN(tables, DecodeTables(Section(3)));
  ETCH_ASSIGN_OR_RETURN(rope, DecodeRope(Section(4), config));
  const size_t after_weights = kFirstWeightSection + WeightSectionCount(config);
  ETCH_ASSIGN_OR_RETURN(norms, DecodeNorms(Section(after_weights), config, model.is_source));
  ETCH_ASSIGN_OR_RETURN(tensors, ReadDirectory(bytes, frame, config, model.is_source));
  for (const size_t section : {after_weights + 2, after_weights + 3}) {
    if (frame.sections[section].size_bytes > kMaxJson) {
      return Fail(ErrorCode::kMalformed, "section \"{}\" has {} bytes, at most {} are read",
                  frame.sections[section].name, frame.sections[section].size_bytes, kMaxJson);
    }
  }
  provenance_json = AsText(Section(after_weights + 2));
  report_json = AsText(Section(after_weights + 3));
  tensor_index.resize(static_cast<size_t>(model::kRoleCount * config.n_layers));
  for (size_t index = 0; index < tensors.size(); ++index) {
    tensor_index[Slot(tensors[index].role, tensors[index].layer)] = index;
  }
  norm_epsilon = numerics::NormEpsilon(config.norm_eps, config.dim);
  score_scale = numerics::ScoreScale(config.head_dim);
  return {};
}

Result<Image> Image::FromBytes(Bytes bytes, int threads) {
  auto impl = std::make_unique<Impl>();
  impl->bytes = bytes;
  ETCH_ASSIGN_OR_RETURN(impl->frame, ReadFrame(bytes));
  ETCH_TRY(VerifyContent(bytes, impl->frame, threads));
  ETCH_TRY(impl->Decode());
  return Image(std::move(impl));
}

Result<Image> Image::Open(const std::filesystem::path& path, int threads) {
  ETCH_ASSIGN_OR_RETURN(MappedFile file, MappedFile::Open(path));
  Bytes bytes = file.bytes();
  if (!StartsWithMagic(bytes)) {
    const Bytes appended = FindAppendedImage(bytes);
    bytes = appended.empty() ? bytes : appended;
  }
  Result<Image> image = FromBytes(bytes, threads);
  if (!image) {
    return Prefix(path.string(), image.error());
  }
  image->impl_->file = std::move(file);
  image->impl_->path = path;
  return image;
}

Image::Image(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Image::Image(Image&&) noexcept = default;
Image& Image::operator=(Image&&) noexcept = default;
Image::~Image() = default;

const model::Config& Image::config() const { return impl_->model.config; }
const model::Vocabulary& Image::vocabulary() const { return impl_->vocabulary; }
const std::string& Image::name() const { return impl_->model.name; }
const std::string& Image::provenance_json() const { return impl_->provenance_json; }
const std::string& Image::report_json() const { return impl_->report_json; }
bool Image::is_source() const { return impl_->model.is_source; }

numerics::WeightView Image::Weights(Role role, int64_t layer) const {
  ETCH_DCHECK(!model::IsNorm(role) && layer >= 0 && layer < impl_->model.config.n_layers);
  if (role == Role::kHead && impl_->model.config.tied_embeddings) {
    role = Role::kTokenEmbedding;
  }
  const int64_t row = model::IsPerLayer(role) ? layer : 0;
  const TensorInfo& tensor = impl_->tensors[impl_->tensor_index[impl_->Slot(role, row)]];
  return {tensor.format, tensor.shape.rows, tensor.shape.cols, impl_->bytes.data() + tensor.offset,
          &impl_->tables.levels};
}

std::span<const numerics::Gain16> Image::Gains(Role role, int64_t layer) const {
  return impl_->norms[NormIndex(impl_->model.config, role, layer)].integer;
}

std::span<const float> Image::FloatGains(Role role, int64_t layer) const {
  return impl_->norms[NormIndex(impl_->model.config, role, layer)].stated;
}

uint64_t Image::norm_epsilon() const { return impl_->norm_epsilon; }
numerics::Scale16 Image::score_scale() const { return impl_->score_scale; }

numerics::ActivationFormat Image::InputFormat(model::InputSite site, int64_t layer) const {
  const bool is_head = site == model::InputSite::kHead;
  const int64_t block = is_head ? impl_->model.config.n_layers : layer;
  const int64_t index = block * model::kLayerSites + (is_head ? 0 : static_cast<int64_t>(site));
  return impl_->model.input_formats[static_cast<size_t>(index)];
}

const numerics::FunctionTables& Image::tables() const { return impl_->tables.functions; }
const numerics::LevelTables& Image::levels() const { return impl_->tables.levels; }
std::span<const numerics::Rotation> Image::rope_high() const { return impl_->rope.high; }
std::span<const numerics::Rotation> Image::rope_low() const { return impl_->rope.low; }
const std::vector<TensorInfo>& Image::tensors() const { return impl_->tensors; }
const std::vector<SectionInfo>& Image::sections() const { return impl_->frame.sections; }
uint64_t Image::size_bytes() const { return impl_->bytes.size(); }
uint64_t Image::fingerprint() const { return impl_->frame.fingerprint; }
const std::filesystem::path& Image::path() const { return impl_->path; }

}  // namespace etch::image
