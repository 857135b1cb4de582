// PEFT directories: round trips, row order, arithmetic of the config, every refusal.

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
using ::testing::HasSubstr;
using testing::kModule;
using testing::OnePair;
using testing::PeftFiles;
using testing::RandomAdapter;
using testing::TinyConfig;

namespace fs = std::filesystem;

TEST(Peft, RoundTripIsExact) {
  const fs::path folder = test::TemporaryFolder() / "mine";
  const Adapter adapter = RandomAdapter(TinyConfig(), 5);
  ASSERT_TRUE(WritePeft(adapter, TinyConfig(), folder));
  const auto read = ReadAdapter(folder, TinyConfig());
  ASSERT_TRUE(read) << read.error().message;
  ExpectSamePairs(adapter, *read);
  EXPECT_EQ(read->name, "mine");
  EXPECT_EQ(read->format, "PEFT");
  EXPECT_EQ(read->base_model, "a/base");
}

TEST(Peft, RoundTripKeepsMixedRanksAndScalings) {
  const fs::path folder = test::TemporaryFolder() / "mixed";
  Adapter adapter = RandomAdapter(TinyConfig(), 4);
  adapter.base_model = "";
  adapter.pairs[1] = testing::RandomPair(TinyConfig(), model::Role::kWk, 0, 7, 99);
  adapter.pairs[1].scaling = 32.0 / 7.0;
  adapter.pairs[8].scaling = 16.0 / std::sqrt(4.0) + 1.0 / 3.0;
  adapter.pairs[9].scaling = 0.0;
  adapter.pairs.erase(adapter.pairs.begin() + 4);
  ASSERT_TRUE(WritePeft(adapter, TinyConfig(), folder));
  const auto read = ReadAdapter(folder, TinyConfig());
  ASSERT_TRUE(read) << read.error().message;
  ExpectSamePairs(adapter, *read);
  const auto config = nlohmann::json::parse(ReadSmallFile(folder / "adapter_config.json").value());
  EXPECT_EQ(config["r"], 4);
  EXPECT_EQ(config["lora_alpha"].dump(), "8");
  EXPECT_EQ(config["rank_pattern"], (nlohmann::json{{"model.layers.0.self_attn.k_proj", 7}}));
  EXPECT_EQ(config["alpha_pattern"].size(), 3);
  EXPECT_EQ(config["alpha_pattern"]["model.layers.0.self_attn.k_proj"].dump(), "32");
  EXPECT_TRUE(config["base_model_name_or_path"].is_null());
}

TEST(Peft, SameAdapterGivesSameBytes) {
  const fs::path folder = test::TemporaryFolder();
  for (const char* name : {"one", "two"}) {
    ASSERT_TRUE(WritePeft(RandomAdapter(TinyConfig(), 3), TinyConfig(), folder / name));
  }
  for (const char* file : {"adapter_config.json", "adapter_model.safetensors"}) {
    EXPECT_EQ(ReadSmallFile(folder / "one" / file).value(),
              ReadSmallFile(folder / "two" / file).value());
  }
}

// Head size 4: Hugging Face's rows 0 1 2 3 of a head are Etch's 0 2 1 3.
TEST(Peft, RowsOfBOfQueryAndKeyMove) {
  PeftFiles files;
  files.config["r"] = 1;
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const std::string module = std::string("base_model.model.model.layers.0.self_attn.") + name;
    files.AddPair(module, 1, name[0] == 'q' ? 12 : 4, 16);
  }
  const auto adapter = files.Read(test::TemporaryFolder() / "a");
  ASSERT_TRUE(adapter) << adapter.error().message;
  ASSERT_EQ(adapter->pairs.size(), 3);
  EXPECT_EQ(adapter->pairs[0].b, (std::vector<float>{1, 3, 2, 4, 5, 7, 6, 8, 9, 11, 10, 12}));
  EXPECT_EQ(adapter->pairs[1].b, (std::vector<float>{1, 3, 2, 4}));
  EXPECT_EQ(adapter->pairs[2].b, (std::vector<float>{1, 2, 3, 4}));
  for (const LoraPair& pair : adapter->pairs) {
    EXPECT_EQ(pair.a.front(), 1.0F);
    EXPECT_EQ(pair.a.back(), 16.0F);
  }
}

