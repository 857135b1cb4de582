#include "image/section_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "image/layout.h"
#include "image/test_image.h"

namespace etch::image {
namespace {

using numerics::ActivationFormat;

template <class T>
std::string FailureOf(const Result<T>& result) {
  return result ? "" : result.error().message;
}

template <class T>
void StoreAt(std::vector<std::byte>& bytes, size_t offset, T value) {
  std::ranges::copy(BytesOf(value), bytes.begin() + static_cast<std::ptrdiff_t>(offset));
}

ConfigSection OddSection() {
  const ImageHeader header = test::RandomHeader(test::OddConfig(false), true);
  return {header.name, header.config, header.input_formats, header.is_source};
}

TEST(ConfigCodec, DecodesWhatItEncodes) {
  ConfigSection section = OddSection();
  section.config.architecture = "mistral";
  section.config.rope_scaling = {model::RopeScaling::Kind::kLinear, 2.5, 1.5, 3.5, 77.0};
  const Result<ConfigSection> decoded = DecodeConfig(EncodeConfig(section));
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(decoded->config, section.config);
  EXPECT_EQ(decoded->name, section.name);
  EXPECT_EQ(decoded->input_formats, section.input_formats);
  EXPECT_TRUE(decoded->is_source);
}

TEST(ConfigCodec, FindsEveryTruncationAndWhatFollows) {
  std::vector<std::byte> bytes = EncodeConfig(OddSection());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_NE(FailureOf(DecodeConfig(Bytes(bytes).first(size))).find("section \"config\""),
              std::string::npos)
        << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_NE(FailureOf(DecodeConfig(bytes)).find("\"config\" has"), std::string::npos);
}

TEST(ConfigCodec, NamesTheFieldThatIsWrong) {
  const std::vector<std::byte> good = EncodeConfig(OddSection());
  const auto failure = [&](size_t offset, auto value) {
    std::vector<std::byte> bytes = good;
    StoreAt(bytes, offset, value);
    return FailureOf(DecodeConfig(bytes));
  };
  const auto fails_with = [&](std::string_view words, size_t offset, auto value) {
    const std::string message = failure(offset, value);
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  fails_with("dim is", offsetof(ConfigRecord, dim), int64_t{1} << 40);
  fails_with("n_layers is", offsetof(ConfigRecord, n_layers), INT64_MAX);
  fails_with("n_layers is", offsetof(ConfigRecord, n_layers), int64_t{-1});
  fails_with("norm_eps", offsetof(ConfigRecord, norm_eps),
             std::numeric_limits<double>::quiet_NaN());
  fails_with("RoPE scaling 3", offsetof(ConfigRecord, rope_kind), uint8_t{3});
  fails_with("tied 2", offsetof(ConfigRecord, tied_embeddings), uint8_t{2});
  fails_with("source 255", offsetof(ConfigRecord, is_source), uint8_t{255});
  fails_with("what follows", offsetof(ConfigRecord, zero), uint8_t{1});
  fails_with("input format 2 is not known", sizeof(ConfigRecord) + 12, uint8_t{2});
  fails_with("ends at byte", sizeof(ConfigRecord) + 13, UINT32_MAX);
  ConfigSection section = OddSection();
  section.name.assign(4097, 'x');
  EXPECT_NE(FailureOf(DecodeConfig(EncodeConfig(section))).find("a name of 4097 bytes"),
            std::string::npos);
}

TEST(TablesCodec, ChecksTheBoundsOfTheContract) {
  const TablesSection section = {numerics::BuildFunctionTables(), numerics::kDefaultLevels};
  const std::vector<std::byte> good = EncodeTables(section);
  const Result<TablesSection> decoded = DecodeTables(good);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(decoded->functions, section.functions);
  EXPECT_EQ(decoded->levels, section.levels);

  std::vector<std::byte> bytes = good;
  StoreAt(bytes, 0, int32_t{INT32_MAX});
  EXPECT_NE(FailureOf(DecodeTables(bytes)).find("exp2 table"), std::string::npos);
  bytes = good;
  StoreAt(bytes, 65 * 4 + 40, int32_t{-1});
  EXPECT_NE(FailureOf(DecodeTables(bytes)).find("sigmoid table"), std::string::npos);
  bytes = good;
  StoreAt(bytes, (65 + 513) * 4, int32_t{INT32_MAX});
  EXPECT_NE(FailureOf(DecodeTables(bytes)).find("square root table"), std::string::npos);
  bytes = good;
  bytes.back() = std::byte{0x80};
  EXPECT_NE(FailureOf(DecodeTables(bytes)).find("W3 level -128"), std::string::npos);
  bytes.pop_back();
  EXPECT_EQ(FailureOf(DecodeTables(bytes)), "section \"tables\" has 3095 bytes instead of 3096");
}

TEST(RopeCodec, ChecksSizeAndEntries) {
  const model::Config config = test::OddConfig(true);
  const numerics::RopeTables tables = numerics::BuildRopeTables(config);
  const std::vector<std::byte> good = EncodeRope(tables);
  const Result<numerics::RopeTables> decoded = DecodeRope(good, config);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  EXPECT_EQ(decoded->high, tables.high);
  EXPECT_EQ(decoded->low, tables.low);
  EXPECT_EQ(decoded->pairs, 4);

  std::vector<std::byte> bytes = good;
  StoreAt(bytes, 12, int32_t{(1 << 30) + 1});
  EXPECT_NE(FailureOf(DecodeRope(bytes, config)).find("\"rope\": entry 1"), std::string::npos);
  bytes = good;
  StoreAt(bytes, 16, int32_t{INT32_MIN});
  EXPECT_NE(FailureOf(DecodeRope(bytes, config)).find("\"rope\": entry 2"), std::string::npos);
  StoreAt(bytes, 16, int32_t{-(1 << 30)});
  EXPECT_TRUE(DecodeRope(bytes, config).has_value());
  bytes.pop_back();
  EXPECT_NE(FailureOf(DecodeRope(bytes, config)).find("\"rope\" has"), std::string::npos);
}

TEST(NormsCodec, ChecksSizeAndGains) {
  const model::Config config = test::SmallConfig();
  std::vector<NormGains> norms(3);
  for (size_t index = 0; index < norms.size(); ++index) {
    norms[index].stated.assign(8, 1.5F + static_cast<float>(index));
    norms[index].integer.assign(8, {static_cast<int16_t>(INT16_MIN + index), -128});
    norms[index].integer[3].exponent = 127;
  }
  const std::vector<std::byte> good = EncodeNorms(norms);
  const Result<std::vector<NormGains>> decoded = DecodeNorms(good, config, false);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().message;
  for (size_t index = 0; index < norms.size(); ++index) {
    EXPECT_EQ((*decoded)[index].stated, norms[index].stated);
    EXPECT_EQ((*decoded)[index].integer, norms[index].integer);
  }
  EXPECT_EQ(FailureOf(DecodeNorms(good, config, true)),
            "section \"norms\" has 168 bytes instead of 96");
  std::vector<std::byte> bytes = good;
  StoreAt(bytes, 56 + 8, std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(FailureOf(DecodeNorms(bytes, config, false)),
            "section \"norms\": gain 2 of norm 1 is not finite");
}

}  // namespace
}  // namespace etch::image
