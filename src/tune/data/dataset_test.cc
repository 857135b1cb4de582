#include "tune/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "support/data.h"

namespace etch::tune {
namespace {

using ::testing::HasSubstr;

Dataset MustParse(std::string_view name, std::string_view content) {
  Result<Dataset> dataset = ParseDataset(name, content);
  EXPECT_TRUE(dataset) << (dataset ? "" : dataset.error().message);
  return dataset ? *std::move(dataset) : Dataset();
}

std::string Failure(std::string_view name, std::string_view content) {
  const Result<Dataset> dataset = ParseDataset(name, content);
  EXPECT_FALSE(dataset) << Describe(*dataset);
  return dataset ? "" : dataset.error().message;
}

constexpr std::string_view kRow = R"({"prompt": "Q", "completion": "A"})";

TEST(Dataset, FormatsAreFoundByContent) {
  const std::string two_lines = std::string(kRow) + "\n" + std::string(kRow);
  const std::string array = "[" + std::string(kRow) + "]";
  EXPECT_EQ(MustParse("a.json", two_lines).format, FileFormat::kJsonLines);
  EXPECT_EQ(MustParse("a.jsonl", two_lines).format, FileFormat::kJsonLines);
  EXPECT_EQ(MustParse("a.txt", two_lines).format, FileFormat::kJsonLines);
  EXPECT_EQ(MustParse("folder.d/a", two_lines).format, FileFormat::kJsonLines);
  EXPECT_EQ(MustParse("a.jsonl", array).format, FileFormat::kJson);
  EXPECT_EQ(MustParse("a", array).format, FileFormat::kJson);
  EXPECT_EQ(MustParse("a.json", "{\n\"prompt\": 1, \"answer\": 2}").format, FileFormat::kJson);
  EXPECT_EQ(MustParse("A.CSV", "prompt,answer\n1,2\n").format, FileFormat::kCsv);
  EXPECT_EQ(MustParse("a.tsv", "prompt\tanswer\n1\t2\n").format, FileFormat::kCsv);
  EXPECT_EQ(MustParse("a.md", "[A link](b)").format, FileFormat::kPlainText);
  EXPECT_EQ(MustParse("a.txt", "{ of braces").format, FileFormat::kPlainText);
}

TEST(Dataset, ByteOrderMarksArePassedOver) {
  const Dataset dataset = MustParse("a.csv", "\xEF\xBB\xBFprompt,answer\n1,2\n");
  EXPECT_EQ(dataset.columns, "prompt -> answer");
}

TEST(Dataset, DescribesItself) {
  std::string rows;
  for (int row = 0; row < 1000; ++row) {
    rows += R"({"instruction": "I", "input": "", "output": "O", "id": 1})"
            "\n";
  }
  const Dataset dataset = MustParse("a.jsonl", rows);
  EXPECT_EQ(Describe(dataset), "alpaca: instruction + input -> output, 1,000 rows");
  EXPECT_EQ(dataset.ignored_keys, std::vector<std::string>{"id"});
  EXPECT_EQ(dataset.examples[999].line, 1000);
  EXPECT_EQ(Describe(MustParse("a.txt", "Once upon")), "plain text: 1 document, 9 B");
}

TEST(Dataset, SelectsRows) {
  const Dataset dataset = MustParse("a.txt", "a\n<|endoftext|>\nb\n<|endoftext|> \r\nc");
  const Dataset selected = Select(dataset, std::vector<int64_t>{2, 0});
  EXPECT_EQ(selected.name, "a.txt");
  ASSERT_EQ(selected.examples.size(), 2U);
  EXPECT_EQ(selected.examples[0].text, "c");
  EXPECT_EQ(selected.examples[0].line, 5);
  EXPECT_EQ(selected.examples[1].text, "a\n");
}

TEST(Dataset, PlainTextIsOneDocument) {
  const Dataset dataset = MustParse("a.txt", "Once\n\nupon <|endoftext|> a\n");
  ASSERT_EQ(dataset.examples.size(), 1U);
  EXPECT_EQ(dataset.examples[0].text, "Once\n\nupon <|endoftext|> a\n");
  EXPECT_EQ(dataset.examples[0].line, 1);
}

TEST(Dataset, RefusesWhatIsNoText) {
  EXPECT_EQ(Failure("a.jsonl", ""), "a.jsonl: the file is empty");
  EXPECT_EQ(Failure("a.jsonl", " \r\n\n"), "a.jsonl: the file is empty");
  EXPECT_THAT(Failure("a.jsonl", std::string("{}\0", 3)), HasSubstr("a binary file"));
  EXPECT_THAT(Failure("a.parquet", "PAR1xx"), HasSubstr("a.parquet: this is a Parquet file"));
  EXPECT_THAT(Failure("a.jsonl", "\x1F\x8B..."), HasSubstr("compressed (gzip)"));
  EXPECT_EQ(Failure("a.jsonl", "{}\n{}\nab\xFF"),
            "a.jsonl:3: not UTF-8: byte 3 of the line is 0xFF");
  EXPECT_THAT(Failure("a.dat", "some words"), HasSubstr("a.dat: neither JSON nor a name"));
}

TEST(Dataset, RefusesRowsByLine) {
  EXPECT_THAT(Failure("a.jsonl", "{\"prompt\": \n"), HasSubstr("a.jsonl:1: not JSON: "));
  EXPECT_THAT(Failure("a.json", "not JSON"), HasSubstr("a.json:1: not JSON: "));
  EXPECT_EQ(Failure("a.jsonl", std::string(kRow) + "\n[1]\n"),
            "a.jsonl:2: a row is an object {…}, this one is an array");
  EXPECT_EQ(Failure("a.json", "[\n1]"), "a.json:2: a row is an object {…}, this one is a number");
  EXPECT_THAT(Failure("a.json", "[]"), HasSubstr("a.json: no rows"));
  EXPECT_THAT(Failure("a.csv", "prompt,answer\n"), HasSubstr("a.csv: no rows"));
  EXPECT_THAT(Failure("a.jsonl", "{\"a\": 1}"), HasSubstr("a.jsonl:1: no schema fits"));
  EXPECT_THAT(Failure("a.jsonl", "{\"text\": \"" + std::string(kMaxRowBytes, 'x') + "\"}"),
              HasSubstr("a.jsonl:1: a row of 67108876 bytes"));
}

TEST(Dataset, NamesTheOneBrokenRowOfTenThousand) {
  for (const bool is_array : {false, true}) {
    std::string rows = is_array ? "[\n" : "";
    for (int row = 1; row <= 10000; ++row) {
      rows += row == 734 ? R"({"prompt": "Q, "completion": "A"})" : std::string(kRow);
      rows += is_array && row < 10000 ? ",\n" : "\n";
    }
    rows += is_array ? "]" : "";
    EXPECT_THAT(Failure("a.json", rows),
                HasSubstr(is_array ? "a.json:735: not JSON: " : "a.json:734: not JSON: "));
  }
}

