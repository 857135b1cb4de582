#pragma once

// Keys and values of one session as the vector kernels read them. Sixteen keys make a tile, in
// which a 32-bit lane owns a key (scores) or a channel (sums of values):
//
//   keys      for each pair of channels: 16 keys × 2 channels, int16          head_dim · 32 bytes
//   shifts    for each block of channels: 16 keys, u8                            blocks · 16
//   values    for each 4 keys: value_channels × 4 keys, int8              value_channels · 16
//
// Each of the four arrays holds (layers, kv_heads, tiles, …), so a head's context is one stream.
// The contents are those of kv_cache.h: keys A14, values A8.

#include <cstdint>
#include <memory>
#include <span>

#include "engine/backend.h"
#include "engine/cpu/kernels.h"
#include "model/config.h"

namespace etch::engine {

class KvTiles : public SessionState {
 public:
  // Memory is reserved for `context` tokens and taken from the machine as it fills. kNoSpace when
  // the machine has less.
  static Result<std::unique_ptr<SessionState>> Create(const model::Config& config, int64_t context);
  // Of one token, all layers.
  static int64_t BytesPerToken(const model::Config& config);
  ~KvTiles() override;

  // Quantises and stores the rotated key and the value of one head: head_dim I32 values each.
  void Store(int64_t layer, int64_t kv_head, int64_t position, const int32_t* key,
             const int32_t* value, const KernelSet& kernels);
  void Repeat(int64_t period, int64_t end) override;
  void CopyFrom(const SessionState& from, int64_t count) override;
  // Fills in where the keys and values of a head lie.
  void Locate(int64_t layer, int64_t kv_head, AttendTask& task) const;

 private:
  KvTiles() = default;
  // The entries of one token, of every layer and head.
  void CopyToken(int64_t from, int64_t to);

  int64_t heads_ = 0;  // layers * kv_heads
  int64_t tiles_ = 0;
  int64_t kv_heads_ = 0;
  int64_t head_dim_ = 0;
  int64_t blocks_ = 0;
  int64_t value_channels_ = 0;
  std::byte* memory_ = nullptr;  // one anonymous mapping, zero until written
  int64_t size_bytes_ = 0;
  int16_t* keys_ = nullptr;
  int8_t* values_ = nullptr;
  uint8_t* key_shifts_ = nullptr;
  uint8_t* value_shifts_ = nullptr;
};

}  // namespace etch::engine
