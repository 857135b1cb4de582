#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <Vetch_host.h>

#include "rtl/fabric/unit_recorder.h"
#include "rtl/registers.h"

namespace etch::rtl {
namespace {

// As CMakeLists.txt sets them.
constexpr uint32_t kVocabulary = 300;
constexpr uint32_t kContext = 64;
constexpr uint32_t kSessions = 3;
constexpr uint32_t kAdapterSlots = 2;
constexpr uint32_t kAdapterWords = 100;

constexpr int kOkay = 0;
constexpr int kSlaveError = 2;

const std::vector<uint32_t> kWritable = {
    kSession,           kPosition, kPromptLength, kMaxTokens, kFlags,      kAdapter,
    kAdapterWeight,     kEndToken, kTopK,         kTopP,      kMinP,       kSeedLow,
    kSeedHigh,          kStepLow,  kStepHigh,     kStream,    kLoadTarget, kLoadAddress,
    kInverseTemperature};

struct Result {
  uint32_t data = 0;
  bool is_logit = false;
  bool last = false;
  bool operator==(const Result&) const = default;
};

struct Load {
  uint32_t target = 0;
  uint32_t address = 0;
  uint32_t data = 0;
  bool operator==(const Load&) const = default;
};

struct WriteData {
  uint32_t data = 0;
  uint8_t strobes = 0xf;
};

struct ReadResponse {
  uint32_t data = 0;
  int response = kOkay;
};

// One side that offers words: what it offers stays until it is taken, after a random wait.
template <class Word>
struct Source {
  std::deque<Word> words;
  bool offers = false;

  void Choose(bool now) { offers = offers || (now && !words.empty()); }
  void Taken() {
    words.pop_front();
    offers = false;
  }
};

// A host and a chip around the port, which wait at random on every channel.
class Bench {
 public:
  explicit Bench(uint64_t seed) : random_(seed) {
    unit.clk = 0;
    unit.rst = 1;
    unit.busy = 0;
    unit.finished = 0;
    unit.position_next = 0;
    Tick();
    Tick();
    unit.rst = 0;
  }

  void Tick() {
    address_.Choose(Often());
    data_.Choose(Often());
    read_.Choose(Often());
    stream.Choose(Often());
    results.Choose(Often());
    unit.awvalid = address_.offers;
    unit.awaddr = static_cast<uint16_t>(address_.offers ? address_.words.front() : random_());
    unit.awaddr &= 0xfff;
    unit.wvalid = data_.offers;
    unit.wdata = data_.offers ? data_.words.front().data : static_cast<uint32_t>(random_());
    unit.wstrb = data_.offers ? data_.words.front().strobes : 0xf;
    unit.arvalid = read_.offers;
    unit.araddr = static_cast<uint16_t>((read_.offers ? read_.words.front() : random_()) & 0xfff);
    unit.s_tvalid = stream.offers;
    unit.s_tdata = stream.offers ? stream.words.front() : static_cast<uint32_t>(random_());
    unit.s_tlast = random_() % 2;
    unit.result_valid = results.offers;
    const Result result = results.offers ? results.words.front() : Result{7, true, true};
    unit.result_data = result.data;
    unit.result_is_logit = result.is_logit;
    unit.result_last = result.last;
    unit.bready = Often();
    unit.rready = Often();
    unit.m_tready = takes_results && Often();
    unit.load_ready = takes_loads && Often();
    unit.eval();

    recorder_.Record(unit);
    if (!unit.rst) {
      CheckThatOffersStay();
      Exchange();
    }
    unit.clk = 1;
    unit.eval();
    unit.clk = 0;
    unit.eval();
    ++cycle;
  }

  void Ticks(int count) {
    for (int index = 0; index < count; ++index) {
      Tick();
    }
  }

  // Accesses whose responses are awaited later.
  void PostWrite(uint32_t address, uint32_t data, uint8_t strobes = 0xf) {
    address_.words.push_back(address);
    data_.words.push_back({data, strobes});
  }
  void PostRead(uint32_t address) { read_.words.push_back(address); }

