#include "ingest/huggingface_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "ingest/tiny_model_test.h"
#include "support/data.h"

namespace etch::ingest {
namespace {

using formats::DataType;
using formats::SafetensorsSource;
using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::OpenError;

class HuggingFaceModel : public ::testing::Test {
 protected:
  HuggingFaceModel() : folder_(etch::test::TemporaryFolder()), source_(testing::TinyModel()) {
    testing::WriteHuggingFace(folder_, *source_, DataType::kF32, testing::TinySentencePieces());
  }
  void SetConfig(const char* key, const json& value) {
    json root = testing::HuggingFaceConfig(source_->config());
    root[key] = value;
    testing::WriteText(folder_ / "config.json", root.dump());
  }
  // Writes model.safetensors after `change` has had its way with the list.
  template <class Change>
  void WriteTensors(Change change) {
    testing::NamedTensors tensors = testing::HuggingFaceTensors(*source_, DataType::kF32);
    change(tensors);
    ASSERT_TRUE(formats::WriteSafetensors(folder_ / "model.safetensors", tensors.sources));
  }
  // Replaces the one shard by three and an index.
  json Shard() {
    std::filesystem::remove(folder_ / "model.safetensors");
    testing::WriteHuggingFace(folder_, *source_, DataType::kF32, testing::TinySentencePieces(), 3);
    return json::parse(ReadSmallFile(folder_ / "model.safetensors.index.json").value());
  }
  void WriteIndex(const json& index) {
    testing::WriteText(folder_ / "model.safetensors.index.json", index.dump());
  }

  std::filesystem::path folder_;
  std::unique_ptr<SourceModel> source_;
};

TEST_F(HuggingFaceModel, GivesBackWhatWasWritten) {
  const testing::Weights expected = testing::ReadWeights(*source_);
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16}) {
    testing::WriteHuggingFace(folder_, *source_, type, testing::TinySentencePieces());
    const auto opened = OpenModel(folder_);
    ASSERT_TRUE(opened) << opened.error().message;
    EXPECT_EQ((*opened)->config(), source_->config());
    for (const auto& [key, values] : testing::ReadWeights(**opened)) {
      std::vector<std::byte> rounded(values.size() *
                                     static_cast<size_t>(formats::Traits(type).block_bytes));
      ASSERT_TRUE(formats::EncodeFloats(type, expected.at(key), rounded));
      std::vector<float> wanted(values.size());
      ASSERT_TRUE(formats::Dequantize(type, rounded, wanted));
      EXPECT_EQ(values, wanted) << model::TensorName(key.first, key.second);
    }
  }
}

