// Adapters on disk and in memory: what is known, what is loaded, what goes when.

#include "serve/registry.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <thread>

#include "adapter/random_adapter_test.h"

namespace etch::serve {
namespace {

namespace fs = std::filesystem;
using adapter::testing::ErrorOf;
using adapter::testing::RandomAdapter;
using adapter::testing::TinyConfig;

// Bytes of memory that this process holds.
[[maybe_unused]] int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t size = 0;
  int64_t resident = 0;
  file >> size >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

class RegistryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / fmt::format("etch-registry-{}", ::getpid());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (unsigned seed = 1; seed <= 4; ++seed) {
      ASSERT_TRUE(adapter::WritePeft(RandomAdapter(config_, 2, seed), config_,
                                     folder_ / fmt::format("a{}", seed)));
    }
    const auto summary = adapter::InspectAdapter(folder_ / "a1", config_);
    ASSERT_TRUE(summary);
    bytes_ = summary->size_bytes;
  }
  void TearDown() override { fs::remove_all(folder_); }

  // Claims an adapter and waits for it.
  std::shared_ptr<const engine::AdapterClaim> Take(AdapterRegistry& registry,
                                                   const std::string& name) {
    const auto source = registry.Find(name);
    EXPECT_TRUE(source) << name;
    auto claim = (*source)->Claim();
    if (claim != nullptr) {
      EXPECT_TRUE(registry.Load(name));
    }
    return claim;
  }
  static std::string Resident(const AdapterRegistry& registry) {
    std::string names;
    for (const AdapterState& state : registry.States()) {
      names += state.resident ? state.name : "";
    }
    return names;
  }

  const model::Config config_ = TinyConfig();
  fs::path folder_;
  int64_t bytes_ = 0;
};

TEST_F(RegistryTest, KnowsAFolderWithoutLoadingIt) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  EXPECT_EQ(registry.Names(), (std::vector<std::string>{"a1", "a2", "a3", "a4"}));
  EXPECT_EQ(registry.counts().resident, 0);
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_EQ(registry.State("a1")->rank, 2);
  EXPECT_EQ(registry.State("a1")->last_used, 0);
  const auto claim = Take(registry, "a2");
  const AdapterState state = *registry.State("a2");
  EXPECT_TRUE(state.resident);
  EXPECT_FALSE(state.loading);
  EXPECT_EQ(state.size_bytes, bytes_);
  EXPECT_GT(state.last_used, 1700000000);
  EXPECT_EQ(budget.used_bytes(), bytes_);
  const auto weights = claim->Weights();
  ASSERT_TRUE(weights && *weights);
  EXPECT_EQ(static_cast<int64_t>((*weights)->size_bytes), bytes_);
  EXPECT_TRUE((*weights)->linears[0].a_float.empty());
  EXPECT_EQ(ErrorOf(registry.Find("nobody")),
            "not_found: no model named \"nobody\"; GET /v1/models lists them");
}

TEST_F(RegistryTest, RefusesAtStartWhatIsNoAdapterAndAtFirstUseWhatDoesNotFit) {
  engine::Budget budget;
  model::Config other = config_;
  other.dim = 32;
  AdapterRegistry strangers(other, "base", budget, {});
  ASSERT_TRUE(strangers.AddFolder(folder_));
  EXPECT_NE(ErrorOf(strangers.Find("a1")).find("mismatch: "), std::string::npos);

  std::ofstream(folder_ / "a3" / "adapter_model.safetensors") << "broken";
  AdapterRegistry registry(config_, "base", budget, {});
  const std::string error = ErrorOf(registry.AddFolder(folder_));
  EXPECT_NE(error.find("a3: adapter_model.safetensors is cut off"), std::string::npos) << error;
  AdapterRegistry taken(config_, "a1", budget, {});
  EXPECT_NE(ErrorOf(taken.AddFolder(folder_)).find("is there already"), std::string::npos);
  EXPECT_NE(ErrorOf(registry.AddFolder(folder_ / "none")).find("cannot read"), std::string::npos);
}

TEST_F(RegistryTest, EvictsTheLeastRecentlyUsedIdleAdapter) {
  engine::Budget budget(2 * bytes_);
  std::vector<std::string> warnings;
  AdapterRegistry registry(config_, "base", budget,
                           {false, 1, [&](const std::string& line) { warnings.push_back(line); }});
  ASSERT_TRUE(registry.AddFolder(folder_));
  Take(registry, "a1");
  Take(registry, "a2");
  Take(registry, "a1");
  Take(registry, "a3");
  EXPECT_EQ(Resident(registry), "a1a3");
  EXPECT_EQ(registry.counts().evictions, 1);
  EXPECT_EQ(registry.counts().loaded_bytes, registry.counts().loads * bytes_);
  ASSERT_EQ(warnings.size(), 1U);
  EXPECT_NE(warnings[0].find("exceed the budget: \"a2\" is evicted"), std::string::npos);
  Take(registry, "a4");
  EXPECT_EQ(warnings.size(), 1U);  // once a minute
  EXPECT_LE(budget.used_bytes(), 2 * bytes_);

  const auto held = Take(registry, "a3");
  const auto too = Take(registry, "a4");
  EXPECT_EQ(Take(registry, "a1"), nullptr);  // both are held
  EXPECT_EQ(Resident(registry), "a3a4");
  EXPECT_EQ(ErrorOf(registry.Load("a1")).substr(0, 9), "no_space:");
}

