// A verilated chip behind standard input and output. Every message is 32-bit words, little-endian.
//
//   1 address value        write a register        -> response (0 okay, 2 error)
//   2 address              read a register         -> response value
//   3 count words…         the stream to the chip  -> 0, once all are taken
//   4 start limit          write CONTROL := start and run until the chip is no longer busy
//                          -> for each result: 1 value flags (bit 0 logit, bit 1 last); then 0, or
//                             2 when it is still busy after `limit` million cycles, or 3 when the
//                             start was refused
//   5 observe              1: from now on, while a run lasts, what its units write is told between
//                          its results -> 4 kind index value; 0: no longer. Needs a simulation
//                          built with ETCH_OBSERVE and observe.vlt        -> 0, or 1 when it is not
//
// Kinds of what is observed: 0 a step begins (its number; the token), 1 a word is written to work
// memory or a logit is made (address or id; value), 2 a code is made (index; code), 3 a block of
// codes ends (number; shift).
//
// The end of standard input ends the program.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <vector>

#include <Vetch_top.h>
#ifdef ETCH_OBSERVE
#include <Vetch_top___024root.h>
#endif
#include <verilated.h>

namespace {

bool Take(uint32_t* word) { return std::fread(word, sizeof(*word), 1, stdin) == 1; }

void Give(uint32_t word) { std::fwrite(&word, sizeof(word), 1, stdout); }

class Chip {
 public:
  Chip() {
    top_->rst = 1;
    for (int cycle = 0; cycle < 4; ++cycle) {
      Tick();
    }
    top_->rst = 0;
    Tick();
  }

  uint32_t Write(uint32_t address, uint32_t value) {
    top_->awvalid = 1;
    top_->awaddr = address;
    top_->wvalid = 1;
    top_->wdata = value;
    top_->wstrb = 15;
    top_->bready = 1;
    while (true) {
      top_->eval();
      const bool address_taken = top_->awvalid && top_->awready;
      const bool value_taken = top_->wvalid && top_->wready;
      const bool answered = top_->bvalid;
      const uint32_t response = top_->bresp;
      Tick();
      if (address_taken) {
        top_->awvalid = 0;
      }
      if (value_taken) {
        top_->wvalid = 0;
      }
      if (answered) {
        top_->bready = 0;
        return response;
      }
    }
  }

  uint32_t Read(uint32_t address, uint32_t* value) {
    top_->arvalid = 1;
    top_->araddr = address;
    top_->rready = 1;
    while (true) {
      top_->eval();
      const bool taken = top_->arvalid && top_->arready;
      const bool answered = top_->rvalid;
      const uint32_t response = top_->rresp;
      *value = top_->rdata;
      Tick();
      if (taken) {
        top_->arvalid = 0;
      }
      if (answered) {
        top_->rready = 0;
        return response;
      }
    }
  }

  void Stream(const std::vector<uint32_t>& words) {
    for (size_t index = 0; index < words.size();) {
      top_->s_tvalid = 1;
      top_->s_tdata = words[index];
      top_->s_tlast = index + 1 == words.size();
      top_->eval();
      index += top_->s_tready ? 1 : 0;
      Tick();
    }
    top_->s_tvalid = 0;
  }

  // While the host is ready, a result is taken in each cycle in which there is one.
  void SetReady(bool ready) {
    top_->m_tready = ready;
    top_->eval();
  }

  // The result of this cycle, if there is one; then the next cycle.
  bool TakeResult(uint32_t* value, uint32_t* flags) {
    const bool taken = top_->m_tvalid;
    if (taken) {
      *value = top_->m_tdata;
      *flags = static_cast<uint32_t>(top_->m_tuser) | (static_cast<uint32_t>(top_->m_tlast) << 1);
    }
    Tick();
    return taken;
  }

  // Whether each cycle from now on is observed.
  void Observe(bool observed) { observed_ = observed; }

 private:
  void Tick() {
    if (observed_) {
      Tell();
    }
    top_->clk = 1;
    top_->eval();
    top_->clk = 0;
    top_->eval();
  }

