// Faults at the port of a whole chip: whatever a host does there, it gets an error code or a stall,
// and the next good run gives exactly the engine's tokens and logits.
//
// A small random model is written as a chip and verilated. Episodes of random faults and runs
// follow, each from its own seed on a chip of its own, whose registers and memories begin with
// random contents.
//
//   ETCH_CHIP_SEED      runs the episode of this seed only, as a failure names it
//   ETCH_CHIP_COVERAGE  verilates with coverage, and leaves in this folder, for each chip, a file
//   of
//                       it and one of the bits that toggle among the registers that the folder's
//                       registers.vlt makes public

#include <dlfcn.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "base/file.h"
#include "chip/chip_host.h"
#include "engine/engine.h"
#include "engine/random_model_test.h"
#include "numerics/sampler.h"
#include "plan/hardware_plan.h"
#include "rtl/chip_writer.h"
#include "rtl/registers.h"
#include "rtl/simulation.h"

namespace etch::rtl {
namespace {

constexpr uint64_t kEpisodes = 48;
constexpr int kRunsOfAnEpisode = 10;

constexpr int64_t kContext = 32;
constexpr int64_t kSessions = 2;
constexpr int64_t kSlots = 2;

// Registers that can be written, and what a reset leaves in them.
const std::map<uint32_t, uint32_t> kAfterReset = {{kSession, 0},
                                                  {kPosition, 0},
                                                  {kPromptLength, 0},
                                                  {kMaxTokens, 0},
                                                  {kFlags, 0},
                                                  {kAdapter, 0},
                                                  {kAdapterWeight, 1 << 16},
                                                  {kEndToken, 0xffffffff},
                                                  {kInverseTemperature, 0},
                                                  {kTopK, 1},
                                                  {kTopP, 1 << 16},
                                                  {kMinP, 0},
                                                  {kSeedLow, 0},
                                                  {kSeedHigh, 0},
                                                  {kStepLow, 0},
                                                  {kStepHigh, 0},
                                                  {kStream, 0},
                                                  {kLoadTarget, 0},
                                                  {kLoadAddress, 0}};

model::Config SmallConfig() {
  model::Config config = engine::test::OddConfig();
  config.dim = 40;
  config.ffn_dim = 40;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.vocab_size = 37;
  return config;
}

// The model, its chip as a shared object, its engine, and adapters.
class Fixture {
 public:
  Fixture() {
    image_ = engine::test::RandomImage(SmallConfig(), 1, numerics::WeightFormat::kW3);
    plan::Choices choices;
    choices.lanes = 16;
    choices.context = kContext;
    choices.sessions = kSessions;
    choices.adapter_rank = 8;
    choices.adapter_slots = kSlots;
    plan_ = *plan::MakePlan(*image_, choices);
    for (uint32_t seed = 0; seed < 3; ++seed) {
      adapters_.push_back(engine::test::RandomAdapter(SmallConfig(), 4 + 2 * seed, seed));
      words_.push_back(*LayOutAdapter(plan_, *adapters_.back()));
    }
    engine::EngineOptions options;
    options.threads = 1;
    options.context = kContext;
    engine_ = *engine::Engine::Create(*image_, options);
    Build(etch::test::TemporaryFolder() / "chip");
  }

  const plan::HardwarePlan& plan() const { return plan_; }
  engine::Engine& engine() { return *engine_; }
  const ChipHost::Library& library() const { return library_; }
  const std::string& coverage() const { return coverage_; }
  const std::vector<std::shared_ptr<const engine::AdapterWeights>>& adapters() const {
    return adapters_;
  }
  const std::vector<AdapterWords>& words() const { return words_; }

