#include "base/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace etch {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Chart, ShortNumbersHaveThreeDigitsAndAPrefix) {
  EXPECT_EQ(ShortNumber(17'012.0), "17k");
  EXPECT_EQ(ShortNumber(0.0075), "0.0075");
  EXPECT_EQ(ShortNumber(53.14e9), "53.1G");
  EXPECT_EQ(ShortNumber(1234.0), "1234");
}

TEST(Chart, NothingWithoutPoints) { EXPECT_THAT(ChartSvg({{"a", {}}}, {}), IsEmpty()); }

TEST(Chart, DrawsWhatASeriesAsksFor) {
  const std::vector<std::pair<double, double>> points = {{1.0, 2.0}, {3.0, 4.0}};
  EXPECT_THAT(ChartSvg({{"<a>", points}}, {}),
              AllOf(HasSubstr("<circle"), HasSubstr("<polyline"), HasSubstr("&lt;a&gt;")));
  EXPECT_THAT(ChartSvg({{"", points, Mark::kPoints}}, {}),
              AllOf(HasSubstr("<circle"), Not(HasSubstr("<polyline"))));
  EXPECT_THAT(ChartSvg({{"", points, Mark::kLine, true}}, {}),
              AllOf(Not(HasSubstr("<circle")), HasSubstr("opacity")));
}

// The least value stands on the lower edge, unless the axis begins at 0.
TEST(Chart, TheAxisBeginsAtZeroIfAsked) {
  const Series series{"", {{0.0, 10.0}, {1.0, 20.0}}, Mark::kPoints};
  EXPECT_THAT(ChartSvg({series}, {.from_zero = false}), HasSubstr("cx=\"64.0\" cy=\"256.0\""));
  EXPECT_THAT(ChartSvg({series}, {}), HasSubstr("cx=\"64.0\" cy=\"143.0\""));
}

TEST(Chart, FlatCurvesAndLonePointsHaveAPlace) {
  for (const bool from_zero : {false, true}) {
    EXPECT_THAT(ChartSvg({{"", {{5.0, 0.0}}}}, {.from_zero = from_zero}),
                AllOf(HasSubstr("<circle"), Not(HasSubstr("nan")), Not(HasSubstr("inf"))));
  }
}

}  // namespace
}  // namespace etch
