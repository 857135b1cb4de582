#pragma once

// The element-wise operations of a layer as plain loops without branches, for the compiler to
// vectorise. Included once by the translation unit of each instruction set, inside a namespace of
// its own, so that the same source becomes each set's code. Bits are those of numerics/
// (docs/numeric-contract.md §4, §7, §8, §10); the tests hold them to it.
//
// Shifts that round are written ((v >> (s-1)) + 1) >> 1 where v + half could leave 32 bits: the two
// forms are equal for s ≥ 1.

constexpr int64_t kVectorBlock = numerics::kBlock;

inline int32_t RoundShift32(int32_t value, int shift_minus_one) {
  return ((value >> shift_minus_one) + 1) >> 1;
}

inline uint32_t LargestMagnitude(const int32_t* values, int64_t count) {
  uint32_t largest = 0;
  for (int64_t index = 0; index < count; ++index) {
    const int32_t value = values[index];
    const auto magnitude = static_cast<uint32_t>(value < 0 ? -value : value);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

inline uint64_t LargestMagnitude(const int64_t* values, int64_t count) {
  uint64_t largest = 0;
  for (int64_t index = 0; index < count; ++index) {
    const int64_t value = values[index];
    const auto magnitude = static_cast<uint64_t>(value < 0 ? -value : value);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

// The codes of one block of 32, values already brought to at most 16 magnitude bits.
template <bool kWide>
void WriteRecord(const int32_t* codes, int shift, std::byte* record) {
  auto* bytes = reinterpret_cast<int8_t*>(record);
  int32_t sum = 0;
  for (int64_t index = 0; index < kVectorBlock; ++index) {
    sum += codes[index];
  }
  if constexpr (kWide) {
    for (int64_t index = 0; index < kVectorBlock; ++index) {
      const int32_t high = (codes[index] + 128) >> 8;
      bytes[index] = static_cast<int8_t>(codes[index] - 256 * high);
      bytes[kVectorBlock + index] = static_cast<int8_t>(high);
    }
  } else {
    for (int64_t index = 0; index < kVectorBlock; ++index) {
      bytes[index] = static_cast<int8_t>(codes[index]);
    }
  }
  const int32_t aligned = shift + (kWide ? 8 : 0);
  const GroupTerms terms = {-32 * sum, (1 << aligned) >> 1, aligned, 0};
  std::memcpy(record + (kWide ? 64 : 32), &terms, sizeof terms);
}

inline void RoundBlock(const int32_t* values, int shift, int32_t* codes) {
  if (shift == 0) {
    for (int64_t index = 0; index < kVectorBlock; ++index) {
      codes[index] = values[index];
    }
    return;
  }
  for (int64_t index = 0; index < kVectorBlock; ++index) {
    codes[index] = RoundShift32(values[index], shift - 1);
  }
}

inline void RoundBlock(const int64_t* values, int shift, int32_t* codes) {
  const int64_t half = (int64_t{1} << shift) >> 1;
  for (int64_t index = 0; index < kVectorBlock; ++index) {
    codes[index] = static_cast<int32_t>((values[index] + half) >> shift);
  }
}

template <bool kWide, class T>
void QuantizeColumn(const T* values, int64_t column, InputPanel& panel) {
  const int64_t width = panel.width();
  const int64_t whole = width / kVectorBlock;
  const int32_t limit = numerics::MaxCode(panel.format());
  std::byte* record = panel.Record(column, 0);
  const int64_t stride = panel.RecordStride(column);
  // The last block, padded with zeros.
  T rest[kVectorBlock] = {};
  for (int64_t index = whole * kVectorBlock; index < width; ++index) {
    rest[index - whole * kVectorBlock] = values[index];
  }
  const auto block_values = [&](int64_t block) {
    return block < whole ? values + block * kVectorBlock : rest;
  };
  int largest = 0;
  uint8_t shifts[model::kMaxFfnDim / kVectorBlock];
  for (int64_t block = 0; block < panel.groups(); ++block) {
    const int shift = BlockShift(LargestMagnitude(block_values(block), kVectorBlock), limit);
    shifts[block] = static_cast<uint8_t>(shift);
    largest = shift > largest ? shift : largest;
  }
  for (int64_t block = 0; block < panel.groups(); ++block) {
    const int lowest = largest - numerics::kMaxShiftSpread;
    const int shift = shifts[block] > lowest ? shifts[block] : lowest;
    int32_t codes[kVectorBlock];
    RoundBlock(block_values(block), shift, codes);
    WriteRecord<kWide>(codes, largest - shift, record + block * stride);
  }
  panel.SetMaxShift(column, largest);
}

inline void Quantize(const int32_t* values, int64_t column, InputPanel& panel) {
  if (panel.format() == numerics::ActivationFormat::kA8) {
    QuantizeColumn<false>(values, column, panel);
  } else {
    QuantizeColumn<true>(values, column, panel);
  }
}

inline void QuantizeProducts(const int64_t* products, int64_t column, InputPanel& panel) {
  if (panel.format() == numerics::ActivationFormat::kA8) {
    QuantizeColumn<false>(products, column, panel);
  } else {
    QuantizeColumn<true>(products, column, panel);
  }
}

inline void QuantizeHead(std::span<const int32_t> values, int32_t max_code, int16_t* codes,
                         uint8_t* shifts) {
  const auto count = static_cast<int64_t>(values.size());
  for (int64_t begin = 0; begin < count; begin += kVectorBlock) {
    const int64_t size = count - begin < kVectorBlock ? count - begin : kVectorBlock;
    int32_t block[kVectorBlock] = {};
    std::copy_n(values.data() + begin, size, block);
    const int shift = BlockShift(LargestMagnitude(block, kVectorBlock), max_code);
    int32_t rounded[kVectorBlock];
    RoundBlock(block, shift, rounded);
    for (int64_t index = 0; index < size; ++index) {
      codes[begin + index] = static_cast<int16_t>(rounded[index]);
    }
    shifts[begin / kVectorBlock] = static_cast<uint8_t>(shift);
  }
}

inline void Rotate(std::span<const numerics::Rotation> rotations, int32_t* head) {
  numerics::RotateHead(rotations, {head, 2 * rotations.size()});
}

// A gain as one 32-bit word, mantissa below exponent, so that a vector of them is one load.
typedef uint32_t __attribute__((may_alias)) GainWord;
static_assert(sizeof(numerics::Gain16) == sizeof(GainWord) &&
              offsetof(numerics::Gain16, mantissa) == 0 &&
              offsetof(numerics::Gain16, exponent) == 2);

inline int32_t MantissaOf(uint32_t gain) { return static_cast<int32_t>(gain << 16) >> 16; }
inline int32_t ExponentOf(uint32_t gain) { return static_cast<int32_t>(gain << 8) >> 24; }

inline void Norm(std::span<const int32_t> x, std::span<const numerics::Gain16> gains,
                 uint64_t epsilon, const numerics::FunctionTables& tables, int32_t* y) {
  const auto count = static_cast<int64_t>(x.size());
  const int32_t* values = x.data();
  const auto* words = reinterpret_cast<const GainWord*>(gains.data());
  int32_t highest_exponent = -128;
  for (int64_t index = 0; index < count; ++index) {
    const int32_t exponent = ExponentOf(words[index]);
    highest_exponent = exponent > highest_exponent ? exponent : highest_exponent;
  }
  constexpr int kGainPoint = numerics::kRsqrtBits - numerics::kPoint;
  if (highest_exponent > kGainPoint) {  // a left shift, which no trained model has
    numerics::RmsNorm(x, gains, epsilon, tables, {y, x.size()});
    return;
  }
  const int shift = std::max(0, numerics::BitLength(LargestMagnitude(values, count)) - 23);
  // At most 8 bits are shifted out of 31, so the half is below 2^8 and x is at most 2^31 - 1: the
  // sum needs 64 bits only where x is within 2^7 of the end, and there it is the same to add the
  // half to x / 2.
  const auto reduce = [shift](int32_t value) {
    return shift == 0 ? value : RoundShift32(value, shift - 1);
  };
  // y holds the reduced values first.
  uint64_t squares = 0;
  if (shift == 0) {
    for (int64_t index = 0; index < count; ++index) {
      const int64_t value = values[index];
      squares += static_cast<uint64_t>(value * value);
    }
  } else {
    for (int64_t index = 0; index < count; ++index) {
      const int64_t value = reduce(values[index]);
      squares += static_cast<uint64_t>(value * value);
    }
  }
  squares +=
      static_cast<uint64_t>(numerics::RoundShiftRight(static_cast<int64_t>(epsilon), 2 * shift));
  if (squares == 0) {
    std::fill_n(y, count, 0);
    return;
  }
  const numerics::ReciprocalRoot root = numerics::Rsqrt(squares, tables);
  const int64_t root_half = (int64_t{1} << root.exponent) >> 1;
  const auto root_mantissa = static_cast<int32_t>(root.mantissa);
  const int root_exponent = root.exponent;
  for (int64_t index = 0; index < count; ++index) {
    const int64_t product = int64_t{reduce(values[index])} * root_mantissa;
    const int64_t unit = (product + root_half) >> root_exponent;
    // A shift of 62 leaves nothing of 47 bits, as every larger one.
    const int32_t wanted = kGainPoint - ExponentOf(words[index]);
    const int64_t down = wanted < 62 ? wanted : 62;
    const int64_t half = (int64_t{1} << down) >> 1;
    const int64_t scaled = (unit * MantissaOf(words[index]) + half) >> down;
    const int64_t low = scaled < -numerics::kMax32 ? -numerics::kMax32 : scaled;
    y[index] = static_cast<int32_t>(low > numerics::kMax32 ? numerics::kMax32 : low);
  }
}

inline void SwiGlu(const int32_t* gate, const int32_t* up, int64_t count,
                   const numerics::FunctionTables& tables, int64_t* products) {
  constexpr int32_t kEdge = 16 << numerics::kPoint;
  constexpr int kStepBits = 12;
  const int32_t* table = tables.sigmoid.data();
  for (int64_t index = 0; index < count; ++index) {
    const int32_t x = gate[index];
    const int32_t low = x < -kEdge ? -kEdge : x;
    const int32_t inside = low > kEdge - 1 ? kEdge - 1 : low;
    const int32_t offset = inside + kEdge;
    const int32_t entry = offset >> kStepBits;
    const int32_t fraction = offset & ((1 << kStepBits) - 1);
    // At most 2^16 · 2^12: 32 bits hold it.
    const int32_t step = table[entry + 1] - table[entry];
    const int32_t inner = table[entry] + ((step * fraction + (1 << (kStepBits - 1))) >> kStepBits);
    const int32_t upper = x >= kEdge ? 1 << numerics::kSigmoidBits : inner;
    const int32_t sigmoid = x <= -kEdge ? 0 : upper;
    const int64_t scaled = int64_t{x} * sigmoid;
    const auto activated = static_cast<int32_t>((scaled + (1 << (numerics::kSigmoidBits - 1))) >>
                                                numerics::kSigmoidBits);
    products[index] = int64_t{activated} * up[index];
  }
}

// In 32 bits, so that a register holds twice as many: a sum has overflowed when its sign is that of
// neither addend.
inline void Add(const int32_t* a, const int32_t* b, int64_t count, int32_t* out) {
  for (int64_t index = 0; index < count; ++index) {
    const int32_t left = a[index];
    const int32_t right = b[index];
    const auto sum =
        static_cast<int32_t>(static_cast<uint32_t>(left) + static_cast<uint32_t>(right));
    const int32_t limit = left < 0 ? -numerics::kMax32 : numerics::kMax32;
    const int32_t saturated = ((left ^ sum) & (right ^ sum)) < 0 ? limit : sum;
    out[index] = saturated < -numerics::kMax32 ? -numerics::kMax32 : saturated;
  }
}

// y += weight · delta.
inline void AddWeighted(const int32_t* delta, int32_t weight_q16, int64_t count, int32_t* y) {
  if (weight_q16 == 1 << 16) {  // the delta itself
    return Add(y, delta, count, y);
  }
  for (int64_t index = 0; index < count; ++index) {
    const int64_t product = int64_t{delta[index]} * weight_q16;
    const int64_t sum = int64_t{y[index]} + ((product + (1 << 15)) >> 16);
    const int64_t low = sum < -numerics::kMax32 ? -numerics::kMax32 : sum;
    y[index] = static_cast<int32_t>(low > numerics::kMax32 ? numerics::kMax32 : low);
  }
}

// A product and an addition, some tiles at a time; kMultiply is the set's own.
template <auto kMultiply>
void MultiplyAdd(const numerics::WeightView& weights, const InputPanel& inputs, int64_t tile_begin,
                 int64_t tile_end, const AddedTo& to) {
  constexpr int64_t kTiles = 8;
  constexpr int64_t kStride = kTiles * numerics::kTileRows;
  int32_t* deltas = ThreadProducts(inputs.columns() * kStride);
  const int64_t tile_bytes = numerics::TileBytes(weights.format, weights.cols);
  for (int64_t tile = tile_begin; tile < tile_end; tile += kTiles) {
    const int64_t first = tile * numerics::kTileRows;
    const int64_t tiles = tile_end - tile < kTiles ? tile_end - tile : kTiles;
    numerics::WeightView part = weights;  // kernels number rows from the first of the view
    part.data += tile * tile_bytes;
    part.rows = weights.rows - first < kStride ? weights.rows - first : kStride;
    kMultiply(part, inputs, 0, tiles, deltas, kStride);
    const int64_t last_row = tiles * numerics::kTileRows;
    const int64_t rows = part.rows < last_row ? part.rows : last_row;
    for (int64_t column = 0; column < inputs.columns(); ++column) {
      AddWeighted(deltas + column * kStride, to.weight_q16(column), rows, to.Rows(column) + first);
    }
  }
}
