// GGUF adapters: round trips, scaling, types, every refusal.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "adapter/adapter.h"
#include "adapter/pairs.h"
#include "adapter/random_adapter_test.h"
#include "support/data.h"

namespace etch::adapter {
namespace {

using testing::ErrorOf;
using testing::ExpectSamePairs;
using testing::GgufFiles;
using ::testing::HasSubstr;
using testing::OneGgufPair;
using testing::RandomAdapter;
using testing::TinyConfig;

namespace fs = std::filesystem;

TEST(GgufLora, RoundTripIsExact) {
  const fs::path path = test::TemporaryFolder() / "mine.gguf";
  for (const int64_t rank : {1, 3, 16}) {
    const Adapter adapter = RandomAdapter(TinyConfig(), rank);
    ASSERT_TRUE(WriteGguf(adapter, TinyConfig(), path));
    const auto read = ReadAdapter(path, TinyConfig());
    ASSERT_TRUE(read) << read.error().message;
    ExpectSamePairs(adapter, *read);
    EXPECT_EQ(read->name, "mine");
    EXPECT_EQ(read->format, "GGUF");
    EXPECT_EQ(read->base_model, "a/base");
  }
}

TEST(GgufLora, PeftAndGgufCarryTheSamePairs) {
  const fs::path folder = test::TemporaryFolder();
  ASSERT_TRUE(WritePeft(RandomAdapter(TinyConfig(), 4), TinyConfig(), folder / "peft"));
  const auto peft = ReadAdapter(folder / "peft", TinyConfig());
  ASSERT_TRUE(peft);
  ASSERT_TRUE(WriteGguf(*peft, TinyConfig(), folder / "a.gguf"));
  const auto gguf = ReadAdapter(folder / "a.gguf", TinyConfig());
  ASSERT_TRUE(gguf);
  ExpectSamePairs(*peft, *gguf);
  ASSERT_TRUE(WritePeft(*gguf, TinyConfig(), folder / "again"));
  EXPECT_EQ(ReadSmallFile(folder / "peft" / "adapter_model.safetensors").value(),
            ReadSmallFile(folder / "again" / "adapter_model.safetensors").value());
}

TEST(GgufLora, DifferentScalingsAreFoldedIntoB) {
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  Adapter adapter = RandomAdapter(TinyConfig(), 4);
  adapter.pairs[2].scaling = 0.5;
  ASSERT_TRUE(WriteGguf(adapter, TinyConfig(), path));
  const auto read = ReadAdapter(path, TinyConfig());
  ASSERT_TRUE(read) << read.error().message;
  for (LoraPair& pair : adapter.pairs) {
    for (float& value : pair.b) {
      value *= static_cast<float>(pair.scaling);  // powers of two: exact
    }
    pair.scaling = 1.0;
  }
  ExpectSamePairs(adapter, *read);
}

// The format divides alpha by the rank whatever the trainer did: alpha comes out as sqrt(r)·16.
TEST(GgufLora, RankStabilisedScalingSurvives) {
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  Adapter adapter = RandomAdapter(TinyConfig(), 8);
  for (LoraPair& pair : adapter.pairs) {
    pair.scaling = 16.0 / std::sqrt(8.0);
  }
  ASSERT_TRUE(WriteGguf(adapter, TinyConfig(), path));
  const auto read = ReadAdapter(path, TinyConfig());
  ASSERT_TRUE(read);
  EXPECT_NEAR(read->pairs[0].scaling, 16.0 / std::sqrt(8.0), 1e-6);
  EXPECT_EQ(read->pairs[0].b, adapter.pairs[0].b);
}

TEST(GgufLora, AlphaZeroOrAbsentIsScaleOne) {
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  GgufFiles files = OneGgufPair();
  EXPECT_EQ(files.Read(path)->pairs[0].scaling, 2.0);
  files.keys["adapter.lora.alpha"] = formats::GgufFloat32(0.0F);
  EXPECT_EQ(files.Read(path)->pairs[0].scaling, 1.0);
  files.keys.erase("adapter.lora.alpha");
  EXPECT_EQ(files.Read(path)->pairs[0].scaling, 1.0);
}

// ggml drops the second dimension of a tensor that has one row.
TEST(GgufLora, RankOneMayComeWithoutItsDimension) {
  GgufFiles files;
  files.Add("blk.0.attn_v.weight.lora_a", {16});
  files.Add("blk.0.attn_v.weight.lora_b", {1, 4});
  const auto adapter = files.Read(test::TemporaryFolder() / "a.gguf");
  ASSERT_TRUE(adapter) << adapter.error().message;
  EXPECT_EQ(adapter->pairs[0].rank, 1);
}

TEST(GgufLora, EveryTypeIsRead) {
  using formats::DataType;
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  model::Config config = TinyConfig();
  config.dim = 32;
  for (const DataType type : {DataType::kF16, DataType::kBf16, DataType::kQ8_0}) {
    GgufFiles files;
    files.Add("blk.1.ffn_up.weight.lora_b", {2, 24});
    auto& a = files.tensors["blk.1.ffn_up.weight.lora_a"];
    a = {{32, 2}, type, {}};
    if (type == DataType::kQ8_0) {  // scale 0.5 (f16), codes 3
      for (int block = 0; block < 2; ++block) {
        a.data.push_back(std::byte{0x00});
        a.data.push_back(std::byte{0x38});
        a.data.insert(a.data.end(), 32, std::byte{3});
      }
    } else {
      a.data.resize(128);
      ASSERT_TRUE(formats::EncodeFloats(type, std::vector<float>(64, 1.5F), a.data));
    }
    files.Write(path);
    const auto adapter = ReadAdapter(path, config);
    ASSERT_TRUE(adapter) << adapter.error().message;
    EXPECT_EQ(adapter->pairs[0].a, std::vector<float>(64, 1.5F));
  }
}

TEST(GgufLora, RefusesWhatIsNoLlamaAdapter) {
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  const std::vector<std::tuple<std::string, std::string, std::string>> wrong = {
      {"general.type", "model", "this is a model, not an adapter"},
      {"general.architecture", "qwen2", "only adapters of the Llama family are supported"},
      {"adapter.type", "control_vector", "only LoRA adapters are supported"}};
  for (const auto& [key, value, message] : wrong) {
    GgufFiles files = OneGgufPair();
    files.keys[key] = formats::GgufString(value);
    EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr("unsupported: "));
    EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr(key + " is \"" + value + "\" instead of"));
    EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr(message));
    files.keys.erase(key);
    EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr("malformed: "));
    EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr(key + " is missing: " + message));
  }
  GgufFiles files = OneGgufPair();
  files.keys["adapter.alora.invocation_tokens"] = formats::GgufInt32s({5});
  EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr("activated LoRA (aLoRA) is not supported"));
  files = OneGgufPair();
  files.keys["adapter.lora.alpha"] = formats::GgufFloat32(std::numeric_limits<float>::infinity());
  EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr("adapter.lora.alpha is not a finite number"));
}

