#pragma once

// The quantities that an estimate needs, in four files: a technology (data/tech), what blocks of
// the emitted chip measure in it (data/chip/blocks.json, from Yosys), how the model puts blocks
// together (data/chip/model.json) and what running and building costs (data/chip/economics.json).
// The files travel inside the program; a technology may also be a file of the user's.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chip/quantity.h"

namespace etch::chip {

// A file of data/, by its path there: "tech/n6.json".
struct DataFile {
  std::string_view name;
  std::string_view text;
};
std::span<const DataFile> DataFiles();
// kNotFound listing the names that there are in the folder of `name`.
Result<std::string_view> FindData(std::string_view name);
// The names of the files in a folder ("tech", "chip/presets"), without ".json".
std::vector<std::string> DataNames(std::string_view folder);

std::span<const QuantitySpec> TechnologySpecs();

struct Technology {
  std::string name;
  std::string title;
  std::string note;
  std::vector<Quantity> quantities;  // one a spec of TechnologySpecs()
};
// `name` is a name of data/tech or the path of a file.
Result<Technology> LoadTechnology(const std::string& name);
Result<Technology> ParseTechnology(std::string_view json, std::string_view origin);

// Everything a model is evaluated with.
struct Inputs {
  Technology technology;
  std::vector<Quantity> quantities;  // of all four files

  Values Nominal() const;
  const Quantity* Find(std::string_view name) const;
  // kInvalidArgument when no quantity has that name, or its numbers are out of order or bounds.
  Status Replace(const Quantity& quantity);
};
Result<Inputs> LoadInputs(const std::string& technology);

}  // namespace etch::chip
