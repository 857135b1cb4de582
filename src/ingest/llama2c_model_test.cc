#include "ingest/llama2c_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ingest/tiny_model_test.h"
#include "support/data.h"

namespace etch::ingest {
namespace {

using model::Role;
using ::testing::HasSubstr;
using testing::OpenError;

constexpr int kLegacy = 0;
constexpr int64_t kGroup = 4;

// Writes a model as export.py does.
class Exporter {
 public:
  Exporter(const SourceModel& source, int version)
      : config_(source.config()), weights_(testing::ReadWeights(source)), version_(version) {}

  std::string Export() {
    Header();
    const std::vector<Role> norms = {Role::kAttentionNorm, Role::kFfnNorm, Role::kFinalNorm};
    if (version_ == kLegacy) {
      Roles({Role::kTokenEmbedding, Role::kAttentionNorm, Role::kWq, Role::kWk, Role::kWv,
             Role::kWo, Role::kFfnNorm, Role::kGate, Role::kDown, Role::kUp, Role::kFinalNorm});
      const int64_t table = config_.context * config_.head_dim;
      writer_.WriteBytes(std::vector<std::byte>(static_cast<size_t>(table) * 4, std::byte{0xFF}));
    } else {
      Roles(norms);
      Roles({Role::kTokenEmbedding, Role::kWq, Role::kWk, Role::kWv, Role::kWo, Role::kGate,
             Role::kDown, Role::kUp});
    }
    if (!config_.tied_embeddings) {
      Roles({Role::kHead});
    }
    return std::string(AsText(writer_.bytes()));
  }

 private:
  void Header() {
    if (version_ != kLegacy) {
      writer_.Write(uint32_t{0x616B3432});
      writer_.Write(int32_t{version_});
    }
    const bool negative = version_ == kLegacy && !config_.tied_embeddings;
    for (const int64_t field :
         {config_.dim, config_.ffn_dim, config_.n_layers, config_.n_heads, config_.n_kv_heads,
          negative ? -config_.vocab_size : config_.vocab_size, config_.context}) {
      writer_.Write(static_cast<int32_t>(field));
    }
    if (version_ != kLegacy) {
      writer_.Write(static_cast<uint8_t>(config_.tied_embeddings ? 1 : 0));
      writer_.Write(static_cast<int32_t>(version_ == 2 ? kGroup : 0));
      writer_.PadTo(256);
    }
  }
  void Roles(const std::vector<Role>& roles) {
    for (const Role role : roles) {
      for (int64_t layer = 0; layer < (model::IsPerLayer(role) ? config_.n_layers : 1); ++layer) {
        const std::vector<float>& values = weights_.at({role, layer});
        if (version_ == 2 && !model::IsNorm(role)) {
          Quantized(values);
        } else {
          writer_.WriteBytes(std::as_bytes(std::span(values)));
        }
      }
    }
  }
  void Quantized(const std::vector<float>& values) {
    std::vector<float> scales;
    for (size_t start = 0; start < values.size(); start += kGroup) {
      float largest = 0.0F;
      for (size_t index = start; index < start + kGroup; ++index) {
        largest = std::max(largest, std::abs(values[index]));
      }
      scales.push_back(largest / 127.0F);
      for (size_t index = start; index < start + kGroup; ++index) {
        writer_.Write(static_cast<int8_t>(std::lround(values[index] / scales.back())));
      }
    }
    writer_.WriteBytes(std::as_bytes(std::span(scales)));
  }

  model::Config config_;
  testing::Weights weights_;
  int version_;
  ByteWriter writer_;
};

std::string TinyTokenizer() {
  ByteWriter writer;
  writer.Write(uint32_t{6});
  for (const std::string& text : testing::TinyTokens()) {
    writer.Write(0.0F);
    writer.WriteString32(text);
  }
  return std::string(AsText(writer.bytes()));
}

class Llama2cModel : public ::testing::Test {
 protected:
  Llama2cModel() { testing::WriteText(folder_ / "tok264.bin", TinyTokenizer()); }

  std::string ErrorOf(const std::string& text) {
    testing::WriteText(path_, text);
    return OpenError(path_);
  }
  template <class T>
  static std::string With(std::string text, size_t at, T value) {
    std::memcpy(text.data() + at, &value, sizeof value);
    return text;
  }

