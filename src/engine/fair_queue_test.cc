#include "engine/fair_queue.h"

#include <gtest/gtest.h>

namespace etch::engine {
namespace {

std::string Drain(FairQueue<char>& queue) {
  std::string order;
  while (!queue.empty()) {
    order += queue.Pop().second;
  }
  return order;
}

FairQueue<char> ThreeClients() {
  FairQueue<char> queue;
  for (const char item : std::string("abcd")) {
    queue.Push("first", item);
  }
  queue.Push("second", 'x');
  queue.Push("second", 'y');
  queue.Push("third", 'p');
  return queue;
}

TEST(FairQueueTest, TakesTurnsBetweenClientsAndKeepsTheOrderOfEach) {
  FairQueue<char> queue = ThreeClients();
  EXPECT_EQ(queue.size(), 7);
  EXPECT_EQ(Drain(queue), "axpbycd");
}

TEST(FairQueueTest, OneClientIsFirstComeFirstServed) {
  FairQueue<char> queue;
  for (const char item : std::string("abc")) {
    queue.Push("", item);
  }
  EXPECT_EQ(Drain(queue), "abc");
}

TEST(FairQueueTest, WhatIsPutBackIsTheNext) {
  FairQueue<char> queue = ThreeClients();
  queue.Pop();
  auto [client, item] = queue.Pop();
  EXPECT_EQ(client, "second");
  queue.PutBack(client, item);
  queue.Push("fourth", 'z');
  EXPECT_EQ(queue.size(), 7);
  EXPECT_EQ(Drain(queue), "xpbzycd");
  queue.Push("only", 'o');
  queue.Pop();
  queue.PutBack("only", 'o');  // its lane was gone
  EXPECT_EQ(Drain(queue), "o");
}

TEST(FairQueueTest, TakesOutWhatIsAskedFor) {
  FairQueue<char> queue = ThreeClients();
  const auto taken = queue.Take([](char item) { return item == 'b' || item == 'p'; });
  EXPECT_EQ(std::string(taken.begin(), taken.end()), "bp");
  EXPECT_EQ(queue.size(), 5);
  EXPECT_EQ(Drain(queue), "axcyd");
}

}  // namespace
}  // namespace etch::engine