// A merge W + s·B·A in Hugging Face's order, its rows then moved, is the merge in Etch's order.
TEST(Peft, MergingCommutesWithTheRowOrder) {
  const model::Config config = TinyConfig();
  const LoraPair etch = testing::RandomPair(config, model::Role::kWq, 0, 3, 5);
  LoraPair theirs = etch;
  theirs.b = internal::ReorderRows(etch, config.head_dim, /*to_etch=*/false);
  EXPECT_NE(theirs.b, etch.b);
  std::mt19937 random(3);
  const std::vector<float> w = testing::RandomValues(random, etch.rows * etch.cols, 1.0F);
  const auto merged = [&](const LoraPair& pair, int64_t row, int64_t base_row, int64_t col) {
    double sum = static_cast<double>(w[static_cast<size_t>(base_row * pair.cols + col)]);
    for (int64_t rank = 0; rank < pair.rank; ++rank) {
      sum += pair.scaling *
             static_cast<double>(pair.b[static_cast<size_t>(row * pair.rank + rank)]) *
             static_cast<double>(pair.a[static_cast<size_t>(rank * pair.cols + col)]);
    }
    return sum;
  };
  for (int64_t row = 0; row < etch.rows; ++row) {  // a row of the tensor in Hugging Face's order
    for (int64_t col = 0; col < etch.cols; ++col) {
      EXPECT_EQ(merged(theirs, row, row, col),
                merged(etch, model::InterleavedRow(row, config.head_dim), row, col));
    }
  }
}

TEST(Peft, NamesMayLackTheirPrefixes) {
  for (const char* prefix : {"base_model.model.model.", "base_model.model.", "model.", ""}) {
    PeftFiles files;
    files.config["rank_pattern"] = {{"layers.1.mlp.up_proj", 3}};
    files.config["alpha_pattern"] = {{"up_proj", 12}};
    files.AddPair(std::string(prefix) + "layers.1.mlp.up_proj", 3, 24, 16);
    const auto adapter = files.Read(test::TemporaryFolder() / "a");
    ASSERT_TRUE(adapter) << adapter.error().message;
    EXPECT_EQ(adapter->pairs[0].role, model::Role::kUp);
    EXPECT_EQ(adapter->pairs[0].layer, 1);
    EXPECT_EQ(adapter->pairs[0].scaling, 4.0);
  }
}

TEST(Peft, ScalingFollowsTheConfig) {
  PeftFiles files = OnePair();
  files.AddPair("base_model.model.model.layers.1.self_attn.v_proj", 4, 4, 16);
  files.config["lora_alpha"] = 6;
  files.config["rank_pattern"] = {{R"(layers\.1\..*)", 4}};
  files.config["alpha_pattern"] = {{"layers.1.self_attn.v_proj", 10}};
  auto adapter = files.Read(test::TemporaryFolder() / "a");
  ASSERT_TRUE(adapter) << adapter.error().message;
  EXPECT_EQ(adapter->pairs[0].scaling, 3.0);
  EXPECT_EQ(adapter->pairs[1].scaling, 2.5);
  files.config["use_rslora"] = true;
  adapter = files.Read(test::TemporaryFolder() / "a");
  EXPECT_EQ(adapter->pairs[0].scaling, 6.0 / std::sqrt(2.0));
  EXPECT_EQ(adapter->pairs[1].scaling, 5.0);
}

TEST(Peft, HalfPrecisionIsRead) {
  for (const auto type : {formats::DataType::kF16, formats::DataType::kBf16}) {
    PeftFiles files;
    files.Add(std::string(kModule) + ".lora_A.weight", {2, 16}, 1.0F, type);
    files.Add(std::string(kModule) + ".lora_B.weight", {4, 2}, 1.0F, type);
    const auto adapter = files.Read(test::TemporaryFolder() / "a");
    ASSERT_TRUE(adapter) << adapter.error().message;
    EXPECT_EQ(adapter->pairs[0].a[31], 32.0F);
  }
}