  // The response to the oldest write, or read, without one.
  int AwaitWrite() {
    for (int wait = 0; wait < 1000 && written_.empty(); ++wait) {
      Tick();
    }
    if (written_.empty()) {
      ADD_FAILURE() << "no response to a write";
      return -1;
    }
    const int response = written_.front();
    written_.pop_front();
    return response;
  }
  ReadResponse AwaitRead() {
    for (int wait = 0; wait < 1000 && values_.empty(); ++wait) {
      Tick();
    }
    if (values_.empty()) {
      ADD_FAILURE() << "no response to a read";
      return {0, -1};
    }
    const ReadResponse response = values_.front();
    values_.pop_front();
    return response;
  }

  int Write(uint32_t address, uint32_t data, uint8_t strobes = 0xf) {
    PostWrite(address, data, strobes);
    return AwaitWrite();
  }

  ReadResponse ReadWhole(uint32_t address) {
    PostRead(address);
    return AwaitRead();
  }

  uint32_t Read(uint32_t address) {
    const ReadResponse response = ReadWhole(address);
    EXPECT_EQ(response.response, kOkay);
    return response.data;
  }

  // Settings that a start accepts.
  void SetGood() {
    for (const auto& [address, value] :
         std::vector<std::pair<uint32_t, uint32_t>>{{kSession, 0},
                                                    {kPosition, 0},
                                                    {kPromptLength, 1},
                                                    {kMaxTokens, 1},
                                                    {kFlags, 0},
                                                    {kAdapter, 0},
                                                    {kTopK, 1},
                                                    {kTopP, 65536},
                                                    {kMinP, 0},
                                                    {kInverseTemperature, 0}}) {
      ASSERT_EQ(Write(address, value), kOkay);
    }
  }

  // The chip ends its run.
  void Finish() {
    unit.finished = 1;
    Tick();
    finished_cycle = cycle - 1;
    unit.finished = 0;
    unit.busy = 0;
    Tick();
  }

  uint64_t Random() { return random_(); }

  Vetch_host unit;
  int64_t cycle = 0;
  Source<uint32_t> stream;  // words of the host
  Source<Result> results;   // words of the chip
  std::vector<Result> received;
  std::vector<Load> loaded;
  std::vector<int64_t> go_cycles;
  int64_t finished_cycle = -1;
  int aborts = 0;
  int stream_taken_while_busy = 0;
  bool takes_results = true;
  bool takes_loads = true;
  // Of 4, how often each side is ready or offers.
  uint64_t eagerness = 2;

 private:
  test::UnitRecorder recorder_;
  bool Often() { return random_() % 4 < eagerness; }

  void CheckThatOffersStay() {
    const auto b = std::make_tuple(unit.bvalid != 0, unit.bresp);
    const auto r = std::make_tuple(unit.rvalid != 0, unit.rdata, unit.rresp);
    const auto m = std::make_tuple(unit.m_tvalid != 0, unit.m_tdata, unit.m_tuser, unit.m_tlast);
    const auto load =
        std::make_tuple(unit.load_valid != 0, unit.load_target, unit.load_address, unit.load_data);
    EXPECT_TRUE(!b_waits_ || b == b_);
    EXPECT_TRUE(!r_waits_ || r == r_);
    EXPECT_TRUE(!m_waits_ || m == m_);
    EXPECT_TRUE(!load_waits_ || load == load_);
    b_ = b;
    r_ = r;
    m_ = m;
    load_ = load;
    b_waits_ = unit.bvalid && !unit.bready;
    r_waits_ = unit.rvalid && !unit.rready;
    m_waits_ = unit.m_tvalid && !unit.m_tready;
    load_waits_ = unit.load_valid && !unit.load_ready;
  }

