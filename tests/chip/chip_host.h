#pragma once

// A host at the pins of a verilated chip that waits at random on every channel.

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <random>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "chip/chip_pins.h"

namespace etch::rtl {

struct ChipWord {
  uint32_t data = 0;
  bool is_logit = false;
  bool last = false;
  bool operator==(const ChipWord&) const = default;
};

// How often in 16 cycles each side is ready or offers.
struct Eagerness {
  uint64_t address = 16;
  uint64_t data = 16;
  uint64_t response = 16;
  uint64_t read = 16;
  uint64_t value = 16;
  uint64_t stream = 16;
  uint64_t results = 16;
  bool stalls = false;  // also takes no results for long
};

class ChipHost {
 public:
  struct Library {
    ChipNew* make = nullptr;
    ChipTick* tick = nullptr;
    ChipDelete* end = nullptr;
  };

  ChipHost(const Library& library, uint64_t seed, std::string coverage_file)
      : library_(library),
        random_(seed),
        coverage_file_(std::move(coverage_file)),
        chip_(library.make(static_cast<uint32_t>(seed))) {
    Reset();
  }
  ~ChipHost() { library_.end(chip_, coverage_file_.c_str()); }
  ChipHost(const ChipHost&) = delete;
  ChipHost& operator=(const ChipHost&) = delete;

  uint64_t Random(uint64_t count) { return random_() % count; }

  // In the middle of whatever happens.
  void Reset() {
    pins_ = {};
    pins_.rst = 1;
    for (uint64_t count = 1 + Random(3); count > 0; --count) {
      pins_.s_tvalid = static_cast<uint32_t>(Random(2));
      pins_.awvalid = static_cast<uint32_t>(Random(2));
      pins_.wvalid = static_cast<uint32_t>(Random(2));
      pins_.arvalid = static_cast<uint32_t>(Random(2));
      pins_.wdata = 1;
      pins_.awaddr = 8;
      pins_.wstrb = 15;
      library_.tick(chip_, &pins_);
    }
    pins_ = {};
    stream.clear();
    received.clear();
    stream_offered_ = false;
    waiting_ = {};
    before_.reset();
    library_.tick(chip_, &pins_);
    EXPECT_FALSE(pins_.m_tvalid);
    EXPECT_FALSE(pins_.bvalid);
    EXPECT_FALSE(pins_.rvalid);
    ++cycle;
  }

  void Tick() {
    const bool writes = write_.has_value();
    pins_.awvalid = pins_.awvalid || (writes && !write_->address_taken && Often(eager.address));
    pins_.wvalid = pins_.wvalid || (writes && !write_->data_taken && Often(eager.data));
    // What is not offered is noise.
    pins_.awaddr = pins_.awvalid ? write_->address : static_cast<uint32_t>(Random(4096));
    pins_.wdata = pins_.wvalid ? write_->value : static_cast<uint32_t>(random_());
    pins_.wstrb = pins_.wvalid ? write_->strobes : 15;
    pins_.bready = Often(eager.response);
    pins_.arvalid = pins_.arvalid || (read_ && !read_->address_taken && Often(eager.read));
    pins_.araddr = pins_.arvalid ? read_->address : static_cast<uint32_t>(Random(4096));
    pins_.rready = Often(eager.value);
    stream_offered_ = stream_offered_ || (!stream.empty() && Often(eager.stream));
    pins_.s_tvalid = stream_offered_;
    pins_.s_tdata = stream_offered_ ? stream.front() : static_cast<uint32_t>(random_());
    pins_.s_tlast = static_cast<uint32_t>(Random(2));
    if (eager.stalls && stall_ == 0 && Random(2000) == 0) {
      stall_ = 1 + Random(4000);
    }
    pins_.m_tready = stall_ == 0 && Often(eager.results);
    stall_ -= stall_ > 0 ? 1 : 0;

    library_.tick(chip_, &pins_);
    ++cycle;
    CheckThatOffersStay();

    if (pins_.awvalid && pins_.awready) {
      write_->address_taken = true;
      pins_.awvalid = 0;
    }
    if (pins_.wvalid && pins_.wready) {
      write_->data_taken = true;
      pins_.wvalid = 0;
    }
    if (pins_.bvalid && pins_.bready) {
      if (!write_ || !write_->address_taken || !write_->data_taken) {
        throw std::runtime_error("a response to no write");
      }
      written_ = pins_.bresp;
      write_.reset();
    }
    if (pins_.arvalid && pins_.arready) {
      read_->address_taken = true;
      pins_.arvalid = 0;
    }
    if (pins_.rvalid && pins_.rready) {
      if (!read_ || !read_->address_taken) {
        throw std::runtime_error("a value for no read");
      }
      value_ = {pins_.rdata, pins_.rresp};
      read_.reset();
    }
    if (pins_.s_tvalid && pins_.s_tready) {
      if (cycle < busy_until) {
        throw std::runtime_error("the chip takes a word of the stream during a run");
      }
      stream.pop_front();
      stream_offered_ = false;
    }
    if (pins_.m_tvalid && pins_.m_tready) {
      received.push_back({pins_.m_tdata, pins_.m_tuser != 0, pins_.m_tlast != 0});
    }
  }

