#include "export/adapter_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "adapter/random_adapter_test.h"
#include "base/file.h"
#include "engine/random_model_test.h"
#include "export/tiny_vocabulary_test.h"

namespace etch::exporting {
namespace {

namespace fs = std::filesystem;
using adapter::testing::RandomAdapter;
using engine::test::OddConfig;
using engine::test::RandomImage;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const CheckOptions kShort = {.positions = 8, .threads = 1};

TEST(AdapterExport, GgufReadsBack) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path path = image->path().parent_path() / "a.gguf";
  const adapter::Adapter adapter = RandomAdapter(OddConfig(), 3);
  const auto report = WriteAdapterGguf(adapter, *image, path, kShort, {});
  ASSERT_EQ(ErrorOf(report), "");
  EXPECT_THAT(report->notes, IsEmpty());
  EXPECT_EQ(report->parity.max_difference, 0.0);
  adapter::testing::ExpectSamePairs(adapter, adapter::ReadAdapter(path, OddConfig()).value());
}

TEST(AdapterExport, FoldingIsSaid) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path path = image->path().parent_path() / "a.gguf";
  adapter::Adapter adapter = RandomAdapter(OddConfig(), 3);
  adapter.pairs[2] = adapter::testing::RandomPair(OddConfig(), model::Role::kWv, 0, 5, 9);
  adapter.pairs[2].scaling = 0.3;
  const auto report = WriteAdapterGguf(adapter, *image, path, kShort, {});
  ASSERT_EQ(ErrorOf(report), "");
  EXPECT_THAT(report->notes,
              ElementsAre(HasSubstr("multiplied into B"), HasSubstr("ranks differ from 3 to 5")));
  EXPECT_EQ(report->parity.max_rounding, 0.0);
}

TEST(AdapterExport, PeftReadsBack) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path path = image->path().parent_path() / "a";
  const adapter::Adapter adapter = RandomAdapter(OddConfig(), 3);
  ASSERT_EQ(ErrorOf(WriteAdapterPeft(adapter, *image, path, kShort, {})), "");
  adapter::testing::ExpectSamePairs(adapter, adapter::ReadAdapter(path, OddConfig()).value());
  EXPECT_FALSE(fs::exists(path / "README.md"));
}

TEST(AdapterExport, BundlesCarryTokenizerAndCard) {
  model::Config config = OddConfig();
  const auto image = RandomImage(config, 1);
  const fs::path path = image->path().parent_path() / "bundle";
  const adapter::Adapter adapter = RandomAdapter(config, 3);
  CardInfo card;
  card.title = "Acme's helper";
  card.data = "300 questions of customers";
  card.evaluation = "92 % exact on 100 held-out questions";
  card.license = "MIT";
  for (int turn = 0; turn < 2; ++turn) {  // the second takes the place of the first
    ASSERT_EQ(ErrorOf(WriteAdapterBundle(adapter, *image, card, path, kShort)), "");
  }
  adapter::testing::ExpectSamePairs(adapter, adapter::ReadAdapter(path, config).value());
  EXPECT_TRUE(fs::exists(path / "tokenizer.json"));
  EXPECT_TRUE(fs::exists(path / "special_tokens_map.json"));
  const std::string text = ReadSmallFile(path / "README.md").value();
  EXPECT_THAT(text,
              HasSubstr("license: \"MIT\"\nbase_model: \"a/base\"\n---\n\n# Acme's helper\n"));
  EXPECT_THAT(text, HasSubstr(fmt::format("`{:016x}`", image->fingerprint())));
  EXPECT_THAT(text, HasSubstr("| rank | 3 |\n| alpha | 6 |"));
  EXPECT_THAT(text, HasSubstr("## Training data\n\n300 questions of customers\n"));
  EXPECT_THAT(text, HasSubstr("## Evaluation\n\n92 %"));
  EXPECT_THAT(text, Not(HasSubstr("## Training\n")));
  EXPECT_THAT(text, HasSubstr("etch run random.etch --adapter"));
  EXPECT_THAT(text, HasSubstr("gguf_file=\"base.gguf\""));
}

TEST(AdapterExport, CardsOfMixedRanksGiveRanges) {
  const auto image = RandomImage(OddConfig(), 1);
  adapter::Adapter adapter = RandomAdapter(OddConfig(), 3);
  adapter.base_model.clear();
  adapter.pairs[2] = adapter::testing::RandomPair(OddConfig(), model::Role::kWv, 0, 5, 9);
  const std::string text = ModelCard(adapter, *image, {.image_file = "my.etch"});
  EXPECT_THAT(text, HasSubstr("# random\n"));
  EXPECT_THAT(text, HasSubstr("| rank | 3 to 5 |\n| alpha | 6 to 10 |"));
  EXPECT_THAT(text, HasSubstr("etch run my.etch"));
  EXPECT_THAT(text, Not(HasSubstr("base_model")));
}

TEST(AdapterExport, RefusesWhatDoesNotFit) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path folder = image->path().parent_path();
  const adapter::Adapter other = RandomAdapter(engine::test::WideHeadConfig(), 3);
  EXPECT_THAT(ErrorOf(WriteAdapterGguf(other, *image, folder / "a.gguf", kShort, {})),
              HasSubstr("mismatch: "));
  EXPECT_THAT(ErrorOf(WriteAdapterBundle(other, *image, {}, folder / "a", kShort)),
              HasSubstr("mismatch: "));
  const adapter::Adapter fitting = RandomAdapter(OddConfig(), 3);
  EXPECT_THAT(ErrorOf(WriteAdapterBundle(fitting, *image, {}, folder, kShort)),
              HasSubstr("which would be lost"));
  EXPECT_THAT(ErrorOf(WriteAdapterGguf(fitting, *image, folder / "a.gguf", {.positions = 0}, {})),
              HasSubstr("at least 1 is needed"));
  EXPECT_FALSE(fs::exists(folder / "a.gguf"));
  EXPECT_FALSE(fs::exists(folder / "a"));
}

TEST(AdapterExport, ATokenizerWithoutAPlaceIsLeftOutAndSaid) {
  const fs::path folder = test::TemporaryFolder();
  const model::Config config = OddConfig();
  model::Vocabulary vocabulary;
  vocabulary.tokens = {{.text = "a"}, {.text = "a"}};
  const auto doubled = testing::FlatImage(folder / "doubled.etch", config, vocabulary,
                                          [](model::Role) { return 0.25F; });
  const auto report =
      WriteAdapterBundle(RandomAdapter(config, 2), doubled, {}, folder / "b", kShort);
  ASSERT_EQ(ErrorOf(report), "");
  EXPECT_THAT(report->notes, ElementsAre(HasSubstr("the tokenizer's files are left out: tokens 0 "
                                                   "and 1 are both \"a\"")));
  EXPECT_TRUE(fs::exists(folder / "b" / "README.md"));
  EXPECT_FALSE(fs::exists(folder / "b" / "tokenizer.json"));
}

}  // namespace
}  // namespace etch::exporting