  void Exchange() {
    if (unit.awvalid && unit.awready) {
      address_.Taken();
    }
    if (unit.wvalid && unit.wready) {
      data_.Taken();
    }
    if (unit.bvalid && unit.bready) {
      written_.push_back(unit.bresp);
    }
    if (unit.arvalid && unit.arready) {
      read_.Taken();
    }
    if (unit.rvalid && unit.rready) {
      values_.push_back({unit.rdata, unit.rresp});
    }
    if (unit.s_tvalid && unit.s_tready) {
      stream.Taken();
      stream_taken_while_busy += unit.busy;
    }
    if (unit.result_valid && unit.result_ready) {
      results.Taken();
    }
    if (unit.m_tvalid && unit.m_tready) {
      received.push_back({unit.m_tdata, unit.m_tuser != 0, unit.m_tlast != 0});
    }
    if (unit.load_valid && unit.load_ready) {
      loaded.push_back({unit.load_target, unit.load_address, unit.load_data});
    }
    if (unit.go) {
      EXPECT_FALSE(unit.load_valid);
      go_cycles.push_back(cycle);
      unit.busy = 1;  // from the next cycle on, as a chip's register would be
    }
    if (unit.abort_run) {
      ++aborts;
      results = {};
    }
  }

  std::mt19937_64 random_;
  Source<uint32_t> address_;
  Source<WriteData> data_;
  Source<uint32_t> read_;
  std::deque<int> written_;
  std::deque<ReadResponse> values_;
  std::tuple<bool, uint8_t> b_;
  std::tuple<bool, uint32_t, uint8_t> r_;
  std::tuple<bool, uint32_t, uint8_t, uint8_t> m_;
  std::tuple<bool, uint8_t, uint32_t, uint32_t> load_;
  bool b_waits_ = false;
  bool r_waits_ = false;
  bool m_waits_ = false;
  bool load_waits_ = false;
};

TEST(HostPort, SaysWhatTheChipIs) {
  Bench bench(1);
  EXPECT_EQ(bench.Read(kId), 0x45544348U);
  EXPECT_EQ(bench.Read(kVersion), 9U);
  const std::array<uint32_t, 10> shape = {
      48, 5, 6, 3, kVocabulary, kContext, 16, kSessions, kAdapterSlots, kAdapterWords};
  for (size_t index = 0; index < shape.size(); ++index) {
    EXPECT_EQ(bench.Read(kShape + 4 * static_cast<uint32_t>(index)), shape[index]);
  }
  bench.unit.position_next = 0x1234567;
  EXPECT_EQ(bench.Read(kPositionNext), 0x1234567U);
}

TEST(HostPort, RegistersAfterReset) {
  Bench bench(2);
  for (const uint32_t address : kWritable) {
    const uint32_t expected = address == kTopK            ? 1U
                              : address == kTopP          ? 65536U
                              : address == kAdapterWeight ? 65536U
                              : address == kEndToken      ? 0xffffffffU
                                                          : 0U;
    EXPECT_EQ(bench.Read(address), expected) << address;
  }
  for (const uint32_t address : {kControl, kStatus, kError, kCyclesLow, kCyclesHigh, kTokens}) {
    EXPECT_EQ(bench.Read(address), 0U) << address;
  }
}

TEST(HostPort, EveryRegisterReadsBackAndReachesTheChip) {
  Bench bench(3);
  for (int round = 0; round < 20; ++round) {
    bench.eagerness = 1 + bench.Random() % 4;
    std::vector<uint32_t> values;
    for (const uint32_t address : kWritable) {
      values.push_back(static_cast<uint32_t>(bench.Random()));
      ASSERT_EQ(bench.Write(address, values.back()), kOkay);
    }
    const auto value = [&](uint32_t address) {
      const auto found = std::find(kWritable.begin(), kWritable.end(), address);
      return values[static_cast<size_t>(found - kWritable.begin())];
    };
    for (const uint32_t address : kWritable) {
      const uint32_t mask = address == kFlags ? 3 : 0xffffffff;
      ASSERT_EQ(bench.Read(address), value(address) & mask) << address;
    }
    const auto& unit = bench.unit;
    EXPECT_EQ(unit.session, value(kSession));
    EXPECT_EQ(unit.position, value(kPosition));
    EXPECT_EQ(unit.prompt_length, value(kPromptLength));
    EXPECT_EQ(unit.max_tokens, value(kMaxTokens));
    EXPECT_EQ(unit.send_logits, value(kFlags) & 1);
    EXPECT_EQ(unit.use_adapter, (value(kFlags) >> 1) & 1);
    EXPECT_EQ(unit.adapter, value(kAdapter));
    EXPECT_EQ(unit.adapter_weight, value(kAdapterWeight));
    EXPECT_EQ(unit.end_token, value(kEndToken));
    EXPECT_EQ(unit.inverse_temperature, value(kInverseTemperature) & 0xffffff);
    EXPECT_EQ(unit.top_k, value(kTopK) & 0xf);
    EXPECT_EQ(unit.top_p, value(kTopP) & 0x1ffff);
    EXPECT_EQ(unit.min_p, value(kMinP) & 0x1ffff);
    EXPECT_EQ(unit.seed, (uint64_t{value(kSeedHigh)} << 32) | value(kSeedLow));
    EXPECT_EQ(unit.step, (uint64_t{value(kStepHigh)} << 32) | value(kStepLow));
    EXPECT_EQ(unit.stream, value(kStream));
  }
  EXPECT_EQ(bench.Read(kStatus), 0U);
}

// Accesses that do not wait for the responses to earlier ones.
TEST(HostPort, EveryAccessHasItsResponse) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Bench bench(seed);
    bench.eagerness = 1 + seed % 4;
    constexpr uint32_t kCount = 200;
    for (uint32_t index = 0; index < kCount; ++index) {
      bench.PostWrite(index % 3 == 0 ? kId : kSeedLow, index);
      bench.PostRead(index % 5 == 0 ? 0xffc : kVersion);
    }
    for (uint32_t index = 0; index < kCount; ++index) {
      EXPECT_EQ(bench.AwaitWrite(), index % 3 == 0 ? kSlaveError : kOkay);
      const ReadResponse read = bench.AwaitRead();
      EXPECT_EQ(read.response, index % 5 == 0 ? kSlaveError : kOkay);
      EXPECT_EQ(read.data, index % 5 == 0 ? 0U : 9U);
    }
    EXPECT_EQ(bench.Read(kSeedLow), kCount - 1);
    bench.Ticks(20);
  }
}