 private:
  void Build(const std::filesystem::path& folder) {
    const Result<ChipReport> report = WriteChip(*image_, plan_, folder);
    ASSERT_TRUE(report) << report.error().message;
    std::filesystem::current_path(folder);  // where masks/ is
    if (const char* variable = std::getenv("ETCH_CHIP_COVERAGE"); variable != nullptr) {
      coverage_ = variable;
    }
    const std::string tests = (etch::test::SourceFolder() / "tests").string();
    const std::string command = fmt::format(
        "verilator --cc --exe --build -j 2 -Wall -O3 --x-assign unique --x-initial unique "
        "--noassert {} -CFLAGS '-O1 -fPIC -I{}' -LDFLAGS -shared -Ifabric --Mdir sim/pins "
        "--top-module etch_top -o chip_pins.so fabric/*.sv masks/etch_masks.sv "
        "{}/chip/chip_pins.cc "
        ">sim/build.log 2>&1",
        coverage_.empty() ? "" : fmt::format("--coverage-line {}/registers.vlt", coverage_), tests,
        tests);
    ASSERT_EQ(std::system(command.c_str()), 0) << command << "\n"
                                               << *ReadSmallFile("sim/build.log");
    void* object = dlopen((folder / "sim/pins/chip_pins.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(object, nullptr) << dlerror();
    library_.make = reinterpret_cast<ChipNew*>(dlsym(object, "EtchChipNew"));
    library_.tick = reinterpret_cast<ChipTick*>(dlsym(object, "EtchChipTick"));
    library_.end = reinterpret_cast<ChipDelete*>(dlsym(object, "EtchChipDelete"));
  }

  std::unique_ptr<image::Image> image_;
  plan::HardwarePlan plan_;
  std::unique_ptr<engine::Engine> engine_;
  std::vector<std::shared_ptr<const engine::AdapterWeights>> adapters_;
  std::vector<AdapterWords> words_;
  ChipHost::Library library_;
  std::string coverage_;
};

struct Request {
  int64_t session = 0;
  std::vector<int32_t> prompt;
  int64_t max_tokens = 0;
  bool logits = false;
  uint32_t end_token = 0xffffffff;
  numerics::SamplingConfig sampling;
  uint64_t step = 0;
  uint32_t stream = 0;
};

struct Expected {
  std::vector<ChipWord> results;
  uint32_t tokens = 0;
  int64_t cycles = 0;    // of a host that takes every result at once
  int64_t position = 0;  // behind the run
};

// A session of the chip, and the engine's beside it.
struct Context {
  std::unique_ptr<engine::Session> session;  // null: nothing in it
  int64_t slot = -1;
  int32_t weight = 1 << 16;
};

class Episode {
 public:
  Episode(Fixture& fixture, uint64_t seed)
      : fixture_(fixture),
        host_(fixture.library(), seed, fmt::format("{}/{}.dat", fixture.coverage(), seed)) {}

  void Run() {
    CheckReset();
    for (int run = 0; run < kRunsOfAnEpisode && !::testing::Test::HasFailure(); ++run) {
      ChooseEagerness();
      Fault();
      GoodRun();
    }
    host_.eager = {};
    CheckShape();
  }

 private:
  uint64_t Random(uint64_t count) { return host_.Random(count); }
  bool OneIn(uint64_t count) { return Random(count) == 0; }
  int64_t Between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(Random(static_cast<uint64_t>(high - low + 1)));
  }

  void ChooseEagerness() {
    const auto choose = [&] { return OneIn(2) ? 16 : 1 + Random(16); };
    host_.eager = {choose(), choose(), choose(), choose(), choose(), choose(), choose(), OneIn(3)};
    host_.eager.stream = std::max<uint64_t>(host_.eager.stream, 4);  // adapters are long
  }

  // ---- What is right.

  void CheckReset() {
    EXPECT_EQ(host_.Read(kStatus), 0U);
    EXPECT_EQ(host_.Read(kError), 0U);
    for (const auto& [address, value] : kAfterReset) {
      EXPECT_EQ(host_.Read(address), value) << "register " << address;
    }
    for (const uint32_t address : {kControl, kCyclesLow, kCyclesHigh, kTokens}) {
      EXPECT_EQ(host_.Read(address), 0U) << "register " << address;
    }
    registers_ = kAfterReset;
  }

  void CheckShape() {
    const plan::Fabric& fabric = fixture_.plan().fabric;
    const std::array<int64_t, 10> shape = {
        40,       2,  4,         2,      37,
        kContext, 16, kSessions, kSlots, kSlots * (fabric.slot_words * 8 + fabric.slot_rows)};
    EXPECT_EQ(host_.Read(0), 0x45544348U);
    EXPECT_EQ(host_.Read(4), 1U);
    for (size_t index = 0; index < shape.size(); ++index) {
      EXPECT_EQ(host_.Read(kShape + 4 * static_cast<uint32_t>(index)), shape[index]);
    }
  }

  // Registers, as the host knows them.
  void Set(uint32_t address, uint32_t value) {
    if (registers_[address] != value || OneIn(4)) {
      EXPECT_TRUE(host_.Write(address, value)) << "register " << address;
      registers_[address] = value;
    }
  }

  void Send(uint32_t target, uint32_t address, std::span<const uint32_t> words) {
    Set(kLoadTarget, target);
    Set(kLoadAddress, address);
    host_.stream.assign(words.begin(), words.end());
    host_.Until([&] { return host_.stream.empty(); });
    registers_[kLoadAddress] = address + static_cast<uint32_t>(words.size());
  }

  void SendPrompt(const Request& request) {
    const std::vector<uint32_t> words(request.prompt.begin(), request.prompt.end());
    Send(0, 0, words);
  }

  void SendAdapter(int64_t slot, size_t adapter) {
    const plan::Fabric& fabric = fixture_.plan().fabric;
    Send(1, AdapterCodeAddress(fabric, slot), fixture_.words()[adapter].codes);
    Send(1, AdapterRowAddress(fabric, slot), fixture_.words()[adapter].rows);
    loaded_[static_cast<size_t>(slot)] = adapter;
    Forget(slot);
  }

  // Contexts that were made with the slot's adapter begin anew.
  void Forget(int64_t slot) {
    for (Context& context : contexts_) {
      if (context.slot == slot) {
        context.session.reset();
      }
    }
  }

  // A run that the chip can do, and the state of its session: going on, or a new one.
  Request NewRequest(int64_t least_tokens = 0) {
    Request request;
    request.session = Between(0, kSessions - 1);
    Context& context = contexts_[static_cast<size_t>(request.session)];
    if (!context.session || context.session->position() > kContext - 8 || OneIn(3)) {
      context.slot = Between(-1, kSlots - 1);
      context.weight = OneIn(2) ? 1 << 16 : static_cast<int32_t>(Between(-100'000, 100'000));
      engine::SessionOptions options;
      options.context = kContext;
      if (context.slot >= 0) {
        auto& loaded = loaded_[static_cast<size_t>(context.slot)];
        if (!loaded) {
          SendAdapter(context.slot, Random(fixture_.adapters().size()));
        }
        options.adapters.push_back({fixture_.adapters()[*loaded], context.weight});
      }
      context.session = *fixture_.engine().NewSession(options);
    }
    const int64_t room = kContext - context.session->position();
    const int64_t length = Between(1, OneIn(8) ? room : 3);
    for (int64_t token = 0; token < length; ++token) {
      request.prompt.push_back(static_cast<int32_t>(Random(37)));
    }
    request.max_tokens =
        std::min(room - length + 1, std::max(least_tokens, Between(0, OneIn(8) ? room : 3)));
    request.logits = OneIn(2);
    if (OneIn(3)) {
      request.end_token = static_cast<uint32_t>(Random(37));
    }
    if (OneIn(2)) {
      numerics::SamplingParams params;
      params.temperature = 0.2 + 0.1 * static_cast<double>(Random(20));
      params.top_k = Between(2, 8);
      params.top_p = 0.1 * static_cast<double>(Between(1, 10));
      params.min_p = 0.05 * static_cast<double>(Random(10));
      params.seed = Random(~uint64_t{0});
      request.sampling = numerics::ToConfig(params);
    }
    request.step = OneIn(4) ? 0xfffffffe : Random(1000);
    request.stream = static_cast<uint32_t>(Random(3));
    return request;
  }

  // What the engine says to it. The engine's session then stands behind the run.
  Expected Expect(const Request& request) {
    const Context& context = contexts_[static_cast<size_t>(request.session)];
    engine::Session& session = *context.session;
    Expected expected;
    expected.cycles = plan::kStartCycles;
    const auto forward = [&](std::span<const int32_t> tokens, bool wanted) {
      for (size_t index = 0; index < tokens.size(); ++index) {
        expected.cycles +=
            plan::TokenCycles(fixture_.plan(), session.position() + static_cast<int64_t>(index),
                              context.slot >= 0, wanted && index + 1 == tokens.size());
      }
      const engine::Step step{&session, tokens};
      const Status status = fixture_.engine().Forward({&step, 1});
      ASSERT_TRUE(status) << status.error().message;
    };
    forward(request.prompt, request.max_tokens > 0);
    while (expected.tokens < request.max_tokens) {
      const std::span<const int32_t> logits = session.logits();
      for (size_t id = 0; request.logits && id < logits.size(); ++id) {
        expected.results.push_back({static_cast<uint32_t>(logits[id]), true, false});
      }
      const int32_t token =
          request.sampling.greedy
              ? numerics::Greedy(logits)
              : numerics::Sample(logits, request.sampling, request.step + expected.tokens,
                                 request.stream, fixture_.engine().image().tables());
      expected.results.push_back({static_cast<uint32_t>(token), false, true});
      ++expected.tokens;
      if (static_cast<uint32_t>(token) == request.end_token) {
        break;
      }
      if (expected.tokens < request.max_tokens) {
        forward({&token, 1}, true);
      }
    }
    expected.position = session.position();
    return expected;
  }

  void SetRegisters(const Request& request, int64_t position) {
    const Context& context = contexts_[static_cast<size_t>(request.session)];
    const auto low = [](auto value) { return static_cast<uint32_t>(value); };
    const auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
    Set(kSession, low(request.session));
    Set(kPosition, low(position));
    Set(kPromptLength, low(request.prompt.size()));
    Set(kMaxTokens, low(request.max_tokens));
    Set(kFlags, (request.logits ? 1U : 0U) | (context.slot >= 0 ? 2U : 0U));
    // Without an adapter any number will do.
    Set(kAdapter, context.slot >= 0 ? low(context.slot) : low(Random(5)));
    Set(kAdapterWeight, low(context.weight));
    Set(kEndToken, request.end_token);
    Set(kInverseTemperature, low(request.sampling.inverse_temperature));
    Set(kTopK, request.sampling.greedy ? 1 : low(request.sampling.top_k));
    Set(kTopP, request.sampling.top_p);
    Set(kMinP, request.sampling.min_p);
    Set(kSeedLow, low(request.sampling.seed));
    Set(kSeedHigh, high(request.sampling.seed));
    Set(kStepLow, low(request.step));
    Set(kStepHigh, high(request.step));
    Set(kStream, request.stream);
  }

  // A request, its expected results, and the registers set for it; the prompt is sent.
  std::pair<Request, Expected> Prepare(int64_t least_tokens = 0) {
    const Request request = NewRequest(least_tokens);
    const int64_t position = SessionOf(request).position();
    SetRegisters(request, position);
    SendPrompt(request);
    return {request, Expect(request)};
  }

  engine::Session& SessionOf(const Request& request) {
    return *contexts_[static_cast<size_t>(request.session)].session;
  }

  void Start(const Expected& expected) {
    host_.received.clear();
    EXPECT_TRUE(host_.Write(kControl, kStart));
    // It began before the answer came, at most so long.
    host_.busy_until = host_.cycle + expected.cycles - 400;
  }

  void WaitForEnd() {
    host_.Until([&] { return (host_.Read(kStatus) & kBusy) == 0; });
    host_.Until([&] { return !host_.offers_result(); });
  }

  void CheckRun(const Expected& expected, bool exact_cycles) {
    EXPECT_EQ(host_.received.size(), expected.results.size());
    EXPECT_TRUE(host_.received == expected.results) << "wrong tokens or logits";
    EXPECT_EQ(host_.Read(kTokens), expected.tokens);
    EXPECT_EQ(host_.Read(kPositionNext), expected.position);
    const int64_t cycles = host_.Read(kCyclesLow) + (int64_t{host_.Read(kCyclesHigh)} << 32);
    if (exact_cycles) {
      EXPECT_EQ(cycles, expected.cycles);
    } else {
      EXPECT_GE(cycles, expected.cycles);
    }
    EXPECT_EQ(host_.Read(kError), 0U);
    EXPECT_EQ(host_.Read(kStatus), 0U);
  }

  // A host that is not always ready makes a run longer.
  bool TakesAll() const { return host_.eager.results == 16 && !host_.eager.stalls; }

  void GoodRun() {
    const auto [request, expected] = Prepare();
    Start(expected);
    WaitForEnd();
    CheckRun(expected, TakesAll());
  }

  // ---- What is wrong.

  void ExpectError(uint32_t code, uint32_t busy = 0) {
    EXPECT_EQ(host_.Read(kStatus) & (kFailed | kBusy), kFailed | busy);
    EXPECT_EQ(host_.Read(kError), code);
    EXPECT_TRUE(host_.Write(kControl, kClearError));
    EXPECT_EQ(host_.Read(kError), 0U);
  }

  void Fault() {
    switch (Random(10)) {
      case 0:
        return BadStart();
      case 1:
        return BadWords();
      case 2:
        return BadRegisters();
      case 3:
        return DisturbedRun();
      case 4:
      case 5:
        return AbortedRun();
      case 6:
        return HardReset();
      case 7:
        return HalfAnAdapter();
      case 8:
        return StalledRun();
      default:
        return AbortWithoutARun();
    }
  }

  // A start with a setting out of range is refused, and works once the setting is right.
  void BadStart() {
    const auto [request, expected] = Prepare(1);
    const bool adapted = contexts_[static_cast<size_t>(request.session)].slot >= 0;
    const uint32_t position = registers_[kPosition];
    const auto length = static_cast<uint32_t>(request.prompt.size());
    struct Bad {
      uint32_t address;
      uint32_t value;
      uint32_t error;
    };
    std::vector<Bad> all = {{kSession, kSessions, 9},
                            {kSession, 0x80000000, 9},
                            {kPromptLength, 0, 4},
                            {kPromptLength, kContext + 1, 4},
                            {kPromptLength, 0xffffffff, 4},
                            {kMaxTokens, uint32_t{kContext} + 2 - position - length, 5},
                            {kMaxTokens, 0xffffffff, 5},
                            {kPosition, kContext, 5},
                            {kPosition, 0xffffffff, 5},
                            {kInverseTemperature, 1 << 24, 8},
                            {kTopK, 0, 8},
                            {kTopK, 9, 8},
                            {kTopK, 0x101, 8},
                            {kTopP, 0, 8},
                            {kTopP, 65537, 8},
                            {kMinP, 65536, 8}};
    if (adapted) {
      all.push_back({kAdapter, kSlots, 6});
      all.push_back({kAdapter, 0xffffffff, 6});
    }
    for (int count = 0; count < 4; ++count) {
      const Bad bad = all[Random(all.size())];
      const uint32_t good = registers_[bad.address];
      Set(bad.address, bad.value);
      EXPECT_FALSE(host_.Write(kControl, kStart)) << bad.address << " := " << bad.value;
      ExpectError(bad.error);
      Set(bad.address, good);
    }
    Start(expected);
    WaitForEnd();
    CheckRun(expected, TakesAll());
  }

  // Words that do not fit are dropped and harm neither the prompt nor the adapters.
  void BadWords() {
    const auto [request, expected] = Prepare(1);
    const plan::Fabric& fabric = fixture_.plan().fabric;
    const auto end = static_cast<uint32_t>(kSlots * (fabric.slot_words * 8 + fabric.slot_rows));
    struct Bad {
      uint32_t target;
      uint32_t address;
      uint32_t word;
      uint32_t error;
    };
    const std::vector<Bad> all = {
        {0, kContext, 1, 4},   {0, 4 * kContext, 1, 4}, {0, 0xffffffff, 1, 4}, {0, 0, 37, 4},
        {0, 0, 64 + 1, 4},     {0, 0, 0x80000001, 4},   {1, end, 1, 7},        {1, end + 8, 1, 7},
        {1, 0x80000000, 1, 7}, {1, 0xffffffff, 1, 7},   {2, 0, 1, 7},          {3, 0, 1, 7},
        {0x80000000, 0, 1, 7}};
    for (int count = 0; count < 4; ++count) {
      const Bad bad = all[Random(all.size())];
      const std::array<uint32_t, 1> word = {bad.word};
      Send(bad.target, bad.address, word);
      ExpectError(bad.error);
      EXPECT_EQ(host_.Read(kLoadAddress), bad.address + 1);
    }
    Start(expected);
    WaitForEnd();
    CheckRun(expected, TakesAll());
  }

  // Accesses that are none.
  void BadAccess(uint32_t busy) {
    const uint32_t address = static_cast<uint32_t>(Random(4096));
    const bool is_register = registers_.contains(address) || address == kControl;
    switch (Random(4)) {
      case 0: {  // a write of a part of a word says no more than its response
        const auto& [part, value] =
            *std::next(registers_.begin(), static_cast<std::ptrdiff_t>(Random(registers_.size())));
        EXPECT_FALSE(host_.Write(part, ~value, static_cast<uint32_t>(Random(15))));
        EXPECT_EQ(host_.Read(part), value);
        EXPECT_FALSE(host_.Write(kControl, kStart | kAbort, static_cast<uint32_t>(Random(15))));
        EXPECT_EQ(host_.Read(kError), 0U);
        return;
      }
      case 1: {
        const uint32_t read_only =
            std::array{0U, 4U, kStatus, kError, kCyclesLow, kTokens, kShape}.at(
                static_cast<size_t>(Random(7)));
        EXPECT_FALSE(host_.Write(read_only, static_cast<uint32_t>(Random(8))));
        return ExpectError(3, busy);
      }
      case 2:
        if (!is_register) {
          EXPECT_FALSE(host_.Write(address, static_cast<uint32_t>(Random(8))));
          ExpectError(3, busy);
        }
        return;
      default:
        if (address % 4 != 0 || address >= kShape + 40) {
          EXPECT_FALSE(host_.ReadWhole(address).second);
          ExpectError(3, busy);
        }
    }
  }

  void BadRegisters() {
    for (int count = 0; count < 6; ++count) {
      BadAccess(0);
    }
  }

  // Everything that a run must not notice.
  void DisturbedRun() {
    const auto [request, expected] = Prepare(2);
    Start(expected);
    // Words for behind the prompt: they wait.
    host_.stream.assign(std::min<size_t>(3, kContext - request.prompt.size()), 5);
    constexpr int64_t kLongest = 1200;  // of one disturbance, with a host this slow
    host_.eager.address = std::max<uint64_t>(host_.eager.address, 3);
    host_.eager.data = std::max<uint64_t>(host_.eager.data, 3);
    host_.eager.response = std::max<uint64_t>(host_.eager.response, 3);
    host_.eager.read = std::max<uint64_t>(host_.eager.read, 3);
    host_.eager.value = std::max<uint64_t>(host_.eager.value, 3);
    while (host_.cycle + kLongest < host_.busy_until) {
      const auto& [address, value] =
          *std::next(registers_.begin(), static_cast<std::ptrdiff_t>(Random(registers_.size())));
      switch (Random(4)) {
        case 0:
          EXPECT_FALSE(host_.Write(kControl, kStart));
          ExpectError(1, kBusy);
          break;
        case 1:
          EXPECT_FALSE(host_.Write(address, ~value));
          ExpectError(2, kBusy);
          break;
        case 2:
          BadAccess(kBusy);
          break;
        default:
          EXPECT_EQ(host_.Read(kStatus) & kBusy, kBusy);
      }
      EXPECT_EQ(host_.Read(address), value);
      host_.Ticks(Random(300));
    }
    WaitForEnd();
    CheckRun(expected, TakesAll());
    host_.Until([&] { return host_.stream.empty(); });
    registers_[kLoadAddress] =
        static_cast<uint32_t>(std::min<size_t>(kContext, request.prompt.size() + 3));
    EXPECT_EQ(host_.Read(kLoadAddress), registers_[kLoadAddress]);
    EXPECT_EQ(host_.Read(kError), 0U);
  }

  void CheckNothingComes() {
    const size_t count = host_.received.size();
    const Eagerness eager = std::exchange(host_.eager, {});
    host_.Ticks(40);
    host_.eager = eager;
    EXPECT_EQ(host_.received.size(), count) << "a result of an aborted run";
  }

  // A run that ends in the middle: no later result of it, and the session stands where it stood.
  void AbortedRun() {
    const auto [request, expected] = Prepare();
    const auto position = static_cast<int64_t>(registers_[kPosition]);
    Start(expected);
    host_.busy_until = 0;
    if (OneIn(3)) {
      host_.eager.results = 0;  // the queues fill
    }
    host_.Ticks(Random(static_cast<uint64_t>(expected.cycles + 100)));
    EXPECT_TRUE(host_.Write(kControl, OneIn(2) ? kAbort : kAbort | kStart));
    const size_t before = host_.received.size();
    if (host_.eager.results == 0) {
      const uint32_t status = host_.Read(kStatus);
      EXPECT_EQ(status, host_.offers_result() ? kBusy | kStalled : 0U);
      host_.eager.results = 1 + Random(16);
    }
    WaitForEnd();
    EXPECT_EQ(host_.Read(kError), 0U);
    CheckNothingComes();
    // The port may have been offering one, which it must not take back.
    EXPECT_LE(host_.received.size(), before + 1);
    ASSERT_LE(host_.received.size(), expected.results.size());
    EXPECT_TRUE(std::equal(host_.received.begin(), host_.received.end(), expected.results.begin()))
        << "wrong tokens or logits before the abort";
    SessionOf(request).Truncate(position);
    if (OneIn(2)) {  // the same again
      const Expected again = Expect(request);
      Start(again);
      WaitForEnd();
      CheckRun(again, TakesAll());
    }
  }

  void AbortWithoutARun() {
    EXPECT_TRUE(host_.Write(kControl, kAbort));
    EXPECT_EQ(host_.Read(kStatus), 0U);
    EXPECT_EQ(host_.Read(kError), 0U);
  }

  // A reset, in the middle of a run or of a load.
  void HardReset() {
    const auto [request, expected] = Prepare();
    if (OneIn(3)) {
      host_.stream.assign(200, 3);
      host_.Ticks(Random(250));
    } else {
      Start(expected);
      host_.busy_until = 0;
      host_.Ticks(Random(static_cast<uint64_t>(expected.cycles)));
    }
    host_.Reset();
    CheckReset();
    EXPECT_TRUE(host_.received.empty()) << "a result after a reset";
    for (Context& context : contexts_) {
      context.session.reset();
    }
    loaded_ = {};
  }

  // An adapter that is loaded in part, and then another over it.
  void HalfAnAdapter() {
    const int64_t slot = Between(0, kSlots - 1);
    const plan::Fabric& fabric = fixture_.plan().fabric;
    const std::vector<uint32_t>& codes = fixture_.words()[Random(3)].codes;
    Forget(slot);
    Send(1, AdapterCodeAddress(fabric, slot), std::span(codes).first(Random(codes.size())));
    loaded_[static_cast<size_t>(slot)].reset();
    // The other slot's adapter is whole; NewRequest loads this one again before it is used.
    GoodRun();
    SendAdapter(slot, Random(fixture_.adapters().size()));
  }

  // A host that takes nothing for long. The chip waits, and says so.
  void StalledRun() {
    const auto [request, expected] = Prepare(Between(2, kContext));
    host_.eager.results = 0;
    Start(expected);
    host_.Ticks(static_cast<uint64_t>(expected.cycles) + Random(5000));
    EXPECT_TRUE(host_.received.empty());
    if (expected.results.size() > 4) {  // as many wait in the port, and more in the chip
      EXPECT_EQ(host_.Read(kStatus), kBusy | kStalled);
      EXPECT_FALSE(host_.Write(kControl, kStart));
      ExpectError(1, kBusy);
    } else {
      EXPECT_EQ(host_.Read(kStatus), 0U);
    }
    host_.eager.results = 1 + Random(16);
    WaitForEnd();
    CheckRun(expected, false);
  }

  Fixture& fixture_;
  ChipHost host_;
  std::map<uint32_t, uint32_t> registers_;
  std::array<Context, kSessions> contexts_;
  std::array<std::optional<size_t>, kSlots> loaded_;
};

TEST(ChipFaults, EveryGoodRunIsTheEngines) {
  Fixture fixture;
  if (HasFatalFailure()) {
    return;
  }
  uint64_t first = 0;
  uint64_t end = fixture.coverage().empty() ? kEpisodes : kEpisodes / 3;
  if (const char* variable = std::getenv("ETCH_CHIP_SEED"); variable != nullptr) {
    first = std::strtoull(variable, nullptr, 10);
    end = first + 1;
  }
  for (uint64_t seed = first; seed < end && !HasFailure(); ++seed) {
    SCOPED_TRACE(fmt::format("ETCH_CHIP_SEED={}", seed));
    try {
      Episode(fixture, seed).Run();
    } catch (const std::runtime_error& error) {
      ADD_FAILURE() << error.what();
    }
  }
}

}  // namespace
}  // namespace etch::rtl
