#include "rtl/simulation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "base/file.h"
#include "rtl/fabric_files.h"
#include "rtl/matrix_rom.h"
#include "rtl/registers.h"

namespace etch::rtl {
namespace {

namespace fs = std::filesystem;

// Millions of cycles after which a run is given up.
constexpr uint32_t kLimit = 1'000'000;

// An open file that closes itself.
class File {
 public:
  explicit File(int fd = -1) : fd_(fd) {}
  File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  File& operator=(File&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~File() { Close(); }

  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) {
      ::close(std::exchange(fd_, -1));
    }
  }

 private:
  int fd_;
};

struct Actions {
  Actions() { posix_spawn_file_actions_init(&actions); }
  ~Actions() { posix_spawn_file_actions_destroy(&actions); }
  posix_spawn_file_actions_t actions{};
};

// Starts `arguments` in `folder`; the process's id, or the error of starting it. `apart`: in a
// group of processes of its own, which Ctrl-C at the terminal does not reach.
Result<pid_t> Spawn(const fs::path& folder, const std::vector<std::string>& arguments,
                    Actions& actions, bool apart) {
  posix_spawnattr_t attributes{};
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, static_cast<short>(apart ? POSIX_SPAWN_SETPGROUP : 0));
  posix_spawn_file_actions_addchdir_np(&actions.actions, folder.c_str());
  std::vector<char*> pointers;
  for (const std::string& argument : arguments) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  pid_t process = 0;
  const int error = ::posix_spawnp(&process, pointers[0], &actions.actions, &attributes,
                                   pointers.data(), environ);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return Fail(error == ENOENT ? ErrorCode::kUnsupported : ErrorCode::kIo, "{}: cannot start: {}",
                arguments[0], std::generic_category().message(error));
  }
  return process;
}

// The last lines of a log.
std::string EndOf(const fs::path& path) {
  const Result<std::string> text = ReadSmallFile(path, uint64_t{64} << 20);
  if (!text) {
    return "";
  }
  constexpr size_t kMost = 600;
  return text->size() > kMost ? "…" + text->substr(text->size() - kMost) : *text;
}

}  // namespace

