#include "base/error.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>

namespace etch {
namespace {

Result<int> Half(int value) {
  if (value % 2 != 0) {
    return Fail(ErrorCode::kInvalidArgument, "{} is odd", value);
  }
  return value / 2;
}

Status CheckHalves(int value, int* calls) {
  ETCH_TRY(Half(value));
  ++*calls;
  return {};
}

Result<int> Quarter(int value) {
  ETCH_ASSIGN_OR_RETURN(const int half, Half(value));
  ETCH_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Result<std::unique_ptr<int>> Boxed(int value) {
  ETCH_ASSIGN_OR_RETURN(const int half, Half(value));
  return std::make_unique<int>(half);
}

Result<int> Unboxed(int value) {
  ETCH_ASSIGN_OR_RETURN(const std::unique_ptr<int> boxed, Boxed(value));
  return *boxed;
}

TEST(Error, FailFormatsItsMessage) {
  const auto failure = Half(3);
  ASSERT_FALSE(failure.has_value());
  EXPECT_EQ(failure.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(failure.error().message, "3 is odd");
}

TEST(Error, TryReturnsTheErrorAndElseGoesOn) {
  int calls = 0;
  EXPECT_TRUE(CheckHalves(4, &calls).has_value());
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(CheckHalves(5, &calls).error().message, "5 is odd");
  EXPECT_EQ(calls, 1);
}

TEST(Error, AssignOrReturnDeclaresOrReturns) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(7).error().message, "7 is odd");
  EXPECT_EQ(Quarter(6).error().message, "3 is odd");
  EXPECT_EQ(*Unboxed(10), 5);
  EXPECT_EQ(Unboxed(1).error().message, "1 is odd");
}

TEST(Error, PrefixKeepsTheCode) {
  const Result<int> failure = Prefix("model.gguf", Error{ErrorCode::kMalformed, "bad magic"});
  EXPECT_EQ(failure.error().code, ErrorCode::kMalformed);
  EXPECT_EQ(failure.error().message, "model.gguf: bad magic");
}

TEST(Error, EveryCodeHasANameOfItsOwn) {
  std::set<std::string_view> names;
  constexpr int kCodes = static_cast<int>(ErrorCode::kUnavailable) + 1;
  for (int code = 0; code < kCodes; ++code) {
    names.insert(ErrorCodeName(static_cast<ErrorCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(kCodes));
  EXPECT_FALSE(names.contains("unknown"));
  EXPECT_EQ(ErrorCodeName(ErrorCode::kContextExceeded), "context_exceeded");
}

TEST(CheckDeathTest, SaysWhatFailedAndAborts) {
  const int rows = 3;
  ETCH_CHECK(rows == 3, "rows are {}", rows);
  EXPECT_DEATH(ETCH_CHECK(rows == 4, "rows are {}", rows), "check failed: rows == 4 rows are 3");
  EXPECT_DEATH(ETCH_CHECK(rows < 0), "error_test.cc:[0-9]+: check failed: rows < 0");
}

}  // namespace
}  // namespace etch
