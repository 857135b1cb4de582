#include "chip/chip_pins.h"

#include <memory>

#include <Vetch_top.h>
#include <verilated.h>
#if VM_COVERAGE
#include <verilated_cov.h>
#endif

namespace {

struct Chip {
  VerilatedContext context;
  std::unique_ptr<Vetch_top> top;
};

}  // namespace

extern "C" void* EtchChipNew(uint32_t seed) {
  auto chip = std::make_unique<Chip>();
  chip->context.randSeed(static_cast<int>(seed & 0x7fffffff));
  chip->context.randReset(2);
  chip->top = std::make_unique<Vetch_top>(&chip->context);
  return chip.release();
}

extern "C" void EtchChipTick(void* chip, etch::rtl::Pins* pins) {
  Vetch_top& top = *static_cast<Chip*>(chip)->top;
  top.rst = pins->rst;
  top.awvalid = pins->awvalid;
  top.awaddr = pins->awaddr;
  top.wvalid = pins->wvalid;
  top.wdata = pins->wdata;
  top.wstrb = pins->wstrb;
  top.bready = pins->bready;
  top.arvalid = pins->arvalid;
  top.araddr = pins->araddr;
  top.rready = pins->rready;
  top.s_tvalid = pins->s_tvalid;
  top.s_tdata = pins->s_tdata;
  top.s_tlast = pins->s_tlast;
  top.m_tready = pins->m_tready;
  top.clk = 0;
  top.eval();
  pins->awready = top.awready;
  pins->wready = top.wready;
  pins->bvalid = top.bvalid;
  pins->bresp = top.bresp;
  pins->arready = top.arready;
  pins->rvalid = top.rvalid;
  pins->rdata = top.rdata;
  pins->rresp = top.rresp;
  pins->s_tready = top.s_tready;
  pins->m_tvalid = top.m_tvalid;
  pins->m_tdata = top.m_tdata;
  pins->m_tuser = top.m_tuser;
  pins->m_tlast = top.m_tlast;
  top.clk = 1;
  top.eval();
}

extern "C" void EtchChipDelete(void* chip, const char* coverage_file) {
  std::unique_ptr<Chip> owned(static_cast<Chip*>(chip));
  owned->top->final();
#if VM_COVERAGE
  owned->context.coveragep()->write(coverage_file);
#else
  static_cast<void>(coverage_file);
#endif
}
