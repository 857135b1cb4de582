#include "image/test_image.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <random>

#include "image/layout.h"
#include "image/reseal.h"
#include "support/data.h"

namespace etch::image::test {

using model::Role;
using numerics::WeightFormat;

namespace {

uint32_t SeedOf(Role role, int64_t layer) {
  return static_cast<uint32_t>(role) + 100 * static_cast<uint32_t>(layer + 1);
}

// std::mt19937 is the same everywhere; the distributions of <random> are not.
int64_t Draw(std::mt19937& random, int64_t below) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(below));
}

std::string RandomText(std::mt19937& random, int64_t longest) {
  std::string text(static_cast<size_t>(Draw(random, longest + 1)), ' ');
  for (char& letter : text) {
    letter = static_cast<char>(Draw(random, 256));
  }
  return text;
}

}  // namespace

model::Config OddConfig(bool tied) {
  const model::RopeScaling scaling = {model::RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 64.0};
  return {"llama", 40, 172, 3, 6, 2, 8, 77, 300, 1e-5, 500000.0, scaling, tied};
}

model::Config SmallConfig() { return {"llama", 8, 8, 1, 2, 1, 2, 9, 16, 1e-5, 10000.0, {}, true}; }

model::Vocabulary RandomVocabulary(uint32_t seed, int64_t size) {
  std::mt19937 random(seed);
  const auto flip = [&] { return Draw(random, 2) == 1; };
  const auto id = [&] { return static_cast<model::TokenId>(Draw(random, size)); };
  model::Vocabulary vocabulary;
  vocabulary.kind = static_cast<model::TokenizerKind>(1 + Draw(random, 2));
  vocabulary.order = static_cast<model::MergeOrder>(1 + Draw(random, 2));
  vocabulary.ranks_are_ids = flip();
  vocabulary.ignore_merges = flip();
  vocabulary.split_digits = flip();
  vocabulary.add_prefix_space = flip();
  vocabulary.prefix_space_first_only = flip();
  vocabulary.remove_extra_spaces = flip();
  vocabulary.byte_fallback = flip();
  vocabulary.add_bos = flip();
  vocabulary.add_eos = flip();
  vocabulary.prefix_space_unless_space = flip();
  for (int64_t index = 0; index < size; ++index) {
    model::Token token;
    token.text = RandomText(random, 12);
    token.score = static_cast<float>(Draw(random, 1000)) / -8.0F;
    token.type = static_cast<model::TokenType>(1 + Draw(random, 6));
    token.lstrip = flip();
    token.rstrip = flip();
    vocabulary.tokens.push_back(token);
  }
  for (int64_t index = 0; index < size / 2; ++index) {
    vocabulary.merges.push_back({id(), id(), id()});
  }
  vocabulary.split_patterns = {R"(\p{L}+)", "", RandomText(random, 40)};
  vocabulary.bos = id();
  vocabulary.eos = id();
  vocabulary.unknown = flip() ? id() : model::kNoToken;
  vocabulary.end_of_generation = {id(), id(), id()};
  std::ranges::sort(vocabulary.end_of_generation);
  vocabulary.chat_template = "{% for message in messages %}{{ message.content }}{% endfor %}";
  return vocabulary;
}

ImageHeader RandomHeader(const model::Config& config, bool is_source) {
  ImageHeader header;
  header.name = "Random-1";
  header.config = config;
  header.vocabulary = RandomVocabulary(7, std::min<int64_t>(config.vocab_size, 60));
  header.levels.levels[0][0] = -30;
  header.is_source = is_source;
  for (int64_t index = 0; index <= config.n_layers * model::kLayerSites; ++index) {
    header.input_formats.push_back(index % 3 == 1 ? numerics::ActivationFormat::kA16
                                                  : numerics::ActivationFormat::kA8);
  }
  return header;
}

WeightFormat FormatFor(Role role, int64_t layer, bool is_source) {
  const int64_t turn = static_cast<int64_t>(role) + layer;
  if (is_source) {
    return turn % 3 == 0   ? WeightFormat::kF32
           : turn % 3 == 1 ? WeightFormat::kF16
                           : WeightFormat::kBF16;
  }
  // The golden images of version 1 have one layer, and none of the younger format.
  if (layer > 0 && turn % 3 == 0) {
    return WeightFormat::kW4F;
  }
  return turn % 2 == 0 ? WeightFormat::kW6 : WeightFormat::kW3;
}