TEST(GgufLora, RefusesTensorsByName) {
  const std::vector<std::pair<std::string, std::string>> refused = {
      {"token_embd.weight.lora_a", "an adapter of the embedding is not supported"},
      {"output.weight.lora_b", "an adapter of the head is not supported"},
      {"blk.0.attn_norm.weight", "adapted norms are not supported"},
      {"output_norm.weight.lora_a", "adapted norms are not supported"},
      {"blk.0.attn_q.weight", "is no half of a LoRA pair"},
      {"blk.0.attn_q.lora_a", "is no half of a LoRA pair"},
      {"blk.0.attn_qkv.weight.lora_a", "no linear layer \"blk.0.attn_qkv\""},
      {"blk.01.attn_q.weight.lora_a", "no linear layer"},
      {"blk.attn_q.weight.lora_a", "no linear layer"},
      {"attn_q.weight.lora_a", "no linear layer"},
      {".weight.lora_a", "no linear layer"}};
  for (const auto& [name, message] : refused) {
    GgufFiles files = OneGgufPair();
    files.Add(name, {16, 2});
    const std::string error = ErrorOf(files.Read(test::TemporaryFolder() / "a.gguf"));
    EXPECT_THAT(error, HasSubstr("unsupported: "));
    EXPECT_THAT(error, HasSubstr("tensor \"" + name + "\""));
    EXPECT_THAT(error, HasSubstr(message));
  }
}

TEST(GgufLora, RefusesShapesAndHalves) {
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  GgufFiles files = OneGgufPair();
  files.Add("blk.0.attn_v.weight.lora_a", {16, 2, 1, 2});
  EXPECT_THAT(ErrorOf(files.Read(path)), HasSubstr("has 4 dimensions instead of 2"));
  files = OneGgufPair();
  files.tensors.erase("blk.0.attn_v.weight.lora_a");
  EXPECT_THAT(ErrorOf(files.Read(path)),
              HasSubstr("tensor \"blk.0.attn_v.weight.lora_b\" has no A beside it"));
  files = OneGgufPair();
  files.Add("blk.0.attn_v.weight.lora_b", {2, 12});
  EXPECT_THAT(ErrorOf(files.Read(path)),
              HasSubstr("mismatch: " + path.string() +
                        ": tensor \"blk.0.attn_v.weight.lora_b\" is (12, 2); blk.0.attn_v of this "
                        "model is (4, 16) and needs (4, 2)"));
}

TEST(GgufLora, TruncationAndMutationEndInOneError) {
  const fs::path path = test::TemporaryFolder() / "a.gguf";
  OneGgufPair().Write(path);
  const std::string file = ReadSmallFile(path).value();
  ASSERT_TRUE(internal::ParseGgufLora(AsBytes(file), "a.gguf", TinyConfig()));
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_FALSE(internal::ParseGgufLora(AsBytes(file.substr(0, size)), "a.gguf", TinyConfig()));
  }
  for (size_t at = 0; at < file.size(); ++at) {
    std::string changed = file;
    changed[at] = static_cast<char>(changed[at] ^ 0x55);
    const auto adapter = internal::ParseGgufLora(AsBytes(changed), "a.gguf", TinyConfig());
    EXPECT_TRUE(adapter || !adapter.error().message.empty());
  }
}

}  // namespace
}  // namespace etch::adapter
