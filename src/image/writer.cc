// The writer streams: what is known at the start (config, vocabulary, tables) is appended at once,
// matrices go to the file as they come, and the rest follows at the end. Only the header and the
// section table, whose size the config fixes, are written a second time: they are zeros until
// Finish() fills them in, so a file that was cut short cannot pass for an image.
//
// Matrices come section by section. Buffering would allow any order at the price of the largest
// layer's memory; placing sections ahead of time is not possible, because a section's size depends
// on the formats that the compiler chooses along the way.

#include "image/writer.h"

#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "image/layout.h"
#include "image/section_codec.h"
#include "image/verify.h"
#include "image/vocabulary_codec.h"
#include "numerics/norm.h"

namespace etch::image {

using model::Role;
using numerics::WeightFormat;

namespace {

struct FreeHash {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

constexpr std::array<std::byte, kPage> kZeros{};

// A whole image at the start or the end of `bytes`.
Bytes FindImage(Bytes bytes) { return StartsWithMagic(bytes) ? bytes : FindAppendedImage(bytes); }

}  // namespace

struct ImageWriter::Impl {
  Impl(AtomicFile out, const ImageHeader& header)
      : file(std::move(out)),
        config(header.config),
        is_source(header.is_source),
        names(SectionNames(header.config)),
        norms(NormCount(header.config)),
        hash(XXH3_createState()) {
    XXH3_64bits_reset(hash.get());
  }

  AtomicFile file;
  model::Config config;
  bool is_source = false;
  std::vector<std::string> names;
  std::vector<SectionRecord> sections;  // those that are complete
  std::vector<TensorRecord> directory;
  std::vector<NormGains> norms;
  // The weight section under way.
  size_t weight_section = 0;
  std::vector<Role> roles;
  uint64_t section_begin = 0;
  std::unique_ptr<XXH3_state_t, FreeHash> hash;