std::vector<std::byte> RandomMatrix(const model::Config& config, Role role, int64_t layer,
                                    bool is_source) {
  const model::Shape shape = model::TensorShape(config, role);
  const WeightFormat format = FormatFor(role, layer, is_source);
  std::mt19937 random(SeedOf(role, layer));
  std::vector<std::byte> data(
      static_cast<size_t>(numerics::WeightBytes(format, shape.rows, shape.cols)));
  for (std::byte& value : data) {
    value = static_cast<std::byte>(random());
  }
  if (numerics::IsTiled(format)) {
    const auto tile_bytes = static_cast<size_t>(numerics::TileBytes(format, shape.cols));
    for (int64_t tile = 0; tile < numerics::TileCount(shape.rows); ++tile) {
      const auto bytes =
          std::span(data).subspan(static_cast<size_t>(tile) * tile_bytes, tile_bytes);
      std::ranges::fill(bytes.first(numerics::kTileHeaderBytes), std::byte{0});
      for (int64_t row = 0; row < std::min(numerics::kTileRows, shape.rows - 16 * tile); ++row) {
        numerics::PackRowScale(bytes, row,
                               numerics::ToScale16(0.001 * static_cast<double>(row + 1)));
      }
    }
  }
  return data;
}

std::vector<float> RandomGains(const model::Config& config, Role role, int64_t layer) {
  std::mt19937 random(SeedOf(role, layer));
  std::vector<float> gains(static_cast<size_t>(config.dim));
  for (float& gain : gains) {
    gain = static_cast<float>(Draw(random, 2001) - 1000) / 500.0F;
  }
  return gains;
}

Status AddAll(ImageWriter& writer, const ImageHeader& header) {
  const model::Config& config = header.config;
  const auto add = [&](Role role, int64_t layer) {
    return writer.AddMatrix(role, layer, FormatFor(role, layer, header.is_source),
                            RandomMatrix(config, role, layer, header.is_source));
  };
  const auto add_norm = [&](Role role, int64_t layer) {
    return writer.AddNorm(role, layer, RandomGains(config, role, layer));
  };
  ETCH_TRY(add_norm(Role::kFinalNorm, 0));
  ETCH_TRY(add(Role::kTokenEmbedding, 0));
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    ETCH_TRY(add_norm(Role::kAttentionNorm, layer));
    ETCH_TRY(add_norm(Role::kFfnNorm, layer));
    for (const Role role : model::kBlockLinears) {
      ETCH_TRY(add(role, layer));
    }
  }
  return config.tied_embeddings ? Status() : add(Role::kHead, 0);
}

void WriteRandomImage(const std::filesystem::path& path, const ImageHeader& header) {
  Result<ImageWriter> writer = ImageWriter::Create(path, header);
  ETCH_CHECK(writer.has_value(), "{}", writer.error().message);
  Status status = AddAll(*writer, header);
  ETCH_CHECK(status.has_value(), "{}", status.error().message);
  status = writer->Finish(R"({"source":"random"})", R"({"tensors":[]})");
  ETCH_CHECK(status.has_value(), "{}", status.error().message);
}

std::vector<std::byte> RandomImage(const model::Config& config, bool is_source) {
  const std::filesystem::path path = etch::test::TemporaryFolder() / "random.etch";
  WriteRandomImage(path, RandomHeader(config, is_source));
  return ReadFile(path);
}

std::vector<std::byte> ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const Bytes bytes = AsBytes(text);
  return {bytes.begin(), bytes.end()};
}

std::string FailureOf(Bytes bytes) {
  const Result<Image> image = Image::FromBytes(bytes);
  return image ? "" : image.error().message;
}

Parts Parts::Of(Bytes image) {
  Parts parts;
  const auto header = LoadRecord<HeaderRecord>(image, 0);
  for (uint32_t index = 0; index < header.section_count; ++index) {
    const auto record =
        LoadRecord<SectionRecord>(image, sizeof header + index * sizeof(SectionRecord));
    const Bytes content = image.subspan(record.offset, record.size_bytes);
    parts.sections.emplace_back(record.name.data(),
                                std::vector<std::byte>(content.begin(), content.end()));
  }
  return parts;
}

std::vector<std::byte>& Parts::operator[](std::string_view name) {
  const auto found =
      std::ranges::find_if(sections, [&](const auto& section) { return section.first == name; });
  ETCH_CHECK(found != sections.end(), "no section {}", name);
  return found->second;
}

std::vector<std::byte> Parts::Join() const {
  std::vector<std::byte> image(sizeof(HeaderRecord) + sections.size() * sizeof(SectionRecord));
  std::vector<SectionRecord> table;
  for (const auto& [name, content] : sections) {
    image.resize(AlignUp(image.size(), SectionAlignment(name)));
    SectionRecord record;
    std::ranges::copy(name, record.name.begin());
    record.offset = image.size();
    record.size_bytes = content.size();
    table.push_back(record);
    image.insert(image.end(), content.begin(), content.end());
  }
  HeaderRecord header;
  std::ranges::copy(kMagic, header.magic.begin());
  header.format_version = kFormatVersion;
  header.contract_version = kContractVersion;
  header.size_bytes = image.size();
  header.section_count = static_cast<uint32_t>(table.size());
  std::ranges::copy(BytesOf(header), image.begin());
  std::ranges::copy(std::as_bytes(std::span(table)), image.begin() + sizeof header);
  Reseal(image);
  return image;
}

}  // namespace etch::image::test