  // What the units say in this cycle.
  void Tell() {
#ifdef ETCH_OBSERVE
    top_->eval();
    const auto* root = top_->rootp;
    if (root->etch_top__DOT__chip__DOT__starts != 0) {
      Give(0, root->etch_top__DOT__chip__DOT__step_addr - 1, root->etch_top__DOT__chip__DOT__token);
    }
    if (root->etch_top__DOT__chip__DOT__w_en) {
      Give(1, root->etch_top__DOT__chip__DOT__w_addr, root->etch_top__DOT__chip__DOT__w_data);
    }
    if (root->etch_top__DOT__chip__DOT__logit_valid) {
      Give(1, root->etch_top__DOT__chip__DOT__logit_id, root->etch_top__DOT__chip__DOT__logit);
    }
    if (root->etch_top__DOT__chip__DOT__code_valid) {
      const auto code = static_cast<int16_t>(root->etch_top__DOT__chip__DOT__code);
      Give(2, root->etch_top__DOT__chip__DOT__code_index, static_cast<uint32_t>(int32_t{code}));
      if (root->etch_top__DOT__chip__DOT__code_last) {
        Give(3, root->etch_top__DOT__chip__DOT__code_block,
             root->etch_top__DOT__chip__DOT__code_shift);
      }
    }
#endif
  }

  static void Give(uint32_t kind, uint32_t index, uint32_t value) {
    for (const uint32_t word : {uint32_t{4}, kind, index, value}) {
      ::Give(word);
    }
  }

  std::unique_ptr<Vetch_top> top_ = std::make_unique<Vetch_top>();
  bool observed_ = false;
};

constexpr uint32_t kControl = 0x008;
constexpr uint32_t kStatus = 0x00C;

#ifdef ETCH_OBSERVE
constexpr bool kCanObserve = true;
#else
constexpr bool kCanObserve = false;
#endif

void Run(Chip& chip, uint32_t start, uint32_t limit) {
  if (chip.Write(kControl, start) != 0) {
    Give(3);
    return;
  }
  chip.SetReady(true);
  uint64_t cycles = 0;
  uint32_t quiet = 0;
  while (cycles < uint64_t{limit} * 1'000'000) {
    uint32_t value = 0;
    uint32_t flags = 0;
    ++cycles;
    if (chip.TakeResult(&value, &flags)) {
      Give(1);
      Give(value);
      Give(flags);
      if ((flags & 1) == 0) {
        std::fflush(stdout);
      }
      quiet = 0;
      continue;
    }
    // The status is asked for when nothing has come for a while. Meanwhile results wait.
    if (++quiet % 256 == 0) {
      chip.SetReady(false);
      uint32_t status = 0;
      chip.Read(kStatus, &status);
      chip.SetReady(true);
      if ((status & 1) == 0 && !chip.TakeResult(&value, &flags)) {
        chip.SetReady(false);
        Give(0);
        return;
      }
    }
  }
  chip.SetReady(false);
  Give(2);
}

}  // namespace

int main() {
  Chip chip;
  uint32_t command = 0;
  bool observed = false;
  while (Take(&command)) {
    uint32_t first = 0;
    if (!Take(&first)) {
      return 1;
    }
    if (command == 1) {
      uint32_t value = 0;
      if (!Take(&value)) {
        return 1;
      }
      Give(chip.Write(first, value));
    } else if (command == 2) {
      uint32_t value = 0;
      const uint32_t response = chip.Read(first, &value);
      Give(response);
      Give(value);
    } else if (command == 3) {
      std::vector<uint32_t> words(first);
      if (std::fread(words.data(), sizeof(uint32_t), words.size(), stdin) != words.size()) {
        return 1;
      }
      chip.Stream(words);
      Give(0);
    } else if (command == 4) {
      uint32_t limit = 0;
      if (!Take(&limit)) {
        return 1;
      }
      chip.Observe(observed);
      Run(chip, first, limit);
      chip.Observe(false);
    } else if (command == 5) {
      observed = first != 0 && kCanObserve;
      Give(first != 0 && !kCanObserve ? 1 : 0);
    } else {
      return 1;
    }
    std::fflush(stdout);
  }
  return 0;
}