TEST(HostPort, WritesInPart) {
  Bench bench(4);
  for (uint8_t strobes = 0; strobes < 15; ++strobes) {
    EXPECT_EQ(bench.Write(kPosition, 77, strobes), kSlaveError);
    EXPECT_EQ(bench.Write(kControl, kAbort, strobes), kSlaveError);
  }
  EXPECT_EQ(bench.Read(kPosition), 0U);
  EXPECT_EQ(bench.Read(kError), 0U);
  EXPECT_EQ(bench.aborts, 0);
}

TEST(HostPort, RegistersThatAreNotThere) {
  Bench bench(5);
  for (uint32_t address = 0; address < 0x1000; ++address) {
    const bool readable_only =
        address % 4 == 0 && (address == kId || address == kVersion || address == kStatus ||
                             address == kError || (address >= kCyclesLow && address <= 0x0b4));
    const bool writable = address == kControl ||
                          std::find(kWritable.begin(), kWritable.end(), address) != kWritable.end();
    if (!writable) {
      ASSERT_EQ(bench.Write(address, 0), kSlaveError) << address;
      ASSERT_EQ(bench.Read(kError), 3U) << address;
      ASSERT_EQ(bench.Read(kStatus), kFailed);
      ASSERT_EQ(bench.Write(kControl, kClearError), kOkay);
      ASSERT_EQ(bench.Read(kError), 0U);
    }
    if (!writable && !readable_only) {
      const ReadResponse response = bench.ReadWhole(address);
      ASSERT_EQ(response.response, kSlaveError) << address;
      ASSERT_EQ(response.data, 0U);
      ASSERT_EQ(bench.Read(kError), 3U) << address;
      ASSERT_EQ(bench.Write(kControl, kClearError), kOkay);
    }
  }
}

