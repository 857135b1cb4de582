#include "engine/cpu/kv_tiles.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "numerics/attention.h"

namespace etch::engine {
namespace {

using numerics::kBlock;

constexpr int64_t kLanes = 16;

int64_t ValueChannels(int64_t head_dim) { return (head_dim + kLanes - 1) / kLanes * kLanes; }

// Bytes of one tile of one head: keys, values, shifts.
int64_t TileBytes(const model::Config& config) {
  return kKeyTile * (2 * config.head_dim + ValueChannels(config.head_dim) +
                     2 * numerics::HeadBlocks(config.head_dim));
}

}  // namespace

int64_t KvTiles::BytesPerToken(const model::Config& config) {
  return config.n_layers * config.n_kv_heads * TileBytes(config) / kKeyTile;
}

Result<std::unique_ptr<SessionState>> KvTiles::Create(const model::Config& config,
                                                      int64_t context) {
  const int64_t tiles = KeyTiles(context);
  const int64_t heads = config.n_layers * config.n_kv_heads;
  const int64_t bytes = heads * tiles * TileBytes(config);
  const int64_t machine = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
  void* memory = MAP_FAILED;
  if (bytes <= machine) {
    memory = ::mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (memory == MAP_FAILED) {
    return Fail(ErrorCode::kNoSpace,
                "a context of {} tokens takes {}, this machine has {}; choose a shorter --context",
                context, HumanBytes(static_cast<double>(bytes)),
                HumanBytes(static_cast<double>(machine)));
  }
  std::unique_ptr<KvTiles> cache(new KvTiles());
  cache->memory_ = static_cast<std::byte*>(memory);
  cache->size_bytes_ = bytes;
  cache->heads_ = heads;
  cache->tiles_ = tiles;
  cache->kv_heads_ = config.n_kv_heads;
  cache->head_dim_ = config.head_dim;
  cache->blocks_ = numerics::HeadBlocks(config.head_dim);
  cache->value_channels_ = ValueChannels(config.head_dim);
  const int64_t tokens = heads * tiles * kKeyTile;
  std::byte* next = cache->memory_;
  cache->keys_ = reinterpret_cast<int16_t*>(next);
  next += tokens * cache->head_dim_ * 2;
  cache->values_ = reinterpret_cast<int8_t*>(next);
  next += tokens * cache->value_channels_;
  cache->key_shifts_ = reinterpret_cast<uint8_t*>(next);
  next += tokens * cache->blocks_;
  cache->value_shifts_ = reinterpret_cast<uint8_t*>(next);
  return cache;
}

KvTiles::~KvTiles() {
  if (memory_ != nullptr) {
    ::munmap(memory_, static_cast<size_t>(size_bytes_));
  }
}

void KvTiles::Store(int64_t layer, int64_t kv_head, int64_t position, const int32_t* key,
                    const int32_t* value, const KernelSet& kernels) {
  const int64_t tile = (layer * kv_heads_ + kv_head) * tiles_ + position / kKeyTile;
  const int64_t lane = position % kKeyTile;
  int16_t* keys = keys_ + tile * head_dim_ * kKeyTile;
  int8_t* values = values_ + (tile * 4 + lane / 4) * value_channels_ * 4;
  uint8_t* key_shifts = key_shifts_ + tile * blocks_ * kKeyTile;
  uint8_t* value_shifts = value_shifts_ + tile * blocks_ * kKeyTile;
  std::array<int16_t, model::kMaxHeadDim> codes;
  std::array<uint8_t, model::kMaxHeadDim / kBlock> shifts;
  const auto quantize = [&](const int32_t* head, int32_t max_code, uint8_t* tile_shifts) {
    kernels.quantize_head({head, static_cast<size_t>(head_dim_)}, max_code, codes.data(),
                          shifts.data());
    for (int64_t block = 0; block < blocks_; ++block) {
      tile_shifts[block * kKeyTile + lane] = shifts[static_cast<size_t>(block)];
    }
  };
  quantize(key, numerics::kMaxA14, key_shifts);
  for (int64_t pair = 0; pair < head_dim_ / 2; ++pair) {
    std::memcpy(keys + (pair * kKeyTile + lane) * 2, &codes[static_cast<size_t>(2 * pair)], 4);
  }
  quantize(value, numerics::kMaxA8, value_shifts);
  for (int64_t channel = 0; channel < head_dim_; ++channel) {
    values[channel * 4 + lane % 4] = static_cast<int8_t>(codes[static_cast<size_t>(channel)]);
  }
}

void KvTiles::Repeat(int64_t period, int64_t end) {
  for (int64_t token = period; token < end; ++token) {
    CopyToken(token - period, token);
  }
}

void KvTiles::CopyToken(int64_t from, int64_t to) {
  const int64_t from_lane = from % kKeyTile;
  const int64_t to_lane = to % kKeyTile;
  for (int64_t head = 0; head < heads_; ++head) {
    const int64_t from_tile = head * tiles_ + from / kKeyTile;
    const int64_t to_tile = head * tiles_ + to / kKeyTile;
    for (int64_t pair = 0; pair < head_dim_ / 2; ++pair) {
      const auto at = [&](int64_t tile, int64_t lane) {
        return keys_ + ((tile * head_dim_ / 2 + pair) * kKeyTile + lane) * 2;
      };
      std::copy_n(at(from_tile, from_lane), 2, at(to_tile, to_lane));
    }
    for (int64_t channel = 0; channel < value_channels_; ++channel) {
      const auto at = [&](int64_t tile, int64_t lane) {
        return ((tile * 4 + lane / 4) * value_channels_ + channel) * 4 + lane % 4;
      };
      values_[at(to_tile, to_lane)] = values_[at(from_tile, from_lane)];
    }
    for (int64_t block = 0; block < blocks_; ++block) {
      const auto at = [&](int64_t tile, int64_t lane) {
        return (tile * blocks_ + block) * kKeyTile + lane;
      };
      key_shifts_[at(to_tile, to_lane)] = key_shifts_[at(from_tile, from_lane)];
      value_shifts_[at(to_tile, to_lane)] = value_shifts_[at(from_tile, from_lane)];
    }
  }
}

// Whole tiles: what lies behind `count` in the last one is overwritten before it is read.
void KvTiles::CopyFrom(const SessionState& from, int64_t count) {
  const auto& other = static_cast<const KvTiles&>(from);
  const int64_t tiles = KeyTiles(count);
  for (int64_t head = 0; head < heads_; ++head) {
    const auto copy = [&](const auto* source, auto* target, int64_t of_a_tile) {
      std::copy_n(source + head * other.tiles_ * of_a_tile, tiles * of_a_tile,
                  target + head * tiles_ * of_a_tile);
    };
    copy(other.keys_, keys_, head_dim_ * kKeyTile);
    copy(other.values_, values_, value_channels_ * kKeyTile);
    copy(other.key_shifts_, key_shifts_, blocks_ * kKeyTile);
    copy(other.value_shifts_, value_shifts_, blocks_ * kKeyTile);
  }
}

void KvTiles::Locate(int64_t layer, int64_t kv_head, AttendTask& task) const {
  const int64_t tile = (layer * kv_heads_ + kv_head) * tiles_;
  task.keys = keys_ + tile * head_dim_ * kKeyTile;
  task.values = values_ + tile * 4 * value_channels_ * 4;
  task.key_shifts = key_shifts_ + tile * blocks_ * kKeyTile;
  task.value_shifts = value_shifts_ + tile * blocks_ * kKeyTile;
  task.head_dim = head_dim_;
  task.blocks = blocks_;
  task.value_channels = value_channels_;
}

}  // namespace etch::engine
