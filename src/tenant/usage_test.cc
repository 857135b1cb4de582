#include "tenant/usage.h"

#include <gtest/gtest.h>

namespace etch::tenant {
namespace {

PricedSum Sum(const std::string& adapter, int64_t prompt, int64_t completion, Prices prices) {
  return {{202611, "acme", adapter, 1, prompt, completion, 0, 0}, prices};
}

TEST(Usage, ABillFollowsThePricesOfItsTime) {
  // 1 million at 1.00 and 1 million at 3.00 for prompts, half a million at 4.00 for answers.
  const auto totals = AddPrices({Sum("a", 1'000'000, 0, {1'000'000, 4'000'000}),
                                 Sum("a", 1'000'000, 500'000, {3'000'000, 4'000'000}),
                                 Sum("b", 1, 0, {1'000'000, 0})});
  ASSERT_EQ(totals.size(), 2U);
  EXPECT_EQ(totals[0].requests, 2);
  EXPECT_EQ(totals[0].prompt_tokens, 2'000'000);
  EXPECT_EQ(totals[0].cost_micros, 6'000'000);
  EXPECT_EQ(totals[1].cost_micros, 1);
}

TEST(Usage, ABillIsRoundedOnce) {
  // Three times 0.4 millionths are 1.2, not three times 0.
  const auto totals = AddPrices(
      {Sum("a", 1, 0, {400'000, 0}), Sum("a", 1, 0, {400'000, 1}), Sum("a", 1, 0, {400'000, 2})});
  EXPECT_EQ(totals[0].cost_micros, 1);
  EXPECT_EQ(AddPrices({Sum("a", 1, 0, {500'000, 0})})[0].cost_micros, 1) << "half goes up";
  EXPECT_EQ(AddPrices({Sum("a", 1, 0, {499'999, 0})})[0].cost_micros, 0);
}

TEST(Usage, ABillOfLargeNumbersDoesNotOverflow) {
  const int64_t tokens = 4'000'000'000'000;
  const auto totals = AddPrices({Sum("a", tokens, 0, {2'000'000'000, 0})});
  EXPECT_EQ(totals[0].cost_micros, 8'000'000'000'000'000);
}

TEST(Usage, CsvQuotesWhatItMust) {
  UsageTotal total{202611, "acme", "say \"hi\", you", 2, 10, 20, 3, 1'250'000};
  EXPECT_EQ(TotalsCsv({total}),
            "month,tenant,adapter,requests,prompt_tokens,completion_tokens,cached_tokens,cost\r\n"
            "2026-11,acme,\"say \"\"hi\"\", you\",2,10,20,3,1.25\r\n");
  UsageRow row;
  row.tenant = "acme";
  row.record.answer_id = "cmpl-1";
  row.record.outcome = Outcome::kCancelled;
  row.record.prices = {1, 2};
  EXPECT_EQ(RowsCsv({row}),
            "time,tenant,key,adapter,answer_id,request_id,outcome,prompt_tokens,"
            "completion_tokens,cached_tokens,price_prompt,price_completion\r\n"
            "1970-01-01T00:00:00Z,acme,,,cmpl-1,,cancelled,0,0,0,0.000001,0.000002\r\n");
}

}  // namespace
}  // namespace etch::tenant