TEST(Dataset, ReadsFiles) {
  const std::filesystem::path path = test::TemporaryFolder() / "rows.jsonl";
  std::ofstream(path) << kRow << "\n";
  const Result<Dataset> dataset = ReadDataset(path);
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_EQ(dataset->name, "rows.jsonl");
  EXPECT_EQ(dataset->examples.size(), 1U);
  const Result<Dataset> missing = ReadDataset(path.parent_path() / "none.jsonl");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  std::ofstream(path, std::ios::trunc).flush();
  const Result<Dataset> empty = ReadDataset(path);
  ASSERT_FALSE(empty);
  EXPECT_THAT(empty.error().message, HasSubstr("rows.jsonl: the file is empty"));
}

TEST(Dataset, RealFilesLoadWithoutAWord) {
  ETCH_DATA_OR_SKIP(folder, "instruct");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"llamafactory/identity.json", "alpaca: instruction + input -> output, 91 rows"},
      {"llamafactory/alpaca_en_demo.json", "alpaca: instruction + input -> output, 999 rows"},
      {"llamafactory/glaive_toolcall_en_demo.json", "sharegpt: conversations, 300 rows"},
      {"wikisql_mlx/train.jsonl", "text: text, 1,000 rows"},
      {"wikisql_mlx/valid.jsonl", "text: text, 100 rows"},
      {"../eval/gsm8k_train.jsonl", "prompt-completion: question -> answer, 7,473 rows"},
      {"dummy_conversation.json", "sharegpt: conversations, 500 rows"}};
  for (const auto& [file, description] : expected) {
    const Result<Dataset> dataset = ReadDataset(folder / file);
    ASSERT_TRUE(dataset) << dataset.error().message;
    EXPECT_EQ(Describe(*dataset), description) << file;
  }
}

TEST(Dataset, RealFilesThatAreNoTrainingDataSaySo) {
  ETCH_DATA_OR_SKIP(folder, "instruct");
  const std::vector<std::pair<std::string, std::string>> expected = {
      {"llamafactory/dpo_en_demo.json", "dpo_en_demo.json:2: the rows are preferences"},
      {"llamafactory/dataset_info.json", "dataset_info.json:1: no schema fits the keys "},
      {"llamafactory/reason_tool_use_demo_50.jsonl", ":1: content of type \"reasoning\""},
      {"seed_tasks.jsonl", "seed_tasks.jsonl:1: no schema fits the keys \"id\""},
      {"mt_bench_question.jsonl", "mt_bench_question.jsonl:1: no schema fits"}};
  for (const auto& [file, message] : expected) {
    const Result<Dataset> dataset = ReadDataset(folder / file);
    ASSERT_FALSE(dataset) << file;
    EXPECT_THAT(dataset.error().message, HasSubstr(message));
  }
}

}  // namespace
}  // namespace etch::tune
