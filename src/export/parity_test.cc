#include "export/parity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "adapter/random_adapter_test.h"
#include "engine/random_model_test.h"
#include "export/gguf_export.h"
#include "export/tiny_vocabulary_test.h"
#include "ingest/gguf_model.h"

namespace etch::exporting {
namespace {

using engine::test::OddConfig;
using engine::test::RandomAdapter;
using engine::test::RandomImage;
using formats::DataType;
using ::testing::ElementsAre;
using testing::ErrorOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const CheckOptions kShort = {.positions = 12, .threads = 2};

std::unique_ptr<ingest::SourceModel> Exported(const image::Image& image, DataType type,
                                              std::vector<engine::ActiveAdapter> adapters = {}) {
  const auto path = etch::test::TemporaryFolder() / "x.gguf";
  const auto report =
      ExportGguf(image, path, {.type = type, .adapters = std::move(adapters), .check = kShort}, {});
  EXPECT_EQ(ErrorOf(report), "");
  return ingest::OpenGgufModel(path).value();
}

Result<Parity> Check(const image::Image& image, std::vector<engine::ActiveAdapter> merged,
                     std::vector<engine::ActiveAdapter> run, DataType type,
                     const ingest::SourceModel& file, const CheckOptions& options = kShort) {
  return CheckModel(MergedWeights::Create(image, std::move(merged)).value(), run, type, file,
                    options, {});
}

TEST(Parity, HoldsForEveryType) {
  const auto image = RandomImage(OddConfig(), 1);
  const engine::ActiveAdapter adapter = {RandomAdapter(OddConfig(), 4, 2), 1 << 15};
  for (const DataType type : {DataType::kF32, DataType::kF16, DataType::kBf16, DataType::kQ8_0}) {
    const auto file = Exported(*image, type, {adapter});
    const auto parity = Check(*image, {adapter}, {adapter}, type, *file);
    ASSERT_EQ(ErrorOf(parity), "") << formats::Traits(type).name;
    EXPECT_EQ(parity->positions, 12);
    EXPECT_EQ(parity->max_rounding == 0.0, type == DataType::kF32);
    EXPECT_GT(parity->bound, parity->max_difference);
  }
}

TEST(Parity, TheUnadaptedBaseInF32IsExact) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto file = Exported(*image, DataType::kF32);
  const auto parity = Check(*image, {}, {}, DataType::kF32, *file);
  ASSERT_EQ(ErrorOf(parity), "");
  EXPECT_LE(parity->max_difference, 0x1p-17);  // the engine's logits are fixed point
  EXPECT_EQ(parity->same_top, parity->positions);
}

TEST(Parity, FindsAWeightThatIsNotTheExpectedOne) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto file = Exported(*image, DataType::kF16);
  const engine::ActiveAdapter adapter = {RandomAdapter(OddConfig(), 4, 2)};
  EXPECT_THAT(
      ErrorOf(Check(*image, {adapter}, {adapter}, DataType::kF16, *file)),
      HasSubstr("mismatch: parity: tensor \"blk.0.attn_q\": row 0, column 0 reads back as"));
  // F16's rounding is more than F32's.
  EXPECT_THAT(ErrorOf(Check(*image, {}, {}, DataType::kF32, *file)),
              HasSubstr("parity: tensor \"token_embd\""));
}

TEST(Parity, FindsLogitsThatAreNotTheTwins) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto file = Exported(*image, DataType::kF32);
  const engine::ActiveAdapter adapter = {RandomAdapter(OddConfig(), 4, 2)};
  const auto other = RandomImage(OddConfig(), 2);
  EXPECT_THAT(ErrorOf(Check(*other, {}, {}, DataType::kF32, *file)), HasSubstr("parity: tensor"));
  // An adapter that was lost both in the file and in what is expected of it.
  EXPECT_THAT(ErrorOf(Check(*image, {}, {adapter}, DataType::kF32, *file)),
              HasSubstr("mismatch: parity: the logits are not those of Etch's float twin: 12 "));
  const auto rough = Exported(*image, DataType::kQ8_0);
  EXPECT_THAT(ErrorOf(Check(*image, {}, {adapter}, DataType::kQ8_0, *rough)),
              HasSubstr("the logits are not those"));
}