TEST_F(HuggingFaceModel, ShardsAndSingleFilesAreTheSameModel) {
  Shard();
  const auto opened = OpenModel(folder_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(testing::ReadWeights(**opened), testing::ReadWeights(*source_));
  EXPECT_EQ((*opened)->format(), "safetensors");
  EXPECT_EQ((*opened)->name(), folder_.filename().string());
  EXPECT_EQ(OpenModel(folder_ / "")->get()->name(), folder_.filename().string());
  // One shard stands for all that the index names.
  EXPECT_EQ(OpenError(folder_ / "model-00002-of-00003.safetensors"), "");
}

TEST_F(HuggingFaceModel, AFileIsOpenedWithWhatLiesBesideIt) {
  std::filesystem::rename(folder_ / "model.safetensors", folder_ / "other.safetensors");
  EXPECT_EQ(OpenError(folder_ / "other.safetensors"), "");
  EXPECT_EQ(OpenError(folder_), "");  // the only one there is
  std::filesystem::copy_file(folder_ / "other.safetensors", folder_ / "second.safetensors");
  EXPECT_THAT(OpenError(folder_), HasSubstr("holds several .safetensors files, but no model.safe"));
  std::filesystem::remove(folder_ / "config.json");
  EXPECT_THAT(OpenError(folder_ / "other.safetensors"),
              HasSubstr("there is no config.json beside it"));
  EXPECT_THAT(OpenError(folder_), HasSubstr("there is no config.json in it"));
}

TEST_F(HuggingFaceModel, ListsTensorsAndHashesFiles) {
  const auto opened = OpenModel(folder_);
  ASSERT_TRUE(opened) << opened.error().message;
  const std::vector<SourceTensor> tensors = (*opened)->Tensors();
  ASSERT_EQ(tensors.size(), 3U + 9U * 2U);
  EXPECT_EQ(tensors[0].name, "model.embed_tokens.weight");
  EXPECT_EQ(tensors[0].format, "F32");
  EXPECT_THAT(tensors[0].shape, ElementsAre(264, 8));
  EXPECT_EQ(tensors[0].size_bytes, 264U * 8U * 4U);
  const testing::Weights weights = testing::ReadWeights(**opened);
  ASSERT_TRUE((*opened)->HashFiles());
  EXPECT_EQ(testing::ReadWeights(**opened), weights);  // pages that were given back come again
  std::vector<std::string> names;
  for (const SourceFile& file : (*opened)->files()) {
    names.push_back(file.name);
    EXPECT_NE(file.xxh3, 0U);
    EXPECT_EQ(file.size_bytes, std::filesystem::file_size(folder_ / file.name));
  }
  EXPECT_THAT(names, ElementsAre("config.json", "model.safetensors", "tokenizer.model"));
  std::filesystem::remove(folder_ / "tokenizer.model");
  EXPECT_EQ((*opened)->HashFiles().error().code, ErrorCode::kNotFound);
}

TEST_F(HuggingFaceModel, TiedHeads) {
  SetConfig("tie_word_embeddings", true);  // the head that is there is not looked at
  EXPECT_TRUE(OpenModel(folder_)->get()->config().tied_embeddings);
  SetConfig("tie_word_embeddings", false);
  WriteTensors([](testing::NamedTensors& tensors) {
    std::erase_if(tensors.sources,
                  [](const SafetensorsSource& source) { return source.name == "lm_head.weight"; });
  });
  EXPECT_EQ(OpenError(folder_),
            "model.safetensors: tensor \"lm_head.weight\" is missing and tie_word_embeddings is "
            "not true");
  SetConfig("tie_word_embeddings", true);
  EXPECT_EQ(OpenError(folder_), "");
  // A second copy of the embedding is a tied head.
  SetConfig("tie_word_embeddings", false);
  WriteTensors([](testing::NamedTensors& tensors) {
    tensors.sources[1].values = tensors.sources[0].values;
  });
  const auto opened = OpenModel(folder_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_TRUE((*opened)->config().tied_embeddings);
  EXPECT_EQ((*opened)->Tensors().size(), 2U + 9U * 2U);
}

TEST_F(HuggingFaceModel, RefusesMissingStrayAndMisshapenTensors) {
  WriteTensors([](testing::NamedTensors& tensors) { tensors.sources.pop_back(); });
  EXPECT_EQ(OpenError(folder_),
            "model.safetensors: tensor \"model.layers.1.mlp.down_proj.weight\" is missing");
  WriteTensors([](testing::NamedTensors& tensors) { tensors.sources[3].shape = {4, 2}; });
  EXPECT_THAT(OpenError(folder_), HasSubstr("has the shape [4, 2], the configuration needs [8]"));
  EXPECT_THAT(OpenError(folder_), HasSubstr("model.safetensors: tensor \"model.layers.0.input_"));
  WriteTensors([](testing::NamedTensors& tensors) {
    tensors.sources.push_back(
        {"model.layers.0.self_attn.q_proj.bias", DataType::kF32, {8}, tensors.sources[2].values});
  });
  EXPECT_THAT(OpenError(folder_), HasSubstr("has no place in a Llama model (biases"));
  EXPECT_THAT(
      OpenError(folder_),
      HasSubstr("model.safetensors: tensor \"model.layers.0.self_attn.q_proj.bias\" at byte "));
  WriteTensors([](testing::NamedTensors& tensors) {
    tensors.sources.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq",
                               DataType::kF32,
                               {8},
                               tensors.sources[2].values});
  });
  EXPECT_EQ(OpenError(folder_), "");
}

