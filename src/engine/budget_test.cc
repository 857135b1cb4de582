#include "engine/budget.h"

#include <gtest/gtest.h>

#include <list>
#include <utility>

namespace etch::engine {
namespace {

using Use = Budget::Use;

// Idle things of given ages, which remembers what it gave up.
class Shelf : public Reclaimable {
 public:
  Shelf(Budget& budget, std::vector<int>& order) : budget_(budget), order_(order) {
    budget.Add(this);
  }
  ~Shelf() override { budget_.Remove(this); }
  void Put(int64_t bytes, int used_at) {
    auto reservation = budget_.Reserve(bytes, Use::kAdapter);
    ASSERT_TRUE(reservation);
    things_.emplace_back(std::move(*reservation), used_at);
  }
  std::optional<Clock::time_point> OldestUse() const override {
    return things_.empty()
               ? std::nullopt
               : std::optional(Clock::time_point(std::chrono::seconds(things_.front().second)));
  }
  int64_t idle_bytes() const override {
    int64_t total = 0;
    for (const auto& [reservation, used_at] : things_) {
      total += reservation.bytes();
    }
    return total;
  }
  bool ReclaimOldest() override {
    order_.push_back(things_.front().second);
    things_.pop_front();
    return true;
  }

 private:
  Budget& budget_;
  std::vector<int>& order_;
  std::list<std::pair<Budget::Reservation, int>> things_;
};

TEST(BudgetTest, CountsWhatIsReservedByUse) {
  Budget budget(100);
  auto context = budget.Reserve(60, Use::kContext);
  ASSERT_TRUE(context);
  EXPECT_FALSE(budget.Reserve(41, Use::kAdapter));
  {
    const auto adapter = budget.Reserve(40, Use::kAdapter);
    ASSERT_TRUE(adapter);
    EXPECT_EQ(budget.used_bytes(), 100);
    EXPECT_EQ(budget.used_bytes(Use::kAdapter), 40);
  }
  context->ShrinkTo(10);
  context->SetUse(Use::kPrefix);
  EXPECT_EQ(budget.used_bytes(Use::kContext), 0);
  EXPECT_EQ(budget.used_bytes(Use::kPrefix), 10);
  const Budget::Reservation moved = std::move(*context);
  context.reset();
  EXPECT_EQ(budget.used_bytes(), 10);
}

TEST(BudgetTest, WithoutALimitAllFitsAndIsCounted) {
  Budget budget;
  const auto huge = budget.Reserve(int64_t{1} << 60, Use::kContext);
  ASSERT_TRUE(huge);
  EXPECT_TRUE(budget.Reserve(int64_t{1} << 60, Use::kContext));
  EXPECT_EQ(budget.used_bytes(), int64_t{1} << 60);
}

TEST(BudgetTest, WhatIsPinnedIsNotAvailable) {
  Budget budget(100);
  EXPECT_EQ(budget.available_bytes(), 100);
  const auto pinned = budget.Reserve(30, Use::kPinnedAdapter);
  const auto context = budget.Reserve(30, Use::kContext);
  EXPECT_EQ(budget.available_bytes(), 70);
}

TEST(BudgetTest, ReclaimsTheLeastRecentlyUsedOfAllKindsAndNoMoreThanNeeded) {
  Budget budget(100);
  std::vector<int> order;
  Shelf left(budget, order);
  Shelf right(budget, order);
  left.Put(30, 1);
  left.Put(30, 4);
  right.Put(20, 2);
  right.Put(20, 3);
  EXPECT_TRUE(budget.Reserve(45, Use::kContext));
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(BudgetTest, ReclaimsNothingInVain) {
  Budget budget(100);
  std::vector<int> order;
  Shelf shelf(budget, order);
  shelf.Put(30, 1);
  const auto running = budget.Reserve(60, Use::kContext);
  EXPECT_FALSE(budget.Reserve(41, Use::kContext));
  EXPECT_TRUE(order.empty());
  EXPECT_TRUE(budget.Reserve(40, Use::kContext));
  EXPECT_EQ(order, std::vector<int>{1});
}

TEST(BudgetTest, TellsItsListenerOfEveryRelease) {
  Budget budget(100);
  int told = 0;
  budget.SetListener([&told] { ++told; });
  auto reservation = budget.Reserve(50, Use::kContext);
  EXPECT_EQ(told, 0);
  reservation->ShrinkTo(20);
  EXPECT_EQ(told, 1);
  reservation.reset();
  EXPECT_EQ(told, 2);
  budget.SetListener(nullptr);
  budget.Notify();
  EXPECT_EQ(told, 2);
}

}  // namespace
}  // namespace etch::engine