TEST_F(RegistryTest, APinnedAdapterStays) {
  engine::Budget budget(2 * bytes_);
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  ASSERT_TRUE(registry.Pin("a1", true));
  EXPECT_EQ((*registry.Find("a1"))->size_bytes(), 0);
  EXPECT_EQ((*registry.Find("a2"))->size_bytes(), bytes_);
  EXPECT_EQ(budget.available_bytes(), bytes_);
  for (const char* name : {"a2", "a3", "a4", "a2"}) {
    EXPECT_NE(Take(registry, name), nullptr);
    EXPECT_EQ(Resident(registry), std::string("a1") + name);
  }
  EXPECT_EQ(ErrorOf(registry.Unload("a1")), "invalid_argument: adapter \"a1\" is pinned");
  ASSERT_TRUE(registry.Pin("a1", false));
  EXPECT_EQ(budget.available_bytes(), 2 * bytes_);
  Take(registry, "a3");
  EXPECT_EQ(Resident(registry), "a2a3");
  EXPECT_FALSE(registry.Pin("nobody", true));
}

TEST_F(RegistryTest, TheSameContentIsTheSameAdapter) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  const auto identity = [&](const std::string& name) {
    return (*Take(registry, name)->Weights())->identity;
  };
  const auto first = identity("a1");
  EXPECT_NE(first, identity("a2"));
  ASSERT_TRUE(registry.Unload("a1"));
  EXPECT_EQ(first, identity("a1"));
  ASSERT_TRUE(registry.Unload("a1"));
  ASSERT_TRUE(adapter::WritePeft(RandomAdapter(config_, 2, 9), config_, folder_ / "a1"));
  EXPECT_NE(first, identity("a1"));
}

TEST_F(RegistryTest, AFailedLoadIsToldAndTriedAgain) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  ASSERT_TRUE(registry.Find("a1"));  // inspected
  ASSERT_TRUE(adapter::WritePeft(RandomAdapter(config_, 40, 1), config_, folder_ / "a1"));
  EXPECT_NE(ErrorOf(registry.Load("a1")).find("changed since it was last looked at"),
            std::string::npos);
  EXPECT_EQ(budget.used_bytes(), 0);
  EXPECT_TRUE(registry.Load("a1"));
  EXPECT_EQ(registry.State("a1")->rank, 40);
}

TEST_F(RegistryTest, WhatIsClaimedIsLoadedAlsoWhenItIsRemovedBefore) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  for (int round = 0; round < 20; ++round) {
    std::vector<std::shared_ptr<const engine::AdapterClaim>> claims;
    for (const char* name : {"a1", "a2", "a3", "a4"}) {
      claims.push_back((*registry.Find(name))->Claim());
    }
    ASSERT_TRUE(registry.Remove("a4"));  // the loader has hardly begun with a1
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (*claims.back()->Weights() == nullptr) {
      ASSERT_LT(std::chrono::steady_clock::now(), end);
      std::this_thread::yield();
    }
    claims.clear();
    for (const char* name : {"a1", "a2", "a3"}) {
      ASSERT_TRUE(registry.Load(name));
      ASSERT_TRUE(registry.Unload(name));
    }
    EXPECT_EQ(budget.used_bytes(), 0);
    ASSERT_TRUE(registry.Add("a4", folder_ / "a4"));
  }
}

TEST_F(RegistryTest, RemovingGivesBackWhenTheLastRequestEnds) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  auto claim = Take(registry, "a1");
  EXPECT_EQ(ErrorOf(registry.Unload("a1")),
            "unavailable: adapter \"a1\" is in use; try again later");
  ASSERT_TRUE(registry.Remove("a1"));
  EXPECT_FALSE(registry.Find("a1"));
  EXPECT_FALSE(registry.Remove("a1"));
  EXPECT_EQ(budget.used_bytes(), bytes_);
  EXPECT_TRUE(*claim->Weights());
  claim.reset();
  EXPECT_EQ(budget.used_bytes(), 0);
  ASSERT_TRUE(registry.Add("a1", folder_ / "a1"));
  EXPECT_FALSE(registry.Add("a1", folder_ / "a1"));
}