TEST(HostPort, StartsAreCheckedAgainstTheShape) {
  Bench bench(6);
  struct Case {
    std::vector<std::pair<uint32_t, uint32_t>> settings;
    uint32_t error;
  };
  constexpr uint32_t kMost = 0xffffffff;
  const std::vector<Case> cases = {
      {{}, 0},
      {{{kSession, kSessions - 1}}, 0},
      {{{kSession, kSessions}}, 9},
      {{{kSession, kMost}}, 9},
      {{{kPromptLength, 0}}, 4},
      {{{kPromptLength, kContext}}, 0},
      {{{kPromptLength, kContext + 1}}, 4},
      {{{kPromptLength, kMost}}, 4},
      {{{kPromptLength, kContext}, {kMaxTokens, 2}}, 5},
      {{{kPromptLength, kContext}, {kMaxTokens, 0}}, 0},
      {{{kPromptLength, kContext}, {kMaxTokens, 0}, {kPosition, 1}}, 5},
      {{{kPosition, kContext - 1}}, 0},
      {{{kPosition, kContext}}, 5},
      {{{kPosition, kMost}}, 5},
      {{{kPosition, kMost}, {kMaxTokens, kMost}}, 5},
      {{{kPosition, 20}, {kPromptLength, 30}, {kMaxTokens, 15}}, 0},
      {{{kPosition, 20}, {kPromptLength, 30}, {kMaxTokens, 16}}, 5},
      {{{kMaxTokens, kContext}}, 0},
      {{{kMaxTokens, kMost}}, 5},
      {{{kAdapter, kAdapterSlots}}, 0},
      {{{kAdapter, kAdapterSlots - 1}, {kFlags, 2}}, 0},
      {{{kAdapter, kAdapterSlots}, {kFlags, 2}}, 6},
      {{{kAdapter, kMost}, {kFlags, 3}}, 6},
      {{{kTopK, 0}}, 8},
      {{{kTopK, 8}}, 0},
      {{{kTopK, 9}}, 8},
      {{{kTopK, 17}}, 8},
      {{{kTopP, 0}}, 8},
      {{{kTopP, 1}}, 0},
      {{{kTopP, 65537}}, 8},
      {{{kTopP, 0x80000001}}, 8},
      {{{kMinP, 65535}}, 0},
      {{{kMinP, 65536}}, 8},
      {{{kMinP, 0x20000}}, 8},
      {{{kInverseTemperature, 0xffffff}}, 0},
      {{{kInverseTemperature, 0x1000000}}, 8},
  };
  for (const Case& test : cases) {
    bench.SetGood();
    for (const auto& [address, value] : test.settings) {
      ASSERT_EQ(bench.Write(address, value), kOkay);
    }
    const size_t before = bench.go_cycles.size();
    const int response = bench.Write(kControl, kStart);
    bench.Ticks(3);
    std::string said;
    for (const auto& [address, value] : test.settings) {
      said += std::to_string(address) + "=" + std::to_string(value) + " ";
    }
    EXPECT_EQ(bench.Read(kError), test.error) << said;
    EXPECT_EQ(response, test.error == 0 ? kOkay : kSlaveError) << said;
    EXPECT_EQ(bench.go_cycles.size() - before, test.error == 0 ? 1U : 0U) << said;
    EXPECT_EQ(bench.Read(kStatus), test.error == 0 ? kBusy : kFailed) << said;
    if (test.error == 0) {
      bench.Finish();
    }
    ASSERT_EQ(bench.Write(kControl, kClearError), kOkay);
    EXPECT_EQ(bench.Read(kStatus), 0U) << said;
  }
}

