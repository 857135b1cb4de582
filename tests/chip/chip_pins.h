#pragma once

// The pins of a verilated chip, as a test reaches them: chip_pins.cc is built with the chip into a
// shared object, which the test loads.

#include <cstdint>

namespace etch::rtl {

struct Pins {
  // To the chip.
  uint32_t rst = 0;
  uint32_t awvalid = 0;
  uint32_t awaddr = 0;
  uint32_t wvalid = 0;
  uint32_t wdata = 0;
  uint32_t wstrb = 0;
  uint32_t bready = 0;
  uint32_t arvalid = 0;
  uint32_t araddr = 0;
  uint32_t rready = 0;
  uint32_t s_tvalid = 0;
  uint32_t s_tdata = 0;
  uint32_t s_tlast = 0;
  uint32_t m_tready = 0;
  // From the chip.
  uint32_t awready = 0;
  uint32_t wready = 0;
  uint32_t bvalid = 0;
  uint32_t bresp = 0;
  uint32_t arready = 0;
  uint32_t rvalid = 0;
  uint32_t rdata = 0;
  uint32_t rresp = 0;
  uint32_t s_tready = 0;
  uint32_t m_tvalid = 0;
  uint32_t m_tdata = 0;
  uint32_t m_tuser = 0;
  uint32_t m_tlast = 0;
};

// EtchChipNew: a chip whose registers and memories hold what `seed` says, as after power-up.
using ChipNew = void*(uint32_t seed);
// EtchChipTick: the outputs of this cycle for its inputs; then the clock's edge.
using ChipTick = void(void* chip, Pins* pins);
// EtchChipDelete: a chip with coverage writes it into the file.
using ChipDelete = void(void* chip, const char* coverage_file);

}  // namespace etch::rtl