Status BuildSimulation(const fs::path& folder, bool observed) {
  std::vector<std::string> arguments = {
      "verilator",    "--cc",     "--exe",      "--build",  "-j",          "2",
      "-Wall",        "-O3",      "--x-assign", "fast",     "--x-initial", "fast",
      "--noassert",   "-CFLAGS",  "-O2",        "-Ifabric", "--Mdir",      "sim/obj",
      "--top-module", "etch_top", "-o",         "chip_sim"};
  for (const FabricFile& file : FabricFiles()) {
    if (file.name.ends_with(".sv")) {
      arguments.push_back(fmt::format("fabric/{}", file.name));
    }
  }
  if (observed) {
    arguments.insert(arguments.end(), {"-CFLAGS", "-DETCH_OBSERVE", "sim/observe.vlt"});
  }
  arguments.insert(arguments.end(),
                   {"fabric/etch_top.sv", "masks/etch_masks.sv", "../chip_sim.cc"});
  const fs::path log = folder / "sim" / "build.log";
  Actions actions;
  posix_spawn_file_actions_addopen(&actions.actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions.actions, 1, fs::absolute(log).c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644);
  posix_spawn_file_actions_adddup2(&actions.actions, 1, 2);
  const Result<pid_t> process = Spawn(folder, arguments, actions, false);
  if (!process) {
    return Fail(process.error().code,
                "{}; simulating a chip needs Debian's verilator and a C++ compiler",
                process.error().message);
  }
  int status = 0;
  while (::waitpid(*process, &status, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Fail(ErrorCode::kIo, "{}: verilator failed:\n{}", log.string(), EndOf(log));
  }
  return {};
}

Status CheckAdapter(const plan::Fabric& fabric, const engine::AdapterWeights& adapter) {
  for (const engine::AdapterLinear& linear : adapter.linears) {
    if (linear.padded_rank() > fabric.rank) {
      return Fail(ErrorCode::kInvalidArgument,
                  "adapter \"{}\": rank {} is above the {} of the chip's adapter memory; "
                  "`etch rtl --adapter-rank` makes it larger",
                  adapter.name, linear.rank, fabric.rank);
    }
  }
  return {};
}

struct Simulation::Process {
  pid_t id = -1;
  File socket;

  ~Process() {
    socket.Close();
    if (id > 0) {
      while (::waitpid(id, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
  }

  Status Give(std::span<const uint32_t> words) {
    const auto* bytes = reinterpret_cast<const char*>(words.data());
    size_t left = words.size_bytes();
    while (left > 0) {
      const ssize_t written = ::send(socket.get(), bytes, left, MSG_NOSIGNAL);
      if (written < 0 && errno != EINTR) {
        return Ended();
      }
      if (written > 0) {
        bytes += written;
        left -= static_cast<size_t>(written);
      }
    }
    return {};
  }

  Result<uint32_t> Take() {
    if (at == filled) {
      ssize_t got = 0;
      do {
        got = ::read(socket.get(), buffer.data() + kept, buffer.size() - kept);
      } while (got < 0 && errno == EINTR);
      if (got <= 0) {
        return Ended();
      }
      const size_t bytes = kept + static_cast<size_t>(got);
      filled = bytes / sizeof(uint32_t) * sizeof(uint32_t);
      at = 0;
      rest = bytes - filled;
    }
    uint32_t word = 0;
    std::copy_n(buffer.data() + at, sizeof(word), reinterpret_cast<char*>(&word));
    at += sizeof(word);
    if (at == filled) {
      // What is left of a word goes to the front.
      std::copy_n(buffer.data() + filled, rest, buffer.data());
      kept = rest;
      at = filled = 0;
    }
    return word;
  }

  static tl::unexpected<Error> Ended() {
    return Fail(ErrorCode::kIo, "the simulation of the chip has ended unexpectedly");
  }

  std::vector<char> buffer = std::vector<char>(1 << 16);
  size_t at = 0;
  size_t filled = 0;
  size_t kept = 0;
  size_t rest = 0;
};

Simulation::Simulation(std::unique_ptr<Process> process, const plan::HardwarePlan& plan)
    : process_(std::move(process)), plan_(&plan) {}
Simulation::Simulation(Simulation&&) noexcept = default;
Simulation& Simulation::operator=(Simulation&&) noexcept = default;
Simulation::~Simulation() = default;

Result<Simulation> Simulation::Start(const fs::path& folder, const plan::HardwarePlan& plan) {
  // A socket and not a pipe: writing to a process that has ended is then an error and no signal.
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return Fail(ErrorCode::kIo, "socketpair: {}", std::generic_category().message(errno));
  }
  File ours(ends[0]);
  const File theirs(ends[1]);
  Actions actions;
  posix_spawn_file_actions_adddup2(&actions.actions, theirs.get(), 0);
  posix_spawn_file_actions_adddup2(&actions.actions, theirs.get(), 1);
  auto process = std::make_unique<Process>();
  ETCH_ASSIGN_OR_RETURN(process->id, Spawn(folder, {"sim/obj/chip_sim"}, actions, true));
  process->socket = std::move(ours);
  return Simulation(std::move(process), plan);
}

Result<uint32_t> Simulation::Write(uint32_t address, uint32_t value) {
  ETCH_TRY(process_->Give(std::array<uint32_t, 3>{1, address, value}));
  return process_->Take();
}

Result<uint32_t> Simulation::Read(uint32_t address) {
  ETCH_TRY(process_->Give(std::array<uint32_t, 2>{2, address}));
  ETCH_TRY(process_->Take());
  return process_->Take();
}

Status Simulation::Stream(uint32_t target, uint32_t address, std::span<const uint32_t> words) {
  ETCH_TRY(Write(kLoadTarget, target));
  ETCH_TRY(Write(kLoadAddress, address));
  // In parts that a pipe holds many of.
  constexpr size_t kPart = 1 << 16;
  for (size_t begin = 0; begin < words.size(); begin += kPart) {
    const auto part = words.subspan(begin, std::min(kPart, words.size() - begin));
    ETCH_TRY(process_->Give(std::array<uint32_t, 2>{3, static_cast<uint32_t>(part.size())}));
    ETCH_TRY(process_->Give(part));
    ETCH_TRY(process_->Take());
  }
  return {};
}

Result<AdapterWords> LayOutAdapter(const plan::HardwarePlan& plan,
                                   const engine::AdapterWeights& adapter) {
  const plan::Fabric& fabric = plan.fabric;
  ETCH_TRY(CheckAdapter(fabric, adapter));
  AdapterWords words;
  words.codes.resize(static_cast<size_t>(fabric.slot_words * 8));
  words.rows.resize(static_cast<size_t>(fabric.slot_rows));
  for (const plan::AdapterPlace& place : plan.adapter) {
    const engine::AdapterLinear& linear = adapter.Linear(place.layer, place.role);
    if (linear.rank == 0) {
      continue;
    }
    const model::Shape shape = model::TensorShape(fabric.config, place.role);
    AdapterRoms a;
    AdapterRoms b;
    AppendAdapterMatrix(linear.ViewA(shape.cols), a);
    AppendAdapterMatrix(linear.ViewB(shape.rows), b);
    const auto put = [](const Rom& rom, int64_t word, int64_t times, std::vector<uint32_t>& to,
                        int64_t from_word) {
      for (int64_t part = 0; part < times; ++part) {
        const auto bits = std::min<int64_t>(32, rom.width() - 32 * part);
        to[static_cast<size_t>(word * times + part)] =
            static_cast<uint32_t>(rom.Get(from_word, 32 * part, bits));
      }
    };
    // A: the rows of a smaller rank come first.
    for (int64_t word = 0; word < a.codes.size(); ++word) {
      put(a.codes, place.a_words + word, 8, words.codes, word);
    }
    for (int64_t row = 0; row < linear.rank; ++row) {
      put(a.rows, place.a_rows + row, 1, words.rows, row);
    }
    // B: each tile of rows has the chip's rank of columns.
    for (int64_t word = 0; word < b.codes.size(); ++word) {
      put(b.codes,
          place.b_words + word / linear.padded_rank() * fabric.rank + word % linear.padded_rank(),
          8, words.codes, word);
    }
    for (int64_t row = 0; row < b.rows.size(); ++row) {
      put(b.rows, place.b_rows + row, 1, words.rows, row);
    }
  }
  return words;
}

uint32_t AdapterCodeAddress(const plan::Fabric& fabric, int64_t slot) {
  return static_cast<uint32_t>(slot * fabric.slot_words * 8);
}

uint32_t AdapterRowAddress(const plan::Fabric& fabric, int64_t slot) {
  return static_cast<uint32_t>(fabric.choices.adapter_slots * fabric.slot_words * 8 +
                               slot * fabric.slot_rows);
}

Status Simulation::LoadAdapter(int64_t slot, const engine::AdapterWeights& adapter) {
  ETCH_ASSIGN_OR_RETURN(const AdapterWords words, LayOutAdapter(*plan_, adapter));
  ETCH_TRY(Stream(kAdapterTarget, AdapterCodeAddress(plan_->fabric, slot), words.codes));
  return Stream(kAdapterTarget, AdapterRowAddress(plan_->fabric, slot), words.rows);
}

Result<ChipResult> Simulation::Run(const ChipRequest& request, const RunObserver& observer) {
  std::vector<uint32_t> prompt(request.prompt.begin(), request.prompt.end());
  ETCH_TRY(Stream(kPromptTarget, 0, prompt));
  const auto low = [](uint64_t value) { return static_cast<uint32_t>(value); };
  const auto high = [](uint64_t value) { return static_cast<uint32_t>(value >> 32); };
  const std::pair<uint32_t, uint32_t> registers[] = {
      {kControl, kClearError},
      {kSession, static_cast<uint32_t>(request.session)},
      {kPosition, static_cast<uint32_t>(request.position)},
      {kPromptLength, static_cast<uint32_t>(prompt.size())},
      {kMaxTokens, static_cast<uint32_t>(request.max_tokens)},
      {kFlags, (request.logits ? 1U : 0U) | (request.adapter >= 0 ? 2U : 0U)},
      {kAdapter, static_cast<uint32_t>(std::max<int64_t>(0, request.adapter))},
      {kAdapterWeight, static_cast<uint32_t>(request.adapter_weight)},
      {kEndToken, static_cast<uint32_t>(request.end_token)},
      {kInverseTemperature, request.inverse_temperature},
      {kTopK, request.top_k},
      {kTopP, request.top_p},
      {kMinP, request.min_p},
      {kSeedLow, low(request.seed)},
      {kSeedHigh, high(request.seed)},
      {kStepLow, low(request.step)},
      {kStepHigh, high(request.step)},
      {kStream, request.stream},
  };
  for (const auto& [address, value] : registers) {
    ETCH_ASSIGN_OR_RETURN(const uint32_t response, Write(address, value));
    if (response != 0) {
      return Fail(ErrorCode::kInvalidArgument, "the chip does not take register 0x{:03x}", address);
    }
  }
  ETCH_TRY(process_->Give(std::array<uint32_t, 2>{5, observer ? 1U : 0U}));
  ETCH_ASSIGN_OR_RETURN(const uint32_t refused, process_->Take());
  if (refused != 0) {
    return Fail(ErrorCode::kUnsupported, "this simulation was built without observation");
  }
  ETCH_TRY(process_->Give(std::array<uint32_t, 3>{4, kStart, kLimit}));
  ETCH_ASSIGN_OR_RETURN(ChipResult result, TakeResults(observer));
  ETCH_ASSIGN_OR_RETURN(const uint32_t error, Read(kError));
  if (error != 0) {
    return Fail(ErrorCode::kInvalidArgument, "the chip refuses: error {}", error);
  }
  ETCH_ASSIGN_OR_RETURN(const uint32_t cycles_low, Read(kCyclesLow));
  ETCH_ASSIGN_OR_RETURN(const uint32_t cycles_high, Read(kCyclesHigh));
  result.cycles = static_cast<int64_t>((uint64_t{cycles_high} << 32) | cycles_low);
  return result;
}

Result<ChipResult> Simulation::TakeResults(const RunObserver& observer) {
  ChipResult result;
  while (true) {
    ETCH_ASSIGN_OR_RETURN(const uint32_t kind, process_->Take());
    if (kind == 1) {
      ETCH_ASSIGN_OR_RETURN(const uint32_t value, process_->Take());
      ETCH_ASSIGN_OR_RETURN(const uint32_t flags, process_->Take());
      ((flags & 1U) != 0 ? result.logits : result.tokens).push_back(static_cast<int32_t>(value));
      continue;
    }
    if (kind == 4) {
      ETCH_ASSIGN_OR_RETURN(const uint32_t what, process_->Take());
      ETCH_ASSIGN_OR_RETURN(const uint32_t index, process_->Take());
      ETCH_ASSIGN_OR_RETURN(const uint32_t value, process_->Take());
      ETCH_TRY(
          observer({static_cast<Observation::Kind>(what), index, static_cast<int32_t>(value)}));
      continue;
    }
    if (kind == 2) {
      return Fail(ErrorCode::kIo, "the chip is still busy after {} million cycles", kLimit);
    }
    return result;
  }
}

}  // namespace etch::rtl
