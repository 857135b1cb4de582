// That a kept context gives the bits of reading the tokens, and is seen by whom it may be seen.

#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include "engine/random_model_test.h"

namespace etch::engine {
namespace {

std::vector<TokenId> Tokens(int64_t count, int64_t from = 0) {
  std::vector<TokenId> tokens;
  for (int64_t index = 0; index < count; ++index) {
    tokens.push_back(static_cast<TokenId>((from + index * 7) % 60));
  }
  return tokens;
}

class PrefixCacheTest : public ::testing::TestWithParam<BackendKind> {
 protected:
  void SetUp() override {
    image_ = test::RandomImage(test::OddConfig(), 31);
    auto engine = Engine::Create(*image_, {GetParam(), 2, "", 128});
    ASSERT_TRUE(engine);
    engine_ = std::move(*engine);
  }

  std::unique_ptr<Session> Read(const std::vector<TokenId>& tokens,
                                const SessionOptions& options = {}) {
    auto session = engine_->NewSession(options);
    EXPECT_TRUE(session);
    const Step step{session->get(),
                    std::span(tokens).subspan(static_cast<size_t>((*session)->position()))};
    EXPECT_TRUE(engine_->Forward({&step, 1}));
    return std::move(*session);
  }
  static std::vector<int32_t> Logits(const Session& session) {
    const auto logits = session.logits();
    return {logits.begin(), logits.end()};
  }
  void Keep(PrefixCache& cache, const PrefixKey& key, const std::vector<TokenId>& tokens) {
    const auto session = Read(tokens);
    auto reservation = budget_.Reserve(session->context() * Bytes(1), Budget::Use::kContext);
    ASSERT_TRUE(reservation);
    cache.Keep(key, *session, tokens, std::move(*reservation));
  }
  int64_t Bytes(int64_t tokens) const { return tokens * engine_->info().kv_bytes_per_token; }