  Status PadTo(uint64_t alignment) {
    const uint64_t padding = AlignUp(file.size(), alignment) - file.size();
    return file.Append(Bytes(kZeros).first(padding));
  }
  // Appends to the section under way.
  Status Append(Bytes bytes) {
    ETCH_TRY(file.Append(bytes));
    XXH3_64bits_update(hash.get(), bytes.data(), bytes.size());
    return {};
  }
  Status BeginSection() {
    ETCH_TRY(PadTo(SectionAlignment(names[sections.size()])));
    section_begin = file.size();
    return {};
  }
  void EndSection() {
    SectionRecord record;
    std::ranges::copy(names[sections.size()], record.name.begin());
    record.offset = section_begin;
    record.size_bytes = file.size() - section_begin;
    record.xxh3 = XXH3_64bits_digest(hash.get());
    XXH3_64bits_reset(hash.get());
    sections.push_back(record);
  }
  Status AddSection(Bytes bytes) {
    ETCH_TRY(BeginSection());
    ETCH_TRY(Append(bytes));
    EndSection();
    return {};
  }
  Status CheckMatrix(Role role, int64_t layer, WeightFormat format, size_t size_bytes) const;
  Status CheckComplete() const;
  Status WriteFrame();
};

Status ImageWriter::Impl::CheckMatrix(Role role, int64_t layer, WeightFormat format,
                                      size_t size_bytes) const {
  const int64_t layers = model::IsPerLayer(role) ? config.n_layers : 1;
  if (model::IsNorm(role) || layer < 0 || layer >= layers ||
      (role == Role::kHead && config.tied_embeddings)) {
    return Fail(ErrorCode::kInvalidArgument, "{} is not a matrix of the model",
                model::TensorName(role, layer));
  }
  const std::string name = model::TensorName(role, layer);
  if (!IsStored(format, is_source)) {
    return Fail(ErrorCode::kInvalidArgument, "{}: a{} image does not hold format {}", name,
                is_source ? " source" : "n integer", numerics::FormatName(format));
  }
  const model::Shape shape = model::TensorShape(config, role);
  const auto expected = static_cast<size_t>(numerics::WeightBytes(format, shape.rows, shape.cols));
  if (size_bytes != expected) {
    return Fail(ErrorCode::kInvalidArgument, "{}: {} bytes instead of {}", name, size_bytes,
                expected);
  }
  const size_t place = WeightSectionOf(config, role, layer);
  if (place > weight_section) {
    return Fail(ErrorCode::kInvalidArgument, "{} came before section \"{}\" was complete", name,
                names[kFirstWeightSection + weight_section]);
  }
  if (place < weight_section || std::ranges::find(roles, role) != roles.end()) {
    return Fail(ErrorCode::kInvalidArgument, "{} was added before", name);
  }
  return {};
}

Status ImageWriter::Impl::CheckComplete() const {
  for (size_t section = weight_section; section < WeightSectionCount(config); ++section) {
    for (int number = 0; number < model::kRoleCount; ++number) {
      const Role role = static_cast<Role>(number);
      const auto layer = model::IsPerLayer(role) ? static_cast<int64_t>(section) - 1 : 0;
      if (!model::IsNorm(role) && layer >= 0 && layer < config.n_layers &&
          WeightSectionOf(config, role, layer) == section &&
          std::ranges::find(roles, role) == roles.end()) {
        return Fail(ErrorCode::kInvalidArgument, "{} is missing", model::TensorName(role, layer));
      }
    }
  }
  for (int number = 0; number < model::kRoleCount; ++number) {
    const Role role = static_cast<Role>(number);
    const int64_t layers = !model::IsNorm(role) ? 0 : model::IsPerLayer(role) ? config.n_layers : 1;
    for (int64_t layer = 0; layer < layers; ++layer) {
      if (norms[NormIndex(config, role, layer)].stated.empty()) {
        return Fail(ErrorCode::kInvalidArgument, "{} is missing", model::TensorName(role, layer));
      }
    }
  }
  return {};
}

Status ImageWriter::Impl::WriteFrame() {
  const Bytes table = std::as_bytes(std::span(sections));
  HeaderRecord header;
  std::ranges::copy(kMagic, header.magic.begin());
  header.format_version = kFormatVersion;
  header.contract_version = kContractVersion;
  header.size_bytes = file.size();
  header.section_count = static_cast<uint32_t>(sections.size());
  header.fingerprint = Hash(table);
  header.checksum = Hash(BytesOf(header).first(offsetof(HeaderRecord, checksum)));
  ETCH_TRY(file.WriteAt(sizeof header, table));
  return file.WriteAt(0, BytesOf(header));
}

ImageWriter::ImageWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ImageWriter::ImageWriter(ImageWriter&&) noexcept = default;
ImageWriter::~ImageWriter() = default;

Result<ImageWriter> ImageWriter::Create(const std::filesystem::path& path,
                                        const ImageHeader& header) {
  ETCH_TRY(model::Validate(header.config));
  ETCH_TRY(numerics::Validate(header.levels));
  ETCH_TRY(ValidateVocabulary(header.vocabulary, header.config.vocab_size));
  ConfigSection config = {header.name, header.config, header.input_formats, header.is_source};
  if (header.is_source && config.input_formats.empty()) {
    config.input_formats.resize(InputFormatCount(header.config));
  }
  if (config.input_formats.size() != InputFormatCount(header.config)) {
    return Fail(ErrorCode::kInvalidArgument, "{} input formats for {} inputs of linear layers",
                config.input_formats.size(), InputFormatCount(header.config));
  }
  if (std::max(header.name.size(), header.config.architecture.size()) > kMaxNameBytes) {
    return Fail(ErrorCode::kInvalidArgument, "a model's name is at most {} bytes", kMaxNameBytes);
  }
  ETCH_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  auto impl = std::make_unique<Impl>(std::move(file), header);
  const std::vector<std::byte> frame(sizeof(HeaderRecord) +
                                     impl->names.size() * sizeof(SectionRecord));
  ETCH_TRY(impl->file.Append(frame));
  ETCH_TRY(impl->AddSection(EncodeConfig(config)));
  ETCH_TRY(impl->AddSection(EncodeVocabulary(header.vocabulary)));
  ETCH_TRY(impl->AddSection(AsBytes(header.vocabulary.chat_template)));
  ETCH_TRY(impl->AddSection(EncodeTables({numerics::BuildFunctionTables(), header.levels})));
  ETCH_TRY(impl->AddSection(EncodeRope(numerics::BuildRopeTables(header.config))));
  return ImageWriter(std::move(impl));
}

Status ImageWriter::AddMatrix(Role role, int64_t layer, WeightFormat format,
                              std::span<const std::byte> data) {
  Impl& impl = *impl_;
  ETCH_TRY(impl.CheckMatrix(role, layer, format, data.size()));
  if (impl.roles.empty()) {
    ETCH_TRY(impl.BeginSection());
  }
  const uint64_t padding = AlignUp(impl.file.size(), kAlignment) - impl.file.size();
  ETCH_TRY(impl.Append(Bytes(kZeros).first(padding)));
  const uint64_t offset = impl.file.size();
  ETCH_TRY(impl.Append(data));
  const model::Shape shape = model::TensorShape(impl.config, role);
  TensorRecord record;
  record.role = static_cast<uint8_t>(role);
  record.format = static_cast<uint8_t>(format);
  record.layer = static_cast<uint32_t>(layer);
  record.rows = static_cast<uint32_t>(shape.rows);
  record.cols = static_cast<uint32_t>(shape.cols);
  record.offset = offset;
  record.size_bytes = data.size();
  impl.directory.push_back(record);
  impl.roles.push_back(role);
  if (impl.roles.size() == MatricesIn(impl.config, impl.weight_section)) {
    impl.EndSection();
    impl.roles.clear();
    ++impl.weight_section;
  }
  return {};
}

Status ImageWriter::AddNorm(Role role, int64_t layer, std::span<const float> gains) {
  Impl& impl = *impl_;
  const std::string name = model::TensorName(role, layer);
  const int64_t layers = model::IsPerLayer(role) ? impl.config.n_layers : 1;
  if (!model::IsNorm(role) || layer < 0 || layer >= layers) {
    return Fail(ErrorCode::kInvalidArgument, "{} is not a norm of the model", name);
  }
  if (static_cast<int64_t>(gains.size()) != impl.config.dim) {
    return Fail(ErrorCode::kInvalidArgument, "{}: {} gains instead of {}", name, gains.size(),
                impl.config.dim);
  }
  NormGains& norm = impl.norms[NormIndex(impl.config, role, layer)];
  if (!norm.stated.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "{} was added before", name);
  }
  if (!std::ranges::all_of(gains, [](float gain) { return std::isfinite(gain); })) {
    return Fail(ErrorCode::kInvalidArgument, "{}: a gain is not finite", name);
  }
  norm.stated.assign(gains.begin(), gains.end());
  if (!impl.is_source) {
    for (const float gain : gains) {
      norm.integer.push_back(numerics::NormGain(static_cast<double>(gain), impl.config.dim));
    }
  }
  return {};
}

Status ImageWriter::Finish(const std::string& provenance_json, const std::string& report_json) {
  Impl& impl = *impl_;
  ETCH_TRY(impl.CheckComplete());
  if (std::max(provenance_json.size(), report_json.size()) > kMaxJson) {
    return Fail(ErrorCode::kInvalidArgument, "provenance and report are at most {} bytes each",
                kMaxJson);
  }
  ETCH_TRY(impl.AddSection(EncodeNorms(impl.norms)));
  ETCH_TRY(impl.AddSection(std::as_bytes(std::span(impl.directory))));
  ETCH_TRY(impl.AddSection(AsBytes(provenance_json)));
  ETCH_TRY(impl.AddSection(AsBytes(report_json)));
  ETCH_TRY(impl.WriteFrame());
  return impl.file.Commit();
}

Status WriteStandalone(const std::filesystem::path& program, const std::filesystem::path& image,
                       const std::filesystem::path& out) {
  constexpr int kExecutable = 0755;
  ETCH_ASSIGN_OR_RETURN(const MappedFile program_file, MappedFile::Open(program));
  ETCH_ASSIGN_OR_RETURN(const MappedFile image_file, MappedFile::Open(image));
  const Bytes content = FindImage(image_file.bytes());
  if (const Result<Image> valid = Image::FromBytes(content, 0); !valid) {
    return Prefix(image.string(), valid.error());
  }
  // A program that is a model itself leaves its own image behind.
  Bytes code = program_file.bytes();
  if (const Bytes own = FindAppendedImage(code); !own.empty()) {
    code = code.first(static_cast<size_t>(own.data() - code.data()));
  }
  ETCH_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(out));
  ETCH_TRY(file.Append(code));
  ETCH_TRY(file.Append(Bytes(kZeros).first(AlignUp(file.size(), kPage) - file.size())));
  TrailerRecord trailer;
  std::ranges::copy(kTrailerMagic, trailer.magic.begin());
  trailer.offset = file.size();
  trailer.size_bytes = content.size();
  trailer.checksum = Hash(BytesOf(trailer).first(offsetof(TrailerRecord, checksum)));
  ETCH_TRY(file.Append(content));
  ETCH_TRY(file.Append(BytesOf(trailer)));
  return file.Commit(kExecutable);
}

bool HasAppendedImage(const std::filesystem::path& path) {
  const Result<MappedFile> file = MappedFile::Open(path);
  return file && !StartsWithMagic(file->bytes()) && !FindAppendedImage(file->bytes()).empty();
}

}  // namespace etch::image
