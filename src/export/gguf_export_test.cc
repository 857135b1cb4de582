#include "export/gguf_export.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "engine/random_model_test.h"
#include "export/tiny_vocabulary_test.h"
#include "formats/gguf.h"
#include "ingest/gguf_model.h"

namespace etch::exporting {
namespace {

namespace fs = std::filesystem;
using engine::test::OddConfig;
using engine::test::RandomAdapter;
using engine::test::RandomImage;
using formats::DataType;
using model::Role;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using testing::ErrorOf;
using ::testing::HasSubstr;

const CheckOptions kShort = {.positions = 12, .threads = 2};

size_t EntriesIn(const fs::path& folder) {
  return static_cast<size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(GgufExport, HoldsTheDequantisedBase) {
  model::Config config = OddConfig();
  config.architecture = "mistral";
  config.rope_scaling = {model::RopeScaling::Kind::kLinear, 4.0};
  const auto image = RandomImage(config, 1);
  const fs::path path = image->path().parent_path() / "x.gguf";
  const auto report = ExportGguf(*image, path, {.type = DataType::kF32, .check = kShort}, {});
  ASSERT_EQ(ErrorOf(report), "");
  EXPECT_EQ(report->parity.max_rounding, 0.0);
  EXPECT_EQ(report->bytes, fs::file_size(path));
  EXPECT_EQ(report->tensors, 21);
  const auto found = ingest::OpenGgufModel(path).value();
  config.architecture = "llama";
  EXPECT_EQ(found->config(), config);
  EXPECT_EQ(found->name(), "random");
  const auto weights = MergedWeights::Create(*image, {}).value();
  ThreadPool pool(1);
  for (const TensorId& id : TensorsOf(config)) {
    std::vector<float> expected(static_cast<size_t>(model::TensorShape(config, id.role).size()));
    std::vector<float> read(expected.size());
    weights.Read(id.role, id.layer, pool, expected);
    ASSERT_TRUE(found->Read(id.role, id.layer, read));
    EXPECT_EQ(read, expected) << model::TensorName(id.role, id.layer);
  }
}

TEST(GgufExport, WritesTheScalingOfLlama3) {
  model::Config config = OddConfig();
  config.rope_theta = 500000.0;
  config.head_dim = 8;
  config.rope_scaling = {model::RopeScaling::Kind::kLlama3, 8.0, 1.0, 4.0, 8192.0};
  const auto image = RandomImage(config, 1);
  const fs::path path = image->path().parent_path() / "x.gguf";
  ASSERT_EQ(ErrorOf(ExportGguf(*image, path, {.check = kShort}, {})), "");
  const auto file = formats::GgufFile::Open(path).value();
  ASSERT_NE(file.Find("rope_freqs.weight"), nullptr);
  EXPECT_EQ(file.Find("rope_freqs.weight")->dims, (std::vector<int64_t>{4}));
  EXPECT_EQ(ingest::ConfigFromGguf(file).value().rope_scaling, config.rope_scaling);
  config.rope_scaling.original_context = 4096.0;
  EXPECT_THAT(ErrorOf(ExportGguf(*RandomImage(config, 2), path, {.check = kShort}, {})),
              HasSubstr("unsupported: RoPE scaling with low factor 1, high factor 4 and original "
                        "context 4096: a GGUF file has no place for others than 1, 4 and 8192"));
}

TEST(GgufExport, FallsBackWhereBlocksDoNotFit) {
  const auto image = RandomImage(OddConfig(), 1);  // widths of 48 and 172
  const fs::path folder = image->path().parent_path();
  const auto report =
      ExportGguf(*image, folder / "x.gguf", {.type = DataType::kQ8_0, .check = kShort}, {});
  ASSERT_EQ(ErrorOf(report), "");
  EXPECT_THAT(report->notes, ::testing::Contains(HasSubstr("16 matrices are F16: their rows")));
  model::Config config = OddConfig();
  config.dim = 64;
  config.head_dim = 32;
  config.n_heads = 2;
  config.n_kv_heads = 1;
  config.ffn_dim = 96;
  const auto even = RandomImage(config, 2);
  const auto whole = ExportGguf(*even, even->path().parent_path() / "y.gguf",
                                {.type = DataType::kQ8_0, .check = kShort}, {});
  ASSERT_EQ(ErrorOf(whole), "");
  const auto file = formats::GgufFile::Open(even->path().parent_path() / "y.gguf").value();
  EXPECT_EQ(file.Find("blk.0.ffn_down.weight")->type, DataType::kQ8_0);
  EXPECT_EQ(file.Find("blk.0.ffn_norm.weight")->type, DataType::kF32);
}

TEST(GgufExport, TheSameInputGivesTheSameBytes) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path folder = image->path().parent_path();
  const engine::ActiveAdapter adapter = {RandomAdapter(OddConfig(), 4, 2)};
  std::vector<std::string> files;
  for (const int threads : {1, 3}) {
    ExportOptions options = {.type = DataType::kQ8_0, .adapters = {adapter}, .check = kShort};
    options.check.threads = threads;
    ASSERT_EQ(ErrorOf(ExportGguf(*image, folder / "x.gguf", options, {})), "");
    files.push_back(ReadSmallFile(folder / "x.gguf").value());
  }
  EXPECT_EQ(files[0], files[1]);
  EXPECT_EQ(ingest::OpenGgufModel(folder / "x.gguf").value()->name(), "random+random-2");
  ASSERT_TRUE(ExportGguf(*image, folder / "x.gguf", {.name = "other", .check = kShort}, {}));
  EXPECT_EQ(ingest::OpenGgufModel(folder / "x.gguf").value()->name(), "other");
}

TEST(GgufExport, RefusesWhatCannotBeWritten) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path folder = image->path().parent_path();
  const auto error = [&](const fs::path& path, const ExportOptions& options) {
    return ErrorOf(ExportGguf(*image, path, options, {}));
  };
  EXPECT_EQ(error(folder / "x", {.type = DataType::kQ4_0}),
            "invalid_argument: Q4_0 is no type of an export");
  EXPECT_THAT(error(folder, {}), EndsWith(": is a directory; choose another name"));
  EXPECT_THAT(error(image->path(), {}), EndsWith(": is the image itself; choose another name"));
  EXPECT_THAT(error(folder / "no" / "x.gguf", {}), HasSubstr("cannot create"));
  EXPECT_EQ(EntriesIn(folder), 1U);
}

TEST(GgufExport, NamesTheTensorWithAValueBeyondTheType) {
  const fs::path path = etch::test::TemporaryFolder() / "big.etch";
  model::Vocabulary vocabulary;
  vocabulary.tokens = {{.text = "a"}};
  const auto image = testing::FlatImage(path, OddConfig(), vocabulary,
                                        [](Role role) { return role == Role::kUp ? 1e6F : 0.5F; });
  EXPECT_THAT(ErrorOf(ExportGguf(image, path.parent_path() / "x.gguf", {.check = kShort}, {})),
              EndsWith("x.gguf: tensor \"blk.0.ffn_up.weight\", row 0: the value 1000000 is beyond "
                       "F16; choose a wider type"));
  EXPECT_EQ(EntriesIn(path.parent_path()), 1U);
  EXPECT_EQ(ErrorOf(ExportGguf(image, path.parent_path() / "x.gguf",
                               {.type = DataType::kF32, .check = kShort}, {})),
            "");
}

TEST(GgufExport, LeavesNothingBehindWhenInterrupted) {
  const auto image = RandomImage(OddConfig(), 1);
  const fs::path folder = image->path().parent_path();
  for (int calls = 0; calls < 90; calls += 5) {
    int left = calls;
    const ProgressFn progress = [&left](const ProgressUpdate&) { return left-- > 0; };
    const auto report = ExportGguf(*image, folder / "x.gguf", {.check = kShort}, progress);
    if (report) {
      break;
    }
    EXPECT_EQ(report.error().code, ErrorCode::kCancelled) << report.error().message;
    EXPECT_EQ(EntriesIn(folder), 1U);
  }
}

TEST(GgufExport, AFileThatDoesNotPassDoesNotStay) {
  const fs::path folder = etch::test::TemporaryFolder();
  const auto write = [](const fs::path& file) { return WriteFileAtomically(file, AsBytes("new")); };
  const auto pass = [](const fs::path&) { return Status(); };
  const auto fail = [](const fs::path&) -> Status {
    return Fail(ErrorCode::kMismatch, "parity: no");
  };
  ASSERT_TRUE(WriteFileAtomically(folder / "x", AsBytes("old")));
  EXPECT_EQ(ErrorOf(internal::WriteChecked(folder / "x", write, fail)), "mismatch: parity: no");
  EXPECT_EQ(ErrorOf(internal::WriteChecked(folder / "x", fail, pass)), "mismatch: parity: no");
  EXPECT_EQ(ReadSmallFile(folder / "x").value(), "old");
  EXPECT_EQ(EntriesIn(folder), 1U);
  EXPECT_TRUE(internal::WriteChecked(folder / "x", write, pass));
  EXPECT_EQ(ReadSmallFile(folder / "x").value(), "new");
  fs::create_directories(folder / "y" / "z");
  EXPECT_THAT(ErrorOf(internal::WriteChecked(folder / "y", write, pass)),
              HasSubstr("/y: cannot create: "));
  EXPECT_EQ(EntriesIn(folder), 2U);
}

}  // namespace
}  // namespace etch::exporting