TEST(HostPort, NothingChangesDuringARun) {
  Bench bench(7);
  bench.SetGood();
  ASSERT_EQ(bench.Write(kControl, kStart), kOkay);
  std::vector<uint32_t> before;
  for (const uint32_t address : kWritable) {
    before.push_back(bench.Read(address));
    EXPECT_EQ(bench.Write(address, before.back() + 1), kSlaveError) << address;
    EXPECT_EQ(bench.Read(kError), 2U);
    EXPECT_EQ(bench.Read(address), before.back()) << address;
    ASSERT_EQ(bench.Write(kControl, kClearError), kOkay);
  }
  EXPECT_EQ(bench.Write(kControl, kStart), kSlaveError);
  EXPECT_EQ(bench.Read(kError), 1U);
  EXPECT_EQ(bench.Read(kStatus), kBusy | kFailed);
  // The first error stays, until it is cleared.
  EXPECT_EQ(bench.Write(kSession, 1), kSlaveError);
  EXPECT_EQ(bench.Write(kId, 1), kSlaveError);
  EXPECT_EQ(bench.Read(kError), 1U);
  // Cleared and set by one write.
  EXPECT_EQ(bench.Write(kControl, kClearError | kStart), kSlaveError);
  EXPECT_EQ(bench.Read(kError), 1U);
  EXPECT_EQ(bench.go_cycles.size(), 1U);
  bench.Finish();
  EXPECT_EQ(bench.Read(kStatus), kFailed);
  EXPECT_EQ(bench.Write(kControl, kClearError | kStart), kOkay);
  EXPECT_EQ(bench.Read(kStatus), kBusy);
  EXPECT_EQ(bench.go_cycles.size(), 2U);
}

TEST(HostPort, CountsTheCyclesAndTokensOfTheLastRun) {
  Bench bench(8);
  bench.SetGood();
  for (const int length : {3, 50, 1000}) {
    ASSERT_EQ(bench.Write(kControl, kStart), kOkay);
    for (int index = 0; index < length; ++index) {
      bench.results.words.push_back({static_cast<uint32_t>(index), index % 3 == 1, false});
      bench.Tick();
    }
    while (!bench.results.words.empty()) {
      bench.Tick();
    }
    bench.Finish();
    EXPECT_EQ(bench.Read(kCyclesLow), bench.finished_cycle - bench.go_cycles.back());
    EXPECT_EQ(bench.Read(kCyclesHigh), 0U);
    EXPECT_EQ(bench.Read(kTokens), static_cast<uint32_t>(length - (length + 1) / 3));
    EXPECT_EQ(bench.Read(kStatus), 0U);
  }
}

TEST(HostPort, AnAbortEndsTheRun) {
  Bench bench(9);
  bench.SetGood();
  EXPECT_EQ(bench.Write(kControl, kAbort), kOkay);
  bench.Tick();
  EXPECT_EQ(bench.aborts, 1);
  EXPECT_EQ(bench.Write(kControl, kAbort | kStart), kOkay);
  EXPECT_EQ(bench.Read(kStatus), 0U);
  EXPECT_TRUE(bench.go_cycles.empty());
  ASSERT_EQ(bench.Write(kControl, kStart), kOkay);
  EXPECT_EQ(bench.Read(kStatus), kBusy);
  // With a start in the same write, the abort is what counts.
  EXPECT_EQ(bench.Write(kControl, kAbort | kStart), kOkay);
  bench.Tick();
  EXPECT_EQ(bench.aborts, 3);
  EXPECT_EQ(bench.go_cycles.size(), 1U);
  EXPECT_EQ(bench.Read(kStatus), kBusy);  // the chip still says so
  bench.unit.busy = 0;
  EXPECT_EQ(bench.Read(kStatus), 0U);
  EXPECT_EQ(bench.Write(kControl, kStart), kOkay);
  EXPECT_EQ(bench.go_cycles.size(), 2U);
}

