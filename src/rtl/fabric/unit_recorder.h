#pragma once

// What a unit's ports say in each cycle of a test, for tests/chip/icarus_test.py, which drives the
// unit in Icarus with the same inputs and wants the same outputs. Nothing unless ETCH_RECORD names
// a folder; then the first kRecordings benches of a test program write LABEL-NUMBER.hex there,
// at most kRecordedCycles lines for $readmemh each: all ports side by side, the first ones highest,
// each as whole digits. Comments before them name the module, its parameters and its ports.

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <type_traits>

#include <unit_ports.h>

namespace etch::rtl::test {

inline constexpr int kRecordings = 6;
inline constexpr int64_t kRecordedCycles = 3000;

class UnitRecorder {
 public:
  UnitRecorder() {
    if (const char* folder = std::getenv("ETCH_RECORD")) {
      static int number = 0;
      if (number < kRecordings) {
        file_.open(std::string(folder) + "/" + kUnitLabel + "-" + std::to_string(number++) +
                   ".hex");
      }
    }
  }

  // Called in each cycle before its clock edge, when inputs are set and outputs have settled.
  template <class Unit>
  void Record(Unit& unit) {
    if (!file_.is_open() || cycles_ == kRecordedCycles) {
      return;
    }
    if (cycles_++ == 0) {
      file_ << "// " << kUnitModule << " " << kUnitParameters << "\n";
      VisitPorts(unit, [this](const char* name, const auto&, int bits, bool is_input) {
        file_ << "// " << (is_input ? "input " : "output ") << name << " " << bits << "\n";
      });
    }
    std::string line;
    VisitPorts(unit, [&line](const char*, const auto& port, int bits, bool) {
      for (int digit = (bits + 3) / 4 - 1; digit >= 0; --digit) {
        uint64_t value = 0;
        if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(port)>>) {
          value = static_cast<uint64_t>(port) >> (4 * digit);
        } else {
          value = port[static_cast<size_t>(digit / 8)] >> (4 * (digit % 8));
        }
        line += "0123456789abcdef"[value & 15U];
      }
    });
    file_ << line << "\n";
  }

 private:
  std::ofstream file_;
  int64_t cycles_ = 0;
};

}  // namespace etch::rtl::test