  std::unique_ptr<image::Image> image_;
  std::unique_ptr<Engine> engine_;
  Budget budget_;
};

TEST_P(PrefixCacheTest, GoingOnFromACopyGivesTheSameBits) {
  for (const int64_t length : {1, 15, 16, 17, 40}) {
    const auto prefix = Tokens(50);
    auto whole = Tokens(length);
    whole.insert(whole.end(), {3, 1, 4, 1, 5});
    const auto kept = Read(prefix);
    for (const int64_t context : {64, 128}) {
      const auto copied = Read(whole, {context, {}, kept.get(), length});
      EXPECT_EQ(Logits(*copied), Logits(*Read(whole))) << length;
    }
  }
}

TEST_P(PrefixCacheTest, FindsTheLongestCommonPrefix) {
  PrefixCache cache(*engine_, budget_, 1 << 30);
  auto other = Tokens(60);
  other[30] = 61;
  Keep(cache, {}, Tokens(40));
  Keep(cache, {}, other);
  EXPECT_EQ(cache.Find({}, Tokens(100)).tokens, 40);
  EXPECT_EQ(cache.Find({}, Tokens(40)).tokens, 39);  // one token must be read
  other.push_back(5);
  EXPECT_EQ(cache.Find({}, other).tokens, 60);
  EXPECT_EQ(cache.Find({}, Tokens(PrefixCache::kMinTokens)).tokens, 0);
  EXPECT_EQ(cache.Find({}, Tokens(100, 1)).session, nullptr);
}

TEST_P(PrefixCacheTest, NeverCrossesSaltsOrAdapters) {
  PrefixCache cache(*engine_, budget_, 1 << 30);
  const PrefixKey mine{{{1, 2, 65536}}, "mine"};
  Keep(cache, mine, Tokens(40));
  EXPECT_EQ(cache.Find(mine, Tokens(50)).tokens, 40);
  EXPECT_EQ(cache.Find({mine.adapters, "theirs"}, Tokens(50)).session, nullptr);
  EXPECT_EQ(cache.Find({mine.adapters, ""}, Tokens(50)).session, nullptr);
  EXPECT_EQ(cache.Find({{}, "mine"}, Tokens(50)).session, nullptr);
  EXPECT_EQ(cache.Find({{{1, 3, 65536}}, "mine"}, Tokens(50)).session, nullptr);
  EXPECT_EQ(cache.Find({{{1, 2, 32768}}, "mine"}, Tokens(50)).session, nullptr);
}

TEST_P(PrefixCacheTest, KeysComeFromTheContentOfAdapters) {
  const auto adapter = test::RandomAdapter(test::OddConfig(), 4, 5);
  PrefixKey key;
  EXPECT_FALSE(MakePrefixKey(std::vector<ActiveAdapter>{{adapter}}, "s", key));
  auto known = std::make_shared<AdapterWeights>(*adapter);
  known->identity = {7, 9};
  EXPECT_TRUE(MakePrefixKey(std::vector<ActiveAdapter>{{known, 1000}}, "s", key));
  EXPECT_EQ(key, (PrefixKey{{{7, 9, 1000}}, "s"}));
}

TEST_P(PrefixCacheTest, TakesNoMoreThanItsTokensAndItsShare) {
  PrefixCache cache(*engine_, budget_, Bytes(100));
  Keep(cache, {{}, "a"}, Tokens(40));  // 48 with the page
  EXPECT_EQ(budget_.used_bytes(Budget::Use::kPrefix), Bytes(48));
  EXPECT_EQ(budget_.used_bytes(Budget::Use::kContext), 0);
  Keep(cache, {{}, "b"}, Tokens(40));
  cache.Find({{}, "a"}, Tokens(50));
  Keep(cache, {{}, "c"}, Tokens(40));  // the least recently used goes
  EXPECT_EQ(cache.Find({{}, "b"}, Tokens(50)).session, nullptr);
  EXPECT_EQ(cache.Find({{}, "a"}, Tokens(50)).tokens, 40);
  EXPECT_EQ(budget_.used_bytes(), Bytes(96));
  Keep(cache, {{}, "d"}, Tokens(120));  // larger than the share
  EXPECT_EQ(cache.status().entries, 2);
  Keep(cache, {{}, "a"}, Tokens(45));  // takes the place of its prefix
  Keep(cache, {{}, "a"}, Tokens(42));  // says nothing new
  EXPECT_EQ(cache.status().entries, 2);
  EXPECT_EQ(budget_.used_bytes(), Bytes(96));
}

TEST_P(PrefixCacheTest, GivesItsMemoryToTheBudget) {
  Budget budget(Bytes(128));
  PrefixCache cache(*engine_, budget, 1 << 30);
  const auto session = Read(Tokens(40));
  auto reservation = budget.Reserve(Bytes(128), Budget::Use::kContext);
  ASSERT_TRUE(reservation);
  cache.Keep({}, *session, Tokens(40), std::move(*reservation));
  EXPECT_EQ(budget.used_bytes(), Bytes(48));
  EXPECT_EQ(cache.idle_bytes(), Bytes(48));
  EXPECT_TRUE(budget.Reserve(Bytes(100), Budget::Use::kContext));
  EXPECT_EQ(cache.status().entries, 0);
  EXPECT_EQ(budget.used_bytes(), 0);
}

INSTANTIATE_TEST_SUITE_P(Backends, PrefixCacheTest,
                         ::testing::Values(BackendKind::kCpu, BackendKind::kReference),
                         [](const auto& test) { return std::string(BackendName(test.param)); });

TEST(PrefixCacheOfTheTwinTest, KeepsNothing) {
  const auto image = test::RandomImage(test::OddConfig(), 31);
  const auto engine = Engine::Create(*image, {BackendKind::kFloat, 1, "", 64});
  ASSERT_TRUE(engine);
  EXPECT_FALSE((*engine)->info().copies_contexts);
  const auto session = (*engine)->NewSession({});
  const auto copy = (*engine)->NewSession({0, {}, session->get(), 0});
  EXPECT_EQ(copy ? "" : copy.error().message, "the float backend does not copy contexts");
}

}  // namespace
}  // namespace etch::engine
