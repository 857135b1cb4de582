// First fit asks over and over for the leftmost sequence with room for n tokens. A tournament tree
// over the sequences, whose nodes hold the largest room below them, answers by one walk from the
// root.

#include "tune/data/pack.h"

#include <algorithm>
#include <bit>

#include "tune/data/order.h"

namespace etch::tune {
namespace {

// Room left in up to `count` sequences, all of them empty at first.
class Rooms {
 public:
  Rooms(size_t count, int64_t length)
      : leaves_(std::bit_ceil(std::max<size_t>(count, 1))), room_(2 * leaves_, length) {}

  // Takes `size` from the leftmost sequence that has as much, which exists, and returns it.
  size_t TakeFirst(int64_t size) {
    size_t node = 1;
    while (node < leaves_) {
      node = 2 * node + (room_[2 * node] >= size ? 0 : 1);
    }
    const size_t sequence = node - leaves_;
    room_[node] -= size;
    for (node /= 2; node > 0; node /= 2) {
      room_[node] = std::max(room_[2 * node], room_[2 * node + 1]);
    }
    return sequence;
  }

 private:
  size_t leaves_;
  std::vector<int64_t> room_;  // heap order: the children of i are 2i and 2i + 1
};

void AppendSample(const Sample& sample, Sequence& sequence) {
  const size_t start = sequence.tokens.size();
  sequence.segment_starts.push_back(static_cast<int64_t>(start));
  sequence.tokens.insert(sequence.tokens.end(), sample.tokens.begin(), sample.tokens.end());
  sequence.trained.insert(sequence.trained.end(), sample.trained.begin(), sample.trained.end());
  if (start < sequence.trained.size()) {
    sequence.trained[start] = 0;
  }
}

}  // namespace

Result<std::vector<Sequence>> PackSamples(std::span<const Sample> samples, int64_t length,
                                          uint64_t seed) {
  for (const Sample& sample : samples) {
    if (std::ssize(sample.tokens) > length) {
      return Fail(ErrorCode::kInvalidArgument,
                  "the row of line {} has {} tokens and does not fit into sequences of {}",
                  sample.line, sample.tokens.size(), length);
    }
  }
  std::vector<int64_t> order = EpochOrder(seed, 0, std::ssize(samples));
  const auto size_of = [&](int64_t index) {
    return samples[static_cast<size_t>(index)].tokens.size();
  };
  std::ranges::stable_sort(order, std::ranges::greater(), size_of);
  Rooms rooms(samples.size(), length);
  std::vector<Sequence> packed;
  for (const int64_t index : order) {
    const Sample& sample = samples[static_cast<size_t>(index)];
    const size_t sequence = rooms.TakeFirst(std::ssize(sample.tokens));
    packed.resize(std::max(packed.size(), sequence + 1));
    AppendSample(sample, packed[sequence]);
  }
  std::vector<Sequence> shuffled;
  shuffled.reserve(packed.size());
  for (const int64_t index : EpochOrder(seed, 1, std::ssize(packed))) {
    shuffled.push_back(std::move(packed[static_cast<size_t>(index)]));
  }
  return shuffled;
}

std::vector<Sequence> UnpackedSequences(std::span<const Sample> samples) {
  std::vector<Sequence> sequences(samples.size());
  for (size_t index = 0; index < samples.size(); ++index) {
    AppendSample(samples[index], sequences[index]);
  }
  return sequences;
}

}  // namespace etch::tune