TEST_F(HuggingFaceModel, RefusesNanAndInfinityByPlace) {
  for (const auto& [value, word] :
       {std::pair(std::numeric_limits<float>::quiet_NaN(), "not a num"),
        std::pair(-std::numeric_limits<float>::infinity(), "infinit")}) {
    WriteTensors([bad = value](testing::NamedTensors& tensors) { tensors.values[0][17] = bad; });
    const auto opened = OpenModel(folder_);
    ASSERT_TRUE(opened) << opened.error().message;
    std::vector<float> out(264 * 8);
    const Status status = (*opened)->Read(model::Role::kTokenEmbedding, 0, out);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(status.error().message,
                HasSubstr("model.safetensors: tensor \"model.embed_tokens.weight\" at byte "));
    EXPECT_THAT(status.error().message, HasSubstr(fmt::format("row 2, column 1 is {}", word)));
  }
}

TEST_F(HuggingFaceModel, RefusesTypesThatCannotBeRead) {
  std::string text = ReadSmallFile(folder_ / "model.safetensors").value();
  for (size_t at = text.find("\"F32\""); at != std::string::npos; at = text.find("\"F32\"", at)) {
    text.replace(at, 5, "\"I32\"");
  }
  testing::WriteText(folder_ / "model.safetensors", text);
  EXPECT_THAT(OpenError(folder_), HasSubstr("type I32 is not supported; convert it to F16"));
}

TEST_F(HuggingFaceModel, RefusesAnIndexThatLies) {
  json index = Shard();
  json changed = index;
  changed["weight_map"]["model.norm.weight"] = "model-00001-of-00003.safetensors";
  if (changed == index) {
    changed["weight_map"]["model.norm.weight"] = "model-00002-of-00003.safetensors";
  }
  WriteIndex(changed);
  EXPECT_THAT(OpenError(folder_), HasSubstr("tensor \"model.norm.weight\" is missing, model.saf"));
  changed = index;
  changed["weight_map"]["extra"] = "model-00001-of-00003.safetensors";
  WriteIndex(changed);
  EXPECT_THAT(OpenError(folder_), HasSubstr("tensor \"extra\" is missing"));
  for (const json& name : {json("../x.safetensors"), json("/etc/passwd"), json(".."), json(3)}) {
    changed = index;
    changed["weight_map"]["model.norm.weight"] = name;
    WriteIndex(changed);
    EXPECT_THAT(OpenError(folder_), HasSubstr("is not a plain name"));
  }
  WriteIndex(json::object());
  EXPECT_THAT(OpenError(folder_), HasSubstr("weight_map is missing or empty"));
  WriteIndex(index);
  std::filesystem::remove(folder_ / "model-00003-of-00003.safetensors");
  EXPECT_THAT(OpenError(folder_), HasSubstr("model-00003-of-00003.safetensors: cannot open"));
  std::filesystem::copy_file(folder_ / "model-00001-of-00003.safetensors",
                             folder_ / "model-00003-of-00003.safetensors");
  EXPECT_THAT(OpenError(folder_),
              HasSubstr("is both in model-00001-of-00003.safetensors and model-00003"));
}

TEST_F(HuggingFaceModel, RefusesPicklesAndEmptyFolders) {
  std::filesystem::remove(folder_ / "model.safetensors");
  EXPECT_THAT(OpenError(folder_), HasSubstr("holds no .safetensors file"));
  testing::WriteText(folder_ / "pytorch_model.bin", "PK\x03\x04");
  EXPECT_THAT(OpenError(folder_), HasSubstr("pytorch_model.bin: is a pickle"));
}