TEST(Peft, RefusesTensorsByName) {
  const std::string base = "base_model.model.";
  const std::vector<std::tuple<std::string, std::vector<int64_t>, std::string>> refused = {
      {std::string(kModule) + ".lora_magnitude_vector", {4}, "DoRA is not supported"},
      {base + "model.embed_tokens.lora_embedding_A", {2, 32}, "an adapter of the embedding"},
      {std::string(kModule) + ".lora_B.bias", {4}, "lora_bias is not supported"},
      {base + "lm_head.weight", {32, 16}, "full weights (modules_to_save) are not supported"},
      {base + "model.norm.weight", {16}, "full weights (modules_to_save) are not supported"},
      {base + "lm_head.lora_A.weight", {2, 16}, "an adapter of the head (lm_head)"},
      {base + "model.embed_tokens.lora_A.weight", {2, 16}, "of the embedding (embed_tokens)"},
      {"model.layers.0.self_attn.v_proj.lora_a", {16, 2}, "named as MLX does"},
      {base + "model.layers.0.self_attn.qkv_proj.lora_A.weight",
       {2, 16},
       "no linear layer \"model.layers.0.self_attn.qkv_proj\""},
      {base + "model.layers.00.self_attn.q_proj.lora_A.weight", {2, 16}, "no linear layer"},
      {base + "model.layers.-1.self_attn.q_proj.lora_A.weight", {2, 16}, "no linear layer"},
      {base + "model.layers.9999.self_attn.q_proj.lora_A.weight", {2, 16}, "no linear layer"},
      {".lora_A.weight", {2, 16}, "no linear layer \"\""}};
  for (const auto& [name, shape, message] : refused) {
    PeftFiles files = OnePair();
    files.Add(name, shape);
    const std::string error = ErrorOf(files.Read(test::TemporaryFolder() / "a"));
    EXPECT_THAT(error, HasSubstr("unsupported: "));
    EXPECT_THAT(error, HasSubstr("tensor \"" + name + "\""));
    EXPECT_THAT(error, HasSubstr(message));
  }
}

TEST(Peft, RefusesPairsThatDoNotBelongTogether) {
  const fs::path folder = test::TemporaryFolder() / "a";
  const std::string a = std::string(kModule) + ".lora_A.weight";
  const std::string b = std::string(kModule) + ".lora_B.weight";
  const auto error = [&folder](const PeftFiles& files) { return ErrorOf(files.Read(folder)); };
  PeftFiles files = OnePair();
  files.tensors.erase(b);
  EXPECT_THAT(error(files), HasSubstr("malformed: "));
  EXPECT_THAT(error(files), HasSubstr("tensor \"" + a + "\" has no B beside it"));
  files = OnePair();
  files.tensors.erase(a);
  EXPECT_THAT(error(files), HasSubstr("tensor \"" + b + "\" has no A beside it"));
  files = OnePair();
  files.Add("model.layers.0.self_attn.v_proj.lora_A.weight", {2, 16});
  EXPECT_THAT(error(files), HasSubstr("are both A of blk.0.attn_v"));
  files = OnePair();
  files.Add(b, {4, 3});
  EXPECT_THAT(error(files), HasSubstr("tensor \"" + b + "\" is (4, 3), but \"" + a +
                                      "\" has rank 2: it must be (4, 2)"));
  files = OnePair();
  files.config["r"] = 16;
  EXPECT_THAT(error(files),
              HasSubstr("tensor \"" + a + "\" has rank 2, adapter_config.json says 16"));
  files = OnePair();
  files.Add(a, {2, 4, 4});
  EXPECT_THAT(error(files), HasSubstr("tensor \"" + a + "\" has 3 dimensions instead of 2"));
  files = OnePair();
  files.tensors.clear();
  EXPECT_THAT(error(files), HasSubstr("holds no LoRA tensors"));
  files = PeftFiles();
  files.AddPair(kModule, 4097, 4, 16);
  EXPECT_THAT(error(files), HasSubstr("has rank 4097; 1 to 4096 are supported"));
}

TEST(Peft, RefusesValuesThatAreNotFinite) {
  PeftFiles files = OnePair();
  const std::string a = std::string(kModule) + ".lora_A.weight";
  files.tensors[a].values[17] = std::numeric_limits<float>::quiet_NaN();
  const fs::path folder = test::TemporaryFolder() / "a";
  EXPECT_THAT(ErrorOf(files.Read(folder)),
              HasSubstr("tensor \"" + a + "\" holds a NaN in row 1, column 1"));
  files.tensors[a].values[17] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(ErrorOf(files.Read(folder)), HasSubstr("holds an infinity in row 1, column 1"));
}