// Results of an aborted run are dropped. One that is offered stays, and the port busy, until taken.
TEST(HostPort, AnAbortDropsResults) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Bench bench(seed);
    bench.SetGood();
    ASSERT_EQ(bench.Write(kControl, kStart), kOkay);
    bench.takes_results = bench.Random() % 2 == 0;
    for (uint32_t index = 0; index < 1 + seed % 8; ++index) {
      bench.results.words.push_back({index, true, false});
    }
    bench.Ticks(static_cast<int>(bench.Random() % 30));
    bench.unit.busy = 0;
    ASSERT_EQ(bench.Write(kControl, kAbort), kOkay);
    const size_t before = bench.received.size();
    if (!bench.takes_results) {
      const bool stays = bench.unit.m_tvalid;
      EXPECT_EQ(bench.Read(kStatus), stays ? kBusy | kStalled : 0U);
      EXPECT_EQ(bench.Write(kControl, kStart), stays ? kSlaveError : kOkay);
      bench.takes_results = true;
    }
    bench.Ticks(20);
    EXPECT_LE(bench.received.size(), before + 1);
    const std::vector<Result> next = {{8, false, false}, {9, false, false}, {10, false, true}};
    bench.results.words.assign(next.begin(), next.end());
    bench.Ticks(40);
    ASSERT_GE(bench.received.size(), 3U);
    EXPECT_TRUE(std::equal(next.begin(), next.end(), bench.received.end() - 3)) << "seed " << seed;
    for (uint32_t index = 0; index + 3 < bench.received.size(); ++index) {
      EXPECT_EQ(bench.received[index], (Result{index, true, false}));
    }
  }
}

TEST(HostPort, LoadsBothMemories) {
  Bench bench(10);
  for (int round = 0; round < 60; ++round) {
    bench.eagerness = 1 + bench.Random() % 4;
    bench.loaded.clear();
    const auto target = static_cast<uint32_t>(bench.Random() % 2);
    const auto address = static_cast<uint32_t>(bench.Random() % 40);
    const auto count = static_cast<uint32_t>(1 + bench.Random() % 24);
    ASSERT_EQ(bench.Write(kLoadTarget, target), kOkay);
    ASSERT_EQ(bench.Write(kLoadAddress, address), kOkay);
    std::vector<Load> expected;
    for (uint32_t index = 0; index < count; ++index) {
      const auto data =
          static_cast<uint32_t>(target == 0 ? bench.Random() % kVocabulary : bench.Random());
      bench.stream.words.push_back(data);
      expected.push_back({target, address + index, data});
    }
    while (!bench.stream.words.empty()) {
      bench.Tick();
      // Writes between the words do not disturb them.
      if (bench.Random() % 4 == 0) {
        ASSERT_EQ(bench.Write(kSession, 1), kOkay);
      }
    }
    EXPECT_EQ(bench.Read(kLoadAddress), address + count);
    bench.Ticks(20);
    EXPECT_EQ(bench.loaded, expected);
    EXPECT_EQ(bench.Read(kError), 0U);
  }
}

TEST(HostPort, WordsThatDoNotFitAreDropped) {
  Bench bench(11);
  struct Case {
    uint32_t target;
    uint32_t address;
    std::vector<uint32_t> words;
    std::vector<Load> loaded;
    uint32_t error;
  };
  for (const Case& test : std::vector<Case>{
           {0, kContext - 1, {1, 2}, {{0, kContext - 1, 1}}, 4},
           {0, 0xffffffff, {1, 2}, {{0, 0, 2}}, 4},
           {0, 5, {kVocabulary - 1}, {{0, 5, kVocabulary - 1}}, 0},
           {0, 5, {3, kVocabulary, 4}, {{0, 5, 3}, {0, 7, 4}}, 4},
           {0, 5, {0xffffffff}, {}, 4},
           {1, kAdapterWords - 1, {kVocabulary, 9}, {{1, kAdapterWords - 1, kVocabulary}}, 7},
           {1, kAdapterWords - 1, {0xffffffff}, {{1, kAdapterWords - 1, 0xffffffff}}, 0},
           {1, 0xffffffff, {8}, {}, 7},
           {2, 0, {1}, {}, 7},
           {3, 0, {1}, {}, 7},
       }) {
    bench.loaded.clear();
    ASSERT_EQ(bench.Write(kLoadTarget, test.target), kOkay);
    ASSERT_EQ(bench.Write(kLoadAddress, test.address), kOkay);
    bench.stream.words.assign(test.words.begin(), test.words.end());
    bench.Ticks(50);
    EXPECT_TRUE(bench.stream.words.empty());
    EXPECT_EQ(bench.loaded, test.loaded);
    EXPECT_EQ(bench.Read(kError), test.error);
    EXPECT_EQ(bench.Read(kLoadAddress), test.address + static_cast<uint32_t>(test.words.size()));
    ASSERT_EQ(bench.Write(kControl, kClearError), kOkay);
  }
}

