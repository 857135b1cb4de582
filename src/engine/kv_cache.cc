#include "engine/kv_cache.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <new>

#include "base/bytes.h"

namespace etch::engine {
namespace {

using numerics::kBlock;

// Uninitialised, so that the operating system gives pages only as they are written.
template <class T>
std::unique_ptr<T[]> Reserve(int64_t count) {
  return std::unique_ptr<T[]>(new (std::nothrow) T[static_cast<size_t>(count)]);
}

template <class T>
std::span<T> Slice(const std::unique_ptr<T[]>& memory, int64_t begin, int64_t count) {
  return {memory.get() + begin, static_cast<size_t>(count)};
}

// Quantises the heads of one token block by block. Code is int16_t or int8_t.
template <class Code>
void QuantizeHeads(std::span<const int32_t> values, int64_t head_dim, int32_t max_code,
                   std::span<Code> codes, std::span<uint8_t> shifts) {
  std::array<int16_t, kBlock> block{};
  size_t shift = 0;
  const auto total = static_cast<int64_t>(values.size());
  for (int64_t head = 0; head < total; head += head_dim) {
    for (int64_t begin = head; begin < head + head_dim; begin += kBlock) {
      const auto size = static_cast<size_t>(std::min(kBlock, head + head_dim - begin));
      const std::span<int16_t> out = std::span(block).first(size);
      shifts[shift++] =
          numerics::QuantizeBlock(values.subspan(static_cast<size_t>(begin), size), max_code, out);
      for (size_t index = 0; index < size; ++index) {
        codes[static_cast<size_t>(begin) + index] = static_cast<Code>(out[index]);
      }
    }
  }
}

}  // namespace

int64_t KvCache::BytesPerToken(const model::Config& config) {
  const int64_t blocks = config.n_kv_heads * numerics::HeadBlocks(config.head_dim);
  return config.n_layers * (3 * config.kv_dim() + 2 * blocks);
}

Result<std::unique_ptr<SessionState>> KvCache::Create(const model::Config& config,
                                                      int64_t context) {
  const int64_t bytes = BytesPerToken(config) * context;
  const int64_t machine = ::sysconf(_SC_PHYS_PAGES) * ::sysconf(_SC_PAGESIZE);
  const auto no_space = [&] {
    return Fail(ErrorCode::kNoSpace,
                "a context of {} tokens takes {}, this machine has {}; choose a shorter --context",
                context, HumanBytes(static_cast<double>(bytes)),
                HumanBytes(static_cast<double>(machine)));
  };
  if (bytes > machine) {
    return no_space();
  }
  std::unique_ptr<KvCache> cache(new KvCache());
  cache->layers_ = config.n_layers;
  cache->context_ = context;
  cache->kv_heads_ = config.n_kv_heads;
  cache->head_dim_ = config.head_dim;
  cache->blocks_ = numerics::HeadBlocks(config.head_dim);
  const int64_t entries = config.n_layers * context;
  const int64_t blocks = entries * config.n_kv_heads * cache->blocks_;
  cache->key_codes_ = Reserve<int16_t>(entries * config.kv_dim());
  cache->value_codes_ = Reserve<int8_t>(entries * config.kv_dim());
  cache->key_shifts_ = Reserve<uint8_t>(blocks);
  cache->value_shifts_ = Reserve<uint8_t>(blocks);
  if (!cache->key_codes_ || !cache->value_codes_ || !cache->key_shifts_ || !cache->value_shifts_) {
    return no_space();
  }
  return cache;
}

void KvCache::Repeat(int64_t period, int64_t end) {
  const int64_t width = kv_heads_ * head_dim_;
  const int64_t blocks = kv_heads_ * blocks_;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    for (int64_t token = period; token < end; ++token) {
      const auto copy = [&](const auto& entries, int64_t of_a_token) {
        std::ranges::copy(Slice(entries, Entry(layer, token - period) * of_a_token, of_a_token),
                          entries.get() + Entry(layer, token) * of_a_token);
      };
      copy(key_codes_, width);
      copy(value_codes_, width);
      copy(key_shifts_, blocks);
      copy(value_shifts_, blocks);
    }
  }
}

void KvCache::CopyFrom(const SessionState& from, int64_t count) {
  const auto& other = static_cast<const KvCache&>(from);
  const int64_t width = kv_heads_ * head_dim_;
  const int64_t blocks = kv_heads_ * blocks_;
  for (int64_t layer = 0; layer < layers_; ++layer) {
    const auto copy = [&](const auto& source, const auto& target, int64_t of_a_token) {
      std::ranges::copy(Slice(source, other.Entry(layer, 0) * of_a_token, count * of_a_token),
                        target.get() + Entry(layer, 0) * of_a_token);
    };
    copy(other.key_codes_, key_codes_, width);
    copy(other.value_codes_, value_codes_, width);
    copy(other.key_shifts_, key_shifts_, blocks);
    copy(other.value_shifts_, value_shifts_, blocks);
  }
}

void KvCache::Store(int64_t layer, int64_t position, std::span<const int32_t> keys,
                    std::span<const int32_t> values) {
  const int64_t kv_dim = kv_heads_ * head_dim_;
  const int64_t blocks = kv_heads_ * blocks_;
  const int64_t entry = Entry(layer, position);
  QuantizeHeads<int16_t>(keys, head_dim_, numerics::kMaxA14,
                         Slice(key_codes_, entry * kv_dim, kv_dim),
                         Slice(key_shifts_, entry * blocks, blocks));
  QuantizeHeads<int8_t>(values, head_dim_, numerics::kMaxA8,
                        Slice(value_codes_, entry * kv_dim, kv_dim),
                        Slice(value_shifts_, entry * blocks, blocks));
}

numerics::HeadCodes KvCache::Key(int64_t layer, int64_t position, int64_t kv_head) const {
  const int64_t head = Entry(layer, position) * kv_heads_ + kv_head;
  return {Slice(key_codes_, head * head_dim_, head_dim_),
          Slice(key_shifts_, head * blocks_, blocks_)};
}

numerics::ValueCodes KvCache::Value(int64_t layer, int64_t position, int64_t kv_head) const {
  const int64_t head = Entry(layer, position) * kv_heads_ + kv_head;
  return {Slice(value_codes_, head * head_dim_, head_dim_),
          Slice(value_shifts_, head * blocks_, blocks_)};
}

void QueryCodes::Quantize(const model::Config& config, std::span<const int32_t> queries) {
  codes.resize(queries.size());
  shifts.resize(static_cast<size_t>(config.n_heads * numerics::HeadBlocks(config.head_dim)));
  QuantizeHeads<int16_t>(queries, config.head_dim, numerics::kMaxA14, codes, shifts);
}

numerics::HeadCodes QueryCodes::Head(const model::Config& config, int64_t head) const {
  const int64_t blocks = numerics::HeadBlocks(config.head_dim);
  return {
      std::span(codes).subspan(static_cast<size_t>(head * config.head_dim),
                               static_cast<size_t>(config.head_dim)),
      std::span(shifts).subspan(static_cast<size_t>(head * blocks), static_cast<size_t>(blocks))};
}

}  // namespace etch::engine