TEST_F(RegistryTest, WhatIsClaimedBehindItsRemovalDoesNotStay) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  auto source = registry.Find("a1");
  ASSERT_TRUE(source);
  ASSERT_TRUE(registry.Remove("a1"));
  auto claim = (*source)->Claim();
  while (!(*claim->Weights())) {
    std::this_thread::yield();
  }
  EXPECT_EQ(budget.used_bytes(), bytes_);
  claim.reset();
  Take(registry, "a2");
  EXPECT_EQ(budget.used_bytes(), bytes_);
  EXPECT_EQ(Resident(registry), "a2");
}

TEST_F(RegistryTest, WhatIsRemovedBeforeItIsLoadedArrivesNevertheless) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  for (int turn = 0; turn < 100; ++turn) {
    auto source = registry.Find("a1");
    ASSERT_TRUE(source);
    auto claim = (*source)->Claim();
    ASSERT_TRUE(registry.Remove("a1"));  // before the loader comes to it, mostly
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!(*claim->Weights())) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << turn;
      std::this_thread::yield();
    }
    ASSERT_TRUE(registry.Add("a1", folder_ / "a1"));
  }
}

TEST_F(RegistryTest, WhatIsReplacedIsAlwaysThere) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  std::atomic<bool> is_done = false;
  std::thread replacing([&] {
    for (int turn = 0; turn < 200; ++turn) {
      EXPECT_TRUE(registry.Replace("a1", folder_ / (turn % 2 == 0 ? "a2" : "a3")));
    }
    is_done = true;
  });
  int64_t gone = 0;
  while (!is_done) {
    gone += registry.State("a1") ? 0 : 1;
  }
  replacing.join();
  EXPECT_EQ(gone, 0);
  EXPECT_NE(ErrorOf(registry.Replace("base", folder_ / "a2")).find("is there already"),
            std::string::npos);
}

TEST_F(RegistryTest, AReloadMeddlesWithNoUploadAndNoRemoval) {
  engine::Budget budget;
  AdapterRegistry registry(config_, "base", budget, {});
  ASSERT_TRUE(registry.AddFolder(folder_));
  const auto staged = folder_.parent_path() / (folder_.filename().string() + "-staged");
  std::atomic<bool> stop = false;
  std::thread reloading([&] {
    while (!stop) {
      const Status status = registry.ReloadFolder(folder_);
      EXPECT_TRUE(status) << (status ? "" : status.error().message);
      std::this_thread::sleep_for(std::chrono::microseconds(300));
    }
  });
  for (int turn = 0; turn < 25; ++turn) {
    ASSERT_TRUE(adapter::WritePeft(RandomAdapter(config_, 2, 9), config_, staged));
    {
      const auto held = registry.HoldFolder();
      fs::rename(staged, folder_ / "fresh");
      EXPECT_TRUE(registry.Add("fresh", folder_ / "fresh"));
    }
    for (int look = 0; look < 20; ++look) {
      EXPECT_TRUE(registry.State("fresh")) << turn;
      std::this_thread::yield();
    }
    const auto held = registry.HoldFolder();
    EXPECT_TRUE(registry.Remove("fresh"));
    fs::remove_all(folder_ / "fresh");
  }
  stop = true;
  reloading.join();
  EXPECT_TRUE(registry.ReloadFolder(folder_));
  EXPECT_FALSE(registry.State("fresh"));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which keep what is freed
TEST_F(RegistryTest, UnloadingGivesTheMemoryBackToTheSystem) {
  model::Config wide = config_;
  wide.dim = 2048;
  wide.ffn_dim = 4096;
  ASSERT_TRUE(adapter::WritePeft(RandomAdapter(wide, 256, 1), wide, folder_ / "wide"));
  engine::Budget budget;
  AdapterRegistry registry(wide, "base", budget, {});
  ASSERT_TRUE(registry.Add("wide", folder_ / "wide"));
  ASSERT_TRUE(registry.Load("wide"));  // once, for what the first load leaves behind
  ASSERT_TRUE(registry.Unload("wide"));
  // Threads that load leave some of what they used in the allocator, now more and now less; what is
  // lost would be lost every time.
  int64_t size_bytes = 0;
  int64_t loaded = 0;
  int64_t kept = 0;
  for (int attempt = 0; attempt < 20; ++attempt) {
    const int64_t before = ResidentBytes();
    ASSERT_TRUE(registry.Load("wide"));
    size_bytes = registry.State("wide")->size_bytes;
    EXPECT_GT(size_bytes, 12 << 20);
    loaded = ResidentBytes() - before;
    ASSERT_TRUE(registry.Unload("wide"));
    kept = ResidentBytes() - before;
    if (loaded > size_bytes * 8 / 10 && kept < size_bytes / 4) {
      return;
    }
  }
  ADD_FAILURE() << "of " << size_bytes << " bytes " << loaded << " were seen loaded and " << kept
                << " are kept";
}
#endif

}  // namespace
}  // namespace etch::serve