TEST_F(HuggingFaceModel, EndOfGenerationJoinsAllThreeSources) {
  SetConfig("eos_token_id", 2);
  testing::WriteText(folder_ / "generation_config.json", R"({"eos_token_id":[5,2,4]})");
  const auto opened = OpenModel(folder_);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_THAT((*opened)->vocabulary().end_of_generation, ElementsAre(2, 4, 5));
  testing::WriteText(folder_ / "generation_config.json", R"({"eos_token_id":264})");
  EXPECT_EQ(OpenError(folder_), "generation_config.json: eos_token_id 264 is no token of 264");
  testing::WriteText(
      folder_ / "generation_config.json",
      R"({"eos_token_id":[)" + std::string(100000, '[') + std::string(100000, ']') + "]}");
  EXPECT_EQ(OpenError(folder_), "generation_config.json: eos_token_id array is no token of 264");
  testing::WriteText(folder_ / "generation_config.json", "[]");
  EXPECT_EQ(OpenError(folder_), "generation_config.json: is not a JSON object");
}

TEST_F(HuggingFaceModel, ChatTemplateComesFromTheBestSource) {
  const auto chat_template = [&] {
    const auto opened = OpenModel(folder_);
    return opened ? (*opened)->vocabulary().chat_template : opened.error().message;
  };
  EXPECT_EQ(chat_template(), "");
  testing::WriteText(folder_ / "tokenizer_config.json", R"({"chat_template":"one"})");
  EXPECT_EQ(chat_template(), "one");
  testing::WriteText(
      folder_ / "tokenizer_config.json",
      R"({"chat_template":[{"name":"tools","template":"t"},{"name":"default","template":"two"}]})");
  EXPECT_EQ(chat_template(), "two");
  testing::WriteText(folder_ / "tokenizer_config.json", R"({"chat_template":[{"name":"tools"}]})");
  EXPECT_THAT(chat_template(), HasSubstr("chat_template is neither a text nor a list"));
  testing::WriteText(folder_ / "chat_template.jinja", "three");
  EXPECT_EQ(chat_template(), "three");
}

TEST_F(HuggingFaceModel, RefusesTokenizersThatDoNotFit) {
  std::filesystem::rename(folder_ / "tokenizer.model", folder_ / "elsewhere");
  EXPECT_THAT(OpenError(folder_), HasSubstr("holds neither tokenizer.json nor tokenizer.model"));
  EXPECT_EQ(OpenError(folder_, folder_ / "elsewhere"), "");
  std::vector<model::Token> pieces = testing::TinySentencePieces();
  pieces.push_back({"d", 0.0F, model::TokenType::kNormal});
  testing::WriteText(folder_ / "tokenizer.model", testing::SentencePieceModel(pieces));
  EXPECT_THAT(OpenError(folder_), HasSubstr("the tokenizer has 265 tokens, the model only 264"));
  testing::WriteText(folder_ / "tokenizer.model", " \n");
  EXPECT_EQ(OpenError(folder_), "tokenizer.model: the tokenizer is empty");
  testing::WriteText(folder_ / "tokenizer.json", "{");
  EXPECT_THAT(OpenError(folder_), HasSubstr("tokenizer.json: "));
}

TEST_F(HuggingFaceModel, NamesTheFileOfABadConfig) {
  SetConfig("mlp_bias", true);
  EXPECT_EQ(OpenError(folder_), "config.json: mlp_bias is true; biases are not supported");
}

TEST_F(HuggingFaceModel, EveryTruncationOfTheWeightsIsAnError) {
  const std::string text = ReadSmallFile(folder_ / "model.safetensors").value();
  for (size_t size = 0; size < text.size(); size += 1 + text.size() / 150) {
    testing::WriteText(folder_ / "model.safetensors", text.substr(0, size));
    EXPECT_THAT(OpenError(folder_), HasSubstr("model.safetensors: ")) << size;
  }
}

}  // namespace
}  // namespace etch::ingest
