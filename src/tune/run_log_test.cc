#include "tune/run_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "support/data.h"
#include "tune/report.h"

namespace etch::tune {
namespace {

StepReport At(int64_t step, double loss) { return {step, 9, 0.5, loss, 0.1, 2.0, 100, 0.25}; }

TEST(RunLog, GoesOnBehindTheStepThatARunResumesAt) {
  const std::filesystem::path path = test::TemporaryFolder() / "log.jsonl";
  {
    auto log = RunLog::Open(path, 0);
    ASSERT_TRUE(log);
    for (const int64_t step : {1, 2, 3}) {
      ASSERT_TRUE(log->Add(At(step, 4.0 - static_cast<double>(step))));
    }
    ASSERT_TRUE(log->Add(ValidationReport{3, 1.5, true}));
    ASSERT_TRUE(log->Add(TextSample{3, "say \xFF", "it"}));
  }
  std::ofstream(path, std::ios::app) << "{\"step\":4,\"lo";  // a crash in the middle of a line
  auto log = RunLog::Open(path, 2);
  ASSERT_TRUE(log);
  ASSERT_EQ(log->steps().size(), 2U);
  EXPECT_EQ(log->steps()[1].step, 2);
  EXPECT_EQ(log->steps()[1].loss, 2.0);
  EXPECT_EQ(log->steps()[1].tokens, 100);
  EXPECT_TRUE(log->validations().empty());
  ASSERT_TRUE(log->Add(At(3, 0.5)));
  const auto text = ReadSmallFile(path);
  ASSERT_TRUE(text);
  EXPECT_EQ(std::ranges::count(*text, '\n'), 3);
  EXPECT_THAT(*text, ::testing::HasSubstr("\"loss\":0.5"));
  EXPECT_THAT(*text, ::testing::Not(::testing::HasSubstr("\"loss\":1.0")));
}

TEST(RunLog, ANewRunBeginsAnEmptyLog) {
  const std::filesystem::path path = test::TemporaryFolder() / "log.jsonl";
  {
    auto log = RunLog::Open(path, 0);
    ASSERT_TRUE(log && log->Add(At(1, 1.0)));
  }
  auto log = RunLog::Open(path, 0);
  ASSERT_TRUE(log);
  EXPECT_TRUE(log->steps().empty());
  EXPECT_FALSE(RunLog::Open("/nowhere/log.jsonl", 0));
}

TEST(Report, IsOnePageThatEscapesWhatItShows) {
  ReportContent content;
  content.title = "a <b> & \"c\"";
  content.tables = {{"Data", {{"rows", "1 < 2"}}}};
  content.findings = {"warning: <script>"};
  content.examples = {{"q?", "right", "<base>", "answer \xB6", true}};
  const std::string page = RenderReport(content, {At(1, 3.0), At(2, 2.0)}, {{2, 2.5, true}});
  EXPECT_THAT(page, ::testing::HasSubstr("a &lt;b&gt; &amp; &#34;c&#34;"));
  EXPECT_THAT(page, ::testing::HasSubstr("1 &lt; 2"));
  EXPECT_THAT(page, ::testing::HasSubstr("&lt;base&gt;"));
  EXPECT_THAT(page, ::testing::HasSubstr("answer \xEF\xBF\xBD<"));
  EXPECT_THAT(page, ::testing::HasSubstr("polyline"));
  EXPECT_THAT(page, ::testing::Not(::testing::HasSubstr("<script>")));
  EXPECT_THAT(page, ::testing::Not(::testing::HasSubstr("http")));
  EXPECT_THAT(page, ::testing::EndsWith("</html>\n"));
}

TEST(Report, HoldsNoCurveWithoutSteps) {
  EXPECT_THAT(RenderReport({}, {}, {}), ::testing::Not(::testing::HasSubstr("<svg")));
  // A single step, and steps that all have the same loss, are drawn without dividing by nothing.
  for (const auto& steps : {std::vector{At(1, 2.0)}, std::vector{At(1, 2.0), At(2, 2.0)}}) {
    EXPECT_THAT(RenderReport({}, steps, {}), ::testing::Not(::testing::HasSubstr("nan")));
  }
}

}  // namespace
}  // namespace etch::tune
