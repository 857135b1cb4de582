#include "adapter/adapter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "adapter/random_adapter_test.h"
#include "support/data.h"

namespace etch::adapter {
namespace {

using model::PresetConfig;
using testing::ErrorOf;
using ::testing::HasSubstr;
using testing::RandomAdapter;
using testing::TinyConfig;

namespace fs = std::filesystem;

TEST(Adapter, MedicalAdapterLoadsOnItsBase) {
  ETCH_DATA_OR_SKIP(folder, "lora/smollm135m-medical-100ep");
  const auto config = PresetConfig("smollm-135m").value();
  const auto adapter = ReadAdapter(folder, config);
  ASSERT_TRUE(adapter) << adapter.error().message;
  EXPECT_EQ(adapter->name, "smollm135m-medical-100ep");
  EXPECT_EQ(adapter->base_model, "HuggingFaceTB/SmolLM-135M-Instruct");
  ASSERT_EQ(adapter->pairs.size(), 60);
  for (const LoraPair& pair : adapter->pairs) {
    EXPECT_EQ(pair.rank, 16);
    EXPECT_EQ(pair.scaling, 2.0);
  }
  const auto weights = LoadAdapter(folder, config);
  ASSERT_TRUE(weights) << weights.error().message;
  EXPECT_EQ((*weights)->Linear(29, model::Role::kWv).rank, 16);
  EXPECT_EQ((*weights)->Linear(29, model::Role::kWo).rank, 0);
}

TEST(Adapter, MedicalAdapterIsRefusedOnAnotherModel) {
  ETCH_DATA_OR_SKIP(folder, "lora/smollm135m-medical-100ep");
  const auto error = ErrorOf(ReadAdapter(folder, PresetConfig("stories260k").value()));
  EXPECT_EQ(error, "mismatch: " + folder.string() +
                       ": tensor \"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight\""
                       " is (16, 576); blk.0.attn_q of this model is (64, 64) and needs (16, 64)");
}

TEST(Adapter, ForeignSamplesAreRefused) {
  ETCH_DATA_OR_SKIP(qwen, "lora/qwen2.5-3b-law-r4");
  const auto config = PresetConfig("smollm-135m").value();
  EXPECT_THAT(ErrorOf(ReadAdapter(qwen, config)),
              HasSubstr("layers.0.self_attn.q_proj.lora_A.weight\" is (4, 2048); blk.0.attn_q of "
                        "this model is (576, 576) and needs (4, 576)"));
  ETCH_DATA_OR_SKIP(mlx, "lora/mlx-qwen2.5-0.5b-r8");
  EXPECT_THAT(ErrorOf(ReadAdapter(mlx, config)), HasSubstr("unsupported: "));
  EXPECT_THAT(ErrorOf(ReadAdapter(mlx, config)), HasSubstr("this is an MLX adapter"));
}

TEST(Adapter, ValidateForNamesTheFirstMisfitByLayerAndRole) {
  Adapter adapter = RandomAdapter(TinyConfig(), 2);
  EXPECT_TRUE(ValidateFor(adapter, TinyConfig()));
  adapter.pairs[9].cols = 8;   // v of layer 1
  adapter.pairs[6].rows = 20;  // down of layer 0
  EXPECT_EQ(ErrorOf(ValidateFor(adapter, TinyConfig())),
            "mismatch: tensor \"blk.0.ffn_down.lora_b\" is (20, 2); blk.0.ffn_down of this model "
            "is (16, 24) and needs (16, 2)");
  adapter = RandomAdapter(TinyConfig(), 2);
  model::Config shallow = TinyConfig();
  shallow.n_layers = 1;
  EXPECT_EQ(ErrorOf(ValidateFor(adapter, shallow)),
            "mismatch: tensor \"blk.1.attn_q.lora_a\" is for layer 1; the model has 1 layers");
  adapter.pairs[0].role = model::Role::kFfnNorm;
  EXPECT_THAT(ErrorOf(ValidateFor(adapter, TinyConfig())),
              HasSubstr("blk.0.ffn_norm is not a linear layer of a block"));
}

// tools/make_adapter.py, from which the demo and the end-to-end tests take their adapters.
TEST(Adapter, MadeAdaptersFitTheirShape) {
  const fs::path folder = test::TemporaryFolder();
  const fs::path tool = test::SourceFolder() / "tools" / "make_adapter.py";
  const auto make = [&](const std::string& name, const std::string& arguments) {
    const std::string command = "python3 '" + tool.string() + "' --out '" +
                                (folder / name).string() + "' " + arguments + " 2>/dev/null";
    return std::system(command.c_str());
  };
  ASSERT_EQ(make("a", "--shape stories260k --seed 3 --rank 5"), 0);
  ASSERT_EQ(make("b", "--shape stories260k --seed 3 --rank 5"), 0);
  const auto a = ReadAdapter(folder / "a", PresetConfig("stories260k").value());
  const auto b = ReadAdapter(folder / "b", PresetConfig("stories260k").value());
  ASSERT_TRUE(a && b) << ErrorOf(a);
  ASSERT_EQ(a->pairs.size(), 35);
  EXPECT_EQ(a->pairs[0].rank, 5);
  EXPECT_EQ(a->pairs[0].scaling, 2.0);
  testing::ExpectSamePairs(*a, *b);
  ASSERT_EQ(make("c",
                 "--modules v_proj,q_proj --shape dim=16,ffn_dim=24,n_layers=2,n_heads=3,"
                 "n_kv_heads=1,head_dim=4"),
            0);
  const auto c = ReadAdapter(folder / "c", TinyConfig());
  ASSERT_TRUE(c) << ErrorOf(c);
  EXPECT_EQ(c->pairs.size(), 4);
  EXPECT_NE(make("d", "--shape nothing"), 0);
}

TEST(Adapter, FilesAreRecognisedByWhatTheyHold) {
  const fs::path folder = test::TemporaryFolder();
  const auto error = [&folder](const std::string& name, const std::string& text) {
    testing::WriteText(folder / name, text);
    return ErrorOf(ReadAdapter(folder / name, TinyConfig()));
  };
  EXPECT_THAT(error("adapter_model.bin", "x"), HasSubstr("is a pickle, which can run code"));
  EXPECT_THAT(error("a.pt", ""), HasSubstr("is a pickle"));
  EXPECT_THAT(error("zipped", "PK\x03\x04"), HasSubstr("is a pickle"));
  EXPECT_THAT(error("adapter_model.safetensors", "x"), HasSubstr("name its directory"));
  EXPECT_THAT(error("a.gguf", "nonsense"),
              HasSubstr("malformed: " + (folder / "a.gguf").string() +
                        ": is neither a PEFT directory nor a GGUF adapter"));
  EXPECT_THAT(error("b.gguf", "GGUF"), HasSubstr("malformed: "));
  EXPECT_THAT(ErrorOf(ReadAdapter(folder / "none", TinyConfig())), HasSubstr("not_found: "));
}

TEST(Adapter, NameIsThatOfFileOrFolder) {
  const fs::path folder = test::TemporaryFolder();
  testing::OnePair().Write(folder / "qwen2.5-law");
  EXPECT_EQ(ReadAdapter(folder / "qwen2.5-law" / "", TinyConfig())->name, "qwen2.5-law");
  EXPECT_EQ(ReadAdapter(folder / "qwen2.5-law" / ".", TinyConfig())->name, "qwen2.5-law");
  testing::OneGgufPair().Write(folder / "law.gguf");
  EXPECT_EQ(ReadAdapter(folder / "law.gguf", TinyConfig())->name, "law");
}

TEST(Adapter, ArgumentsAreParsed) {
  EXPECT_EQ(ParseAdapterArgument("a/b")->path, "a/b");
  EXPECT_EQ(ParseAdapterArgument("a/b")->weight, 1.0);
  EXPECT_EQ(ParseAdapterArgument("a/b=0.5")->path, "a/b");
  EXPECT_EQ(ParseAdapterArgument("a/b=0.5")->weight, 0.5);
  EXPECT_EQ(ParseAdapterArgument("a=b=-2")->path, "a=b");
  EXPECT_EQ(ParseAdapterArgument("a=b=-2")->weight, -2.0);
  for (const char* text : {"", "=1"}) {
    EXPECT_THAT(ErrorOf(ParseAdapterArgument(text)), HasSubstr("names no adapter"));
  }
  for (const char* text : {"a=", "a=0,5", "a=half", "a=1 "}) {
    EXPECT_THAT(ErrorOf(ParseAdapterArgument(text)), HasSubstr("is not a number"));
  }
  for (const char* text : {"a=17", "a=nan", "a=-inf"}) {
    EXPECT_THAT(ErrorOf(ParseAdapterArgument(text)), HasSubstr("is outside -16 to 16"));
  }
}

TEST(Adapter, WeightsHaveSixteenFractionBits) {
  EXPECT_EQ(ToWeightQ16(1.0).value(), 65536);
  EXPECT_EQ(ToWeightQ16(-16.0).value(), -(1 << 20));
  EXPECT_EQ(ToWeightQ16(0.1).value(), 6554);
  EXPECT_FALSE(ToWeightQ16(16.001));
  EXPECT_FALSE(ToWeightQ16(std::nan("")));
}

}  // namespace
}  // namespace etch::adapter
