#pragma once
#include <cstdint>
#include <vector>
#include "model/vocabulary.h"
namespace etch::tune {
struct Sequence {
  std::vector<model::TokenId> tokens;
  std::vector<uint8_t> trained;
  std::vector<int64_t> segment_starts;
};
}
