#include "export/huggingface_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "export/merged_weights.h"
#include "export/tiny_vocabulary_test.h"
#include "ingest/huggingface_config.h"
#include "ingest/source_model.h"
#include "support/data.h"

namespace etch::exporting {
namespace {

namespace fs = std::filesystem;
using formats::DataType;
using model::Role;
using testing::ErrorOf;
using ::testing::HasSubstr;

model::Config TinyConfig() {
  model::Config config;
  config.dim = 16;
  config.ffn_dim = 24;
  config.n_layers = 2;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.head_dim = 8;
  config.vocab_size = 280;
  config.context = 64;
  return config;
}

// Every value another.
Status ReadNumbers(Role role, int64_t layer, std::span<float> out) {
  for (size_t index = 0; index < out.size(); ++index) {
    out[index] = 1.0F / static_cast<float>(index + 3 + 100 * static_cast<size_t>(role) +
                                           static_cast<size_t>(10 * layer));
  }
  return {};
}

Status Write(const model::Config& config, const fs::path& path, formats::DataType type,
             const ReadTensor& read = ReadNumbers) {
  return WriteHuggingFaceModel(config, testing::ByteLevelVocabulary(), read, path, type);
}

TEST(HuggingFaceModel, ReadsBackExactly) {
  for (const bool tied : {false, true}) {
    model::Config config = TinyConfig();
    config.tied_embeddings = tied;
    config.architecture = tied ? "mistral" : "llama";
    const fs::path path = test::TemporaryFolder() / "model";
    ASSERT_EQ(ErrorOf(Write(config, path, DataType::kF32)), "");
    const auto found = ingest::OpenModel(path);
    ASSERT_EQ(ErrorOf(found), "");
    EXPECT_EQ((*found)->config(), config);
    EXPECT_EQ((*found)->vocabulary().chat_template, testing::ByteLevelVocabulary().chat_template);
    EXPECT_EQ((*found)->vocabulary().end_of_generation, std::vector<model::TokenId>{260});
    for (const TensorId& id : TensorsOf(config)) {
      std::vector<float> expected(static_cast<size_t>(model::TensorShape(config, id.role).size()));
      std::vector<float> read(expected.size());
      ASSERT_TRUE(ReadNumbers(id.role, id.layer, expected));
      ASSERT_TRUE((*found)->Read(id.role, id.layer, read));
      EXPECT_EQ(read, expected) << model::TensorName(id.role, id.layer);
    }
  }
}

TEST(HuggingFaceModel, TheSameInputGivesTheSameBytes) {
  const fs::path folder = test::TemporaryFolder();
  for (const char* name : {"a", "b", "b"}) {  // the last one takes a place
    ASSERT_EQ(ErrorOf(Write(TinyConfig(), folder / name, DataType::kBf16)), "");
  }
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder / "a")) {
    EXPECT_EQ(ReadSmallFile(entry.path()).value(),
              ReadSmallFile(folder / "b" / entry.path().filename()).value())
        << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 7U);
}

TEST(HuggingFaceModel, ConfigurationsReadBack) {
  model::Vocabulary vocabulary = testing::ByteLevelVocabulary();
  model::Config config = TinyConfig();
  for (const model::RopeScaling& scaling :
       {model::RopeScaling{}, model::RopeScaling{model::RopeScaling::Kind::kLinear, 2.5},
        model::RopeScaling{model::RopeScaling::Kind::kLlama3, 32.0, 1.0, 4.0, 4096.0}}) {
    config.rope_scaling = scaling;
    config.norm_eps = 1e-6;
    EXPECT_EQ(
        ingest::ReadHuggingFaceConfig(HuggingFaceConfigText(config, vocabulary, DataType::kF16))
            .value(),
        config);
  }
  vocabulary.bos = 1;
  vocabulary.end_of_generation = {2, 260};
  const std::string text = HuggingFaceConfigText(config, vocabulary, DataType::kF16);
  EXPECT_THAT(text, HasSubstr("\"bos_token_id\": 1,"));
  EXPECT_THAT(text, HasSubstr("\"torch_dtype\": \"float16\""));
  vocabulary.end_of_generation = {};
  EXPECT_THAT(HuggingFaceConfigText(config, vocabulary, DataType::kF16),
              Not(HasSubstr("eos_token_id")));
}

TEST(HuggingFaceModel, RefusesWhatCannotBeWritten) {
  const fs::path path = test::TemporaryFolder() / "model";
  EXPECT_THAT(ErrorOf(Write(TinyConfig(), path, DataType::kQ8_0)),
              HasSubstr("Q8_0 is no type of a safetensors model"));
  model::Config config = TinyConfig();
  config.dim = 0;
  EXPECT_FALSE(Write(config, path, DataType::kF32));
  const auto large = [](Role role, int64_t layer, std::span<float> out) -> Status {
    ETCH_TRY(ReadNumbers(role, layer, out));
    out[0] = role == Role::kDown ? 1e6F : out[0];
    return {};
  };
  EXPECT_THAT(
      ErrorOf(Write(TinyConfig(), path, DataType::kF16, large)),
      HasSubstr("/model: tensor \"model.layers.0.mlp.down_proj.weight\": the value 1000000 is "
                "beyond F16"));
  const auto broken = [](Role, int64_t, std::span<float>) -> Status {
    return Fail(ErrorCode::kIo, "the disk is gone");
  };
  EXPECT_THAT(ErrorOf(Write(TinyConfig(), path, DataType::kF16, broken)),
              HasSubstr("the disk is gone"));
  EXPECT_FALSE(fs::exists(path));
  ASSERT_TRUE(WriteFileAtomically(path, AsBytes("a file")));
  EXPECT_THAT(ErrorOf(Write(TinyConfig(), path, DataType::kF16)),
              HasSubstr("/model: exists and is not a directory"));
}

TEST(HuggingFaceModel, AFolderThatDoesNotReadBackDoesNotStay) {
  const fs::path path = test::TemporaryFolder() / "model";
  int calls = 0;
  const auto drifting = [&calls](Role role, int64_t layer, std::span<float> out) -> Status {
    ETCH_TRY(ReadNumbers(role, layer, out));
    out[7] += static_cast<float>(++calls);
    return {};
  };
  EXPECT_THAT(ErrorOf(Write(TinyConfig(), path, DataType::kF32, drifting)),
              HasSubstr("parity: tensor \"model.embed_tokens.weight\": value 7 reads back as"));
  model::Config config = TinyConfig();
  config.architecture = "unheard of";
  EXPECT_THAT(ErrorOf(Write(config, path, DataType::kF32)),
              HasSubstr("parity: config.json does not read back as it was written"));
  model::Vocabulary vocabulary = testing::SentencePieceVocabulary();
  vocabulary.remove_extra_spaces = true;
  std::vector<std::string> notes;
  EXPECT_THAT(ErrorOf(WriteHuggingFaceModel(TinyConfig(), vocabulary, ReadNumbers, path,
                                            DataType::kF32, &notes)),
              HasSubstr("sample texts become other tokens"));
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace etch::exporting
