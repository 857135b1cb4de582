#include "chip/chip_pins.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <Vetch_top.h>
#include <verilated.h>
#if VM_COVERAGE
#include <verilated_cov.h>
#include <verilated_syms.h>
#endif

namespace {

#if VM_COVERAGE
// Which bits of the chip's variables have risen and which have fallen from one clock edge to the
// next. Verilator's own points, one a bit, make the model a hundred times slower than this.
class Toggles {
 public:
  explicit Toggles(const VerilatedContext& context) {
    for (const auto& [scope, content] : *const_cast<VerilatedContext&>(context).scopeNameMap()) {
      if (content->varsp() == nullptr) {
        continue;
      }
      for (const auto& [name, variable] : *content->varsp()) {
        const int elements = variable.udims() > 0 ? variable.unpacked().elements() : 1;
        constexpr int kMost = 64;  // an array of more is a memory
        if (!variable.isParam() && elements <= kMost) {
          const size_t bytes = variable.totalSize();
          variables_.push_back({std::string(scope) + "." + name, variable.packed().elements(),
                                elements, static_cast<const uint8_t*>(variable.datap()),
                                std::vector<uint8_t>(bytes), std::vector<uint8_t>(bytes),
                                std::vector<uint8_t>(bytes)});
        }
      }
    }
  }

  // Behind a clock edge. What the first one finds is no change: contents begin at random.
  void Look() {
    for (Variable& variable : variables_) {
      if (!begun_) {
        std::memcpy(variable.last.data(), variable.data, variable.last.size());
      }
      if (std::memcmp(variable.data, variable.last.data(), variable.last.size()) == 0) {
        continue;
      }
      for (size_t byte = 0; byte < variable.last.size(); ++byte) {
        const uint8_t value = variable.data[byte];
        const uint8_t before = variable.last[byte];
        variable.rose[byte] |= static_cast<uint8_t>(value & ~before);
        variable.fell[byte] |= static_cast<uint8_t>(before & ~value);
        variable.last[byte] = value;
      }
    }
    begun_ = true;
  }

  // A line a variable: name, bits of an element, elements, and those that did both, low byte first.
  void Write(const std::string& path) const {
    std::FILE* file = std::fopen(path.c_str(), "w");
    for (const Variable& variable : variables_) {
      std::fprintf(file, "%s %d %d ", variable.name.c_str(), variable.bits, variable.elements);
      for (size_t byte = 0; byte < variable.last.size(); ++byte) {
        std::fprintf(file, "%02x", variable.rose[byte] & variable.fell[byte]);
      }
      std::fputc('\n', file);
    }
    std::fclose(file);
  }

 private:
  struct Variable {
    std::string name;
    int bits;
    int elements;
    const uint8_t* data;
    std::vector<uint8_t> last;
    std::vector<uint8_t> rose;
    std::vector<uint8_t> fell;
  };
  std::vector<Variable> variables_;
  bool begun_ = false;
};
#endif

struct Chip {
  VerilatedContext context;
  std::unique_ptr<Vetch_top> top;
#if VM_COVERAGE
  std::unique_ptr<Toggles> toggles;
#endif
};

}  // namespace

extern "C" void* EtchChipNew(uint32_t seed) {
  auto chip = std::make_unique<Chip>();
  chip->context.randSeed(static_cast<int>(seed & 0x7fffffff));
  chip->context.randReset(2);
  chip->top = std::make_unique<Vetch_top>(&chip->context);
#if VM_COVERAGE
  chip->toggles = std::make_unique<Toggles>(chip->context);
#endif
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
#if VM_COVERAGE
  static_cast<Chip*>(chip)->toggles->Look();
#endif
}

extern "C" void EtchChipDelete(void* chip, const char* coverage_file) {
  std::unique_ptr<Chip> owned(static_cast<Chip*>(chip));
  owned->top->final();
#if VM_COVERAGE
  owned->context.coveragep()->write(coverage_file);
  owned->toggles->Write(std::string(coverage_file) + ".toggles");
#else
  static_cast<void>(coverage_file);
#endif
}
