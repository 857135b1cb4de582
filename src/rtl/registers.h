#pragma once

// The registers of the host port by byte offset, and their bits (docs/chip.md, "Host port").

#include <cstdint>

namespace etch::rtl {

inline constexpr uint32_t kId = 0x000;
inline constexpr uint32_t kVersion = 0x004;
inline constexpr uint32_t kControl = 0x008;
inline constexpr uint32_t kStatus = 0x00c;
inline constexpr uint32_t kError = 0x010;
inline constexpr uint32_t kSession = 0x020;
inline constexpr uint32_t kPosition = 0x024;
inline constexpr uint32_t kPromptLength = 0x028;
inline constexpr uint32_t kMaxTokens = 0x02c;
inline constexpr uint32_t kFlags = 0x030;
inline constexpr uint32_t kAdapter = 0x034;
inline constexpr uint32_t kAdapterWeight = 0x038;
inline constexpr uint32_t kEndToken = 0x03c;
inline constexpr uint32_t kInverseTemperature = 0x040;
inline constexpr uint32_t kTopK = 0x044;
inline constexpr uint32_t kTopP = 0x048;
inline constexpr uint32_t kMinP = 0x04c;
inline constexpr uint32_t kSeedLow = 0x050;
inline constexpr uint32_t kSeedHigh = 0x054;
inline constexpr uint32_t kStepLow = 0x058;
inline constexpr uint32_t kStepHigh = 0x05c;
inline constexpr uint32_t kStream = 0x060;
inline constexpr uint32_t kLoadTarget = 0x070;
inline constexpr uint32_t kLoadAddress = 0x074;
inline constexpr uint32_t kCyclesLow = 0x080;
inline constexpr uint32_t kCyclesHigh = 0x084;
inline constexpr uint32_t kTokens = 0x088;
inline constexpr uint32_t kPositionNext = 0x08c;
inline constexpr uint32_t kShape = 0x090;  // ten of them

// CONTROL.
inline constexpr uint32_t kStart = 1;
inline constexpr uint32_t kAbort = 2;
inline constexpr uint32_t kClearError = 4;
// STATUS.
inline constexpr uint32_t kBusy = 1;
inline constexpr uint32_t kFailed = 2;
inline constexpr uint32_t kStalled = 4;
// LOAD_TARGET.
inline constexpr uint32_t kPromptTarget = 0;
inline constexpr uint32_t kAdapterTarget = 1;

}  // namespace etch::rtl
