#pragma once

// Keys and values of one session in the contract's formats: keys A14, values A8, a shift for each
// block of a head.

#include <cstdint>
#include <memory>
#include <span>

#include "base/error.h"
#include "engine/backend.h"
#include "model/config.h"
#include "numerics/attention.h"

namespace etch::engine {

class KvCache : public SessionState {
 public:
  // Memory is reserved for `context` tokens and taken from the machine as it fills.
  static Result<std::unique_ptr<SessionState>> Create(const model::Config& config, int64_t context);
  static int64_t BytesPerToken(const model::Config& config);
  void Repeat(int64_t period, int64_t end) override;
  void CopyFrom(const SessionState& from, int64_t count) override;

  // Quantises and stores the rotated keys and the values of one token; both hold kv_dim I32 values.
  void Store(int64_t layer, int64_t position, std::span<const int32_t> keys,
             std::span<const int32_t> values);
  numerics::HeadCodes Key(int64_t layer, int64_t position, int64_t kv_head) const;
  numerics::ValueCodes Value(int64_t layer, int64_t position, int64_t kv_head) const;

 private:
  KvCache() = default;
  // Index of a token's entry of a layer, in tokens.
  int64_t Entry(int64_t layer, int64_t position) const { return layer * context_ + position; }

  int64_t layers_ = 0;
  int64_t context_ = 0;
  int64_t kv_heads_ = 0;
  int64_t head_dim_ = 0;
  int64_t blocks_ = 0;                       // of one head
  std::unique_ptr<int16_t[]> key_codes_;     // (layers, context, kv_heads, head_dim)
  std::unique_ptr<int8_t[]> value_codes_;    // (layers, context, kv_heads, head_dim)
  std::unique_ptr<uint8_t[]> key_shifts_;    // (layers, context, kv_heads, blocks)
  std::unique_ptr<uint8_t[]> value_shifts_;  // (layers, context, kv_heads, blocks)
};

// The codes of one query, quantised as the keys are.
struct QueryCodes {
  std::vector<int16_t> codes;   // (n_heads, head_dim)
  std::vector<uint8_t> shifts;  // (n_heads, blocks)

  void Quantize(const model::Config& config, std::span<const int32_t> queries);
  numerics::HeadCodes Head(const model::Config& config, int64_t head) const;
};

}  // namespace etch::engine