TEST(Parity, FindsAnotherConfiguration) {
  const auto image = RandomImage(OddConfig(), 1);
  model::Config config = OddConfig();
  config.context = 128;
  const auto file = Exported(*RandomImage(config, 2), DataType::kF16);
  EXPECT_THAT(ErrorOf(Check(*image, {}, {}, DataType::kF16, *file)),
              HasSubstr("the configuration reads back otherwise (context 320 and 128"));
}

TEST(Parity, WantsAPosition) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto file = Exported(*image, DataType::kF16);
  EXPECT_THAT(ErrorOf(Check(*image, {}, {}, DataType::kF16, *file, {.positions = 0})),
              HasSubstr("invalid_argument: a check over 0 positions: at least 1 is needed"));
  EXPECT_EQ(Check(*image, {}, {}, DataType::kF16, *file, {.positions = 1000})->positions, 320);
}

TEST(Parity, StopsWhenAsked) {
  const auto image = RandomImage(OddConfig(), 1);
  const auto file = Exported(*image, DataType::kF16);
  const auto weights = MergedWeights::Create(*image, {});
  for (int calls = 0; calls < 40; calls += 3) {
    int left = calls;
    const ProgressFn progress = [&left](const ProgressUpdate&) { return left-- > 0; };
    EXPECT_THAT(ErrorOf(CheckModel(*weights, {}, DataType::kF16, *file, kShort, progress)),
                HasSubstr("cancelled: "))
        << calls;
  }
}

TEST(Parity, AdaptersAreComparedByTheirBits) {
  const auto image = RandomImage(OddConfig(), 1);
  const adapter::Adapter written = adapter::testing::RandomAdapter(OddConfig(), 4);
  const auto parity = CheckAdapter(*image, written, written, kShort, {});
  ASSERT_EQ(ErrorOf(parity), "");
  EXPECT_EQ(parity->max_difference, 0.0);
  EXPECT_EQ(parity->max_rounding, 0.0);
  adapter::Adapter folded = written;  // the last bits of B may go
  folded.pairs[3].scaling *= 1.0 + 0x1p-24;
  EXPECT_GT(CheckAdapter(*image, written, folded, kShort, {})->max_rounding, 0.0);
  adapter::Adapter changed = written;
  changed.pairs[3].a[5] = std::nextafter(changed.pairs[3].a[5], 1.0F);
  EXPECT_EQ(ErrorOf(CheckAdapter(*image, written, changed, kShort, {})),
            "mismatch: parity: A or B of blk.0.attn_output reads back otherwise");
  changed = written;
  changed.pairs[3].scaling *= 2.0;
  EXPECT_FALSE(CheckAdapter(*image, written, changed, kShort, {}));
  changed = written;
  changed.pairs.pop_back();
  EXPECT_FALSE(CheckAdapter(*image, written, changed, kShort, {}));
}

TEST(Parity, TokenizersAreComparedOnTexts) {
  const model::Vocabulary vocabulary = testing::ByteLevelVocabulary();
  EXPECT_THAT(TokenizerDifferences(vocabulary, vocabulary), IsEmpty());
  model::Vocabulary other = vocabulary;
  other.merges.clear();
  EXPECT_THAT(TokenizerDifferences(vocabulary, other),
              ElementsAre(HasSubstr("sample texts become other tokens")));
  other.split_patterns = {"("};
  EXPECT_THAT(TokenizerDifferences(vocabulary, other),
              ElementsAre(HasSubstr("the tokenizer does not read back: ")));
}

TEST(Parity, TextSaysWhatWasCompared) {
  EXPECT_EQ(ParityText({64, 0.00123, 0.0051, 63, 0.0}),
            "64 positions, max |\xCE\x94logit| 0.0012 (bound 0.0051), top-1 63/64");
}

}  // namespace
}  // namespace etch::exporting