  std::filesystem::path folder_ = etch::test::TemporaryFolder();
  std::filesystem::path path_ = folder_ / "tiny.bin";
};

TEST_F(Llama2cModel, FloatVersionsGiveBackWhatWasWritten) {
  for (const bool tied : {false, true}) {
    const auto source = testing::TinyModel(tied);
    for (const int version : {kLegacy, 1}) {
      testing::WriteText(path_, Exporter(*source, version).Export());
      const auto opened = OpenModel(path_);
      ASSERT_TRUE(opened) << opened.error().message;
      EXPECT_EQ((*opened)->config(), source->config());
      EXPECT_EQ(testing::ReadWeights(**opened), testing::ReadWeights(*source));
      EXPECT_EQ((*opened)->format(), version == 1 ? "llama2.c v1" : "llama2.c legacy");
      EXPECT_EQ((*opened)->name(), "tiny");
      EXPECT_EQ((*opened)->files()[1].name, "tok264.bin");
      EXPECT_EQ((*opened)->vocabulary().tokens.size(), 264U);
    }
  }
}

TEST_F(Llama2cModel, QuantizedVersionIsCloseByHalfAStep) {
  for (const bool tied : {false, true}) {
    const auto source = testing::TinyModel(tied);
    testing::WriteText(path_, Exporter(*source, 2).Export());
    const auto opened = OpenModel(path_);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ((*opened)->config(), source->config());
    EXPECT_EQ((*opened)->Tensors()[0].format, "Q80/4");
    EXPECT_EQ((*opened)->Tensors()[0].size_bytes, 264U * 8U * 2U);
    const testing::Weights expected = testing::ReadWeights(*source);
    for (const auto& [key, values] : testing::ReadWeights(**opened)) {
      const std::vector<float>& wanted = expected.at(key);
      for (size_t start = 0; start < values.size(); start += kGroup) {
        float largest = 0.0F;
        for (size_t index = start; index < start + kGroup; ++index) {
          largest = std::max(largest, std::abs(wanted[index]));
        }
        for (size_t index = start; index < start + kGroup; ++index) {
          EXPECT_NEAR(values[index], wanted[index], largest / 127.0F * 0.5001F);
        }
      }
    }
  }
}

TEST_F(Llama2cModel, RefusesSizesThatDoNotAgree) {
  const auto source = testing::TinyModel();
  for (const int version : {kLegacy, 1, 2}) {
    const std::string text = Exporter(*source, version).Export();
    EXPECT_EQ(ErrorOf(text), "");
    EXPECT_EQ(ErrorOf(text + "x"),
              fmt::format("tiny.bin: its header needs {} bytes, the file has {}", text.size(),
                          text.size() + 1));
    for (size_t size = 0; size < text.size(); size += 1 + text.size() / 200) {
      EXPECT_NE(ErrorOf(text.substr(0, size)), "") << size;
    }
    EXPECT_THAT(ErrorOf(text.substr(0, text.size() - 1)),
                HasSubstr("tiny.bin: tensor \"output\" needs"));
  }
}

TEST_F(Llama2cModel, RefusesHeadersThatLie) {
  const std::string text = Exporter(*testing::TinyModel(), 2).Export();
  EXPECT_EQ(ErrorOf(With(text, 4, int32_t{3})),
            "tiny.bin: llama2.c version 3 is not supported; supported are legacy, 1 and 2");
  EXPECT_EQ(ErrorOf(With(text, 8, int32_t{-8})),
            "tiny.bin: config: dim is -8, supported are 2 to 16384");
  EXPECT_EQ(ErrorOf(With(text, 36, uint8_t{2})),
            "tiny.bin: byte 36, whether the head is tied, is 2");
  EXPECT_EQ(ErrorOf(With(text, 37, int32_t{0})), "tiny.bin: group size 0 at byte 37");
  EXPECT_EQ(ErrorOf(With(text, 37, int32_t{7})),
            "tiny.bin: tensor \"token_embd\": 2112 values are no whole groups of 7");
  EXPECT_THAT(ErrorOf(text.substr(0, 255)), HasSubstr("tiny.bin: header needs 256 bytes"));
  EXPECT_THAT(ErrorOf(With(text, 16, int32_t{200})), HasSubstr("tiny.bin: tensor"));
}

TEST_F(Llama2cModel, RefusesNanByPlace) {
  const std::string text = Exporter(*testing::TinyModel(), kLegacy).Export();
  testing::WriteText(path_, With(text, 28 + 4 * 12, std::numeric_limits<float>::infinity()));
  std::vector<float> out(264 * 8);
  EXPECT_EQ(OpenModel(path_)->get()->Read(Role::kTokenEmbedding, 0, out).error().message,
            "tiny.bin: tensor \"token_embd\" at byte 28: row 1, column 4 is infinite");
}

TEST_F(Llama2cModel, FindsItsTokenizer) {
  testing::WriteText(path_, Exporter(*testing::TinyModel(), 1).Export());
  EXPECT_EQ(OpenError(path_), "");
  std::filesystem::rename(folder_ / "tok264.bin", folder_ / "tokenizer.bin");
  EXPECT_EQ(OpenError(path_), "");
  std::filesystem::rename(folder_ / "tokenizer.bin", folder_ / "other");
  EXPECT_EQ(OpenError(path_),
            "tiny.bin: no tok264.bin, tokenizer.bin or tokenizer.model beside it; name the "
            "tokenizer's file");
  EXPECT_EQ(OpenError(path_, folder_ / "other"), "");
  testing::WriteText(folder_ / "other", TinyTokenizer().substr(0, 100));
  EXPECT_THAT(OpenError(path_, folder_ / "other"), HasSubstr("other: "));
  testing::WriteText(folder_ / "other", testing::SentencePieceModel(testing::TinySentencePieces()));
  EXPECT_EQ(OpenError(path_, folder_ / "other"), "");
}

}  // namespace
}  // namespace etch::ingest