TEST(HostPort, TheStreamWaitsDuringARun) {
  Bench bench(12);
  bench.SetGood();
  ASSERT_EQ(bench.Write(kControl, kStart), kOkay);
  for (uint32_t word = 0; word < 10; ++word) {
    bench.stream.words.push_back(word);
  }
  bench.Ticks(200);
  EXPECT_EQ(bench.stream.words.size(), 10U);
  EXPECT_EQ(bench.stream_taken_while_busy, 0);
  EXPECT_FALSE(bench.unit.load_valid);
  bench.Finish();
  bench.Ticks(100);
  EXPECT_EQ(bench.loaded.size(), 10U);
}

// A start waits for the words before it: they are in the memory when the chip begins.
TEST(HostPort, AStartWaitsForTheLoadBeforeIt) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    Bench bench(seed);
    bench.SetGood();
    bench.takes_loads = false;
    bench.stream.words = {5, 6, 7};
    bench.Ticks(20);
    EXPECT_EQ(bench.stream.words.size(), 2U);
    EXPECT_TRUE(bench.unit.load_valid);
    bench.takes_loads = true;
    ASSERT_EQ(bench.Write(kControl, kStart), kOkay);
    bench.Ticks(20);
    ASSERT_EQ(bench.go_cycles.size(), 1U);
    EXPECT_EQ(bench.stream_taken_while_busy, 0);
    const size_t loaded = bench.loaded.size();
    EXPECT_EQ(loaded + bench.stream.words.size(), 3U);
    bench.Finish();
    bench.Ticks(40);
    EXPECT_EQ(bench.loaded, (std::vector<Load>{{0, 0, 5}, {0, 1, 6}, {0, 2, 7}}));
  }
}

TEST(HostPort, NoResultIsLostOrReordered) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Bench bench(seed);
    std::vector<Result> sent;
    sent.reserve(1000);
    for (int index = 0; index < 1000; ++index) {
      sent.push_back({static_cast<uint32_t>(bench.Random()), bench.Random() % 2 == 0,
                      bench.Random() % 5 == 0});
    }
    bench.results.words.assign(sent.begin(), sent.end());
    int64_t ticks = 0;
    while (bench.received.size() < sent.size() && ticks < 100'000) {
      if (ticks % 100 == 0) {
        bench.takes_results = bench.Random() % 4 != 0;
        bench.eagerness = 1 + bench.Random() % 4;
      }
      bench.Tick();
      ++ticks;
    }
    EXPECT_EQ(bench.received, sent);
    bench.takes_results = true;
    bench.Ticks(20);
    EXPECT_EQ(bench.received.size(), sent.size());
  }
}

TEST(HostPort, AHostThatTakesAllGetsAWordACycle) {
  Bench bench(13);
  bench.eagerness = 4;
  for (uint32_t index = 0; index < 1000; ++index) {
    bench.results.words.push_back({index, false, false});
    bench.stream.words.push_back(index % kVocabulary);
  }
  bench.Ticks(1002);
  EXPECT_EQ(bench.received.size(), 1000U);
  EXPECT_TRUE(bench.stream.words.empty());
}

TEST(HostPort, SaysThatTheResultsAreStalled) {
  Bench bench(14);
  bench.takes_results = false;
  for (uint32_t index = 0; index < 4; ++index) {
    bench.results.words.push_back({index, false, false});
  }
  bench.Ticks(40);
  EXPECT_TRUE(bench.results.words.empty());  // four words wait in the port
  EXPECT_EQ(bench.Read(kStatus), 0U);
  bench.results.words.push_back({4, false, true});
  bench.Ticks(20);
  EXPECT_EQ(bench.results.words.size(), 1U);
  EXPECT_EQ(bench.Read(kStatus), kStalled);
  bench.takes_results = true;
  bench.Ticks(40);
  EXPECT_EQ(bench.Read(kStatus), 0U);
  EXPECT_EQ(bench.received.size(), 5U);
}

}  // namespace
}  // namespace etch::rtl