TEST(Peft, RefusesTypesThatAreNoAdapters) {
  const std::string config = R"({"peft_type": "LORA", "r": 1})";
  const std::string name = "model.layers.0.self_attn.v_proj.lora_";
  std::string header = "{\"" + name + R"(A.weight":{"dtype":"I8","shape":[1,16],)" +
                       R"("data_offsets":[0,16]},")" + name +
                       R"(B.weight":{"dtype":"I8","shape":[4,1],"data_offsets":[16,20]}})";
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  ASSERT_LT(header.size(), 256);
  file += header + std::string(20, '\0');
  EXPECT_THAT(ErrorOf(internal::ParsePeft(config, AsBytes(file), TinyConfig())),
              HasSubstr("is of type I8; adapters are read as F32, F16, BF16 or Q8_0"));
}

TEST(Peft, RefusesFoldersWithoutSafetensors) {
  const fs::path folder = test::TemporaryFolder();
  const std::string config = R"({"peft_type": "LORA"})";
  EXPECT_THAT(ErrorOf(ReadAdapter(folder, TinyConfig())), HasSubstr("not_found: "));
  testing::WriteText(folder / "adapter_config.json", config);
  EXPECT_THAT(ErrorOf(ReadAdapter(folder, TinyConfig())),
              HasSubstr("holds no adapter_model.safetensors"));
  testing::WriteText(folder / "adapters.safetensors", "x");
  EXPECT_THAT(ErrorOf(ReadAdapter(folder, TinyConfig())),
              HasSubstr("adapters.safetensors is an MLX adapter"));
  testing::WriteText(folder / "adapter_model.bin", "PK");
  EXPECT_THAT(ErrorOf(ReadAdapter(folder, TinyConfig())),
              HasSubstr("adapter_model.bin is a pickle, which can run code"));
}

TEST(Peft, WritingReplacesOnlyAnAdapter) {
  const fs::path parent = test::TemporaryFolder();
  const fs::path folder = parent / "a";
  ASSERT_TRUE(WritePeft(RandomAdapter(TinyConfig(), 2), TinyConfig(), folder));
  const Adapter second = RandomAdapter(TinyConfig(), 3, 50);
  ASSERT_TRUE(WritePeft(second, TinyConfig(), folder / ""));
  ExpectSamePairs(second, ReadAdapter(folder, TinyConfig()).value());
  testing::WriteText(folder / "README.md", "mine");
  EXPECT_THAT(ErrorOf(WritePeft(second, TinyConfig(), folder)),
              HasSubstr("holds \"README.md\", which would be lost"));
  EXPECT_TRUE(fs::exists(folder / "README.md"));
  testing::WriteText(parent / "file", "mine");
  EXPECT_THAT(ErrorOf(WritePeft(second, TinyConfig(), parent / "file")),
              HasSubstr("exists and is not a directory"));
  EXPECT_THAT(ErrorOf(WritePeft(second, TinyConfig(), parent / "none" / "a")),
              HasSubstr("cannot create: "));
  const auto count = std::distance(fs::directory_iterator(parent), fs::directory_iterator());
  EXPECT_EQ(count, 2) << "a temporary folder stayed behind";
}

// Any prefix of a good file, and any flipped byte of its header, ends in an error or an adapter.
TEST(Peft, TruncationAndMutationEndInOneError) {
  const fs::path folder = test::TemporaryFolder() / "a";
  OnePair().Write(folder);
  const std::string config = ReadSmallFile(folder / "adapter_config.json").value();
  const std::string tensors = ReadSmallFile(folder / "adapter_model.safetensors").value();
  ASSERT_TRUE(internal::ParsePeft(config, AsBytes(tensors), TinyConfig()));
  for (size_t size = 0; size < tensors.size(); ++size) {
    EXPECT_FALSE(internal::ParsePeft(config, AsBytes(tensors.substr(0, size)), TinyConfig()));
  }
  for (size_t size = 0; size < config.size(); ++size) {
    EXPECT_FALSE(internal::ParsePeft(config.substr(0, size), AsBytes(tensors), TinyConfig()));
  }
  for (size_t at = 0; at < tensors.size(); ++at) {
    std::string changed = tensors;
    changed[at] = static_cast<char>(changed[at] ^ 0x55);
    const auto adapter = internal::ParsePeft(config, AsBytes(changed), TinyConfig());
    EXPECT_TRUE(adapter || !adapter.error().message.empty());
  }
}

}  // namespace
}  // namespace etch::adapter