  void Ticks(uint64_t count) {
    for (; count > 0; --count) {
      Tick();
    }
  }

  // Whether it was okay.
  bool Write(uint32_t address, uint32_t value, uint32_t strobes = 15) {
    write_ = {address, value, strobes};
    Until([&] { return !write_; });
    return written_ == 0;
  }

  // The value, and whether it was okay.
  std::pair<uint32_t, bool> ReadWhole(uint32_t address) {
    read_ = {address};
    Until([&] { return !read_; });
    return {value_.first, value_.second == 0};
  }
  uint32_t Read(uint32_t address) {
    const auto [value, okay] = ReadWhole(address);
    EXPECT_TRUE(okay) << "register " << address;
    return value;
  }

  template <class Condition>
  void Until(Condition condition) {
    for (int count = 0; !condition(); ++count) {
      if (count > 200'000) {
        throw std::runtime_error("the chip hangs");
      }
      Tick();
    }
  }

  bool offers_result() const { return pins_.m_tvalid != 0; }

  Eagerness eager;
  std::deque<uint32_t> stream;     // words to the chip
  std::vector<ChipWord> received;  // from it
  int64_t cycle = 0;
  int64_t busy_until = 0;  // a cycle before which the chip must not take words

 private:
  struct WriteAccess {
    uint32_t address = 0;
    uint32_t value = 0;
    uint32_t strobes = 15;
    bool address_taken = false;
    bool data_taken = false;
  };
  struct ReadAccess {
    uint32_t address = 0;
    bool address_taken = false;
  };
  using Offers = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t>;

  bool Often(uint64_t eagerness) { return Random(16) < eagerness; }

  // What the chip offers stays as it is until it is taken.
  void CheckThatOffersStay() {
    const std::array<Offers, 3> now = {
        Offers{pins_.bvalid, pins_.bresp, 0, 0}, Offers{pins_.rvalid, pins_.rdata, pins_.rresp, 0},
        Offers{pins_.m_tvalid, pins_.m_tdata, pins_.m_tuser, pins_.m_tlast}};
    for (size_t channel = 0; before_ && channel < now.size(); ++channel) {
      if (waiting_[channel] && now[channel] != (*before_)[channel]) {
        throw std::runtime_error("the chip takes back what it offered");
      }
    }
    before_ = now;
    waiting_ = {pins_.bvalid && !pins_.bready, pins_.rvalid && !pins_.rready,
                pins_.m_tvalid && !pins_.m_tready};
  }

  Library library_;
  std::mt19937_64 random_;
  std::string coverage_file_;
  void* chip_;
  Pins pins_;
  std::optional<WriteAccess> write_;
  std::optional<ReadAccess> read_;
  uint32_t written_ = 0;
  std::pair<uint32_t, uint32_t> value_;
  bool stream_offered_ = false;
  uint64_t stall_ = 0;
  std::array<bool, 3> waiting_{};
  std::optional<std::array<Offers, 3>> before_;
};

}  // namespace etch::rtl
