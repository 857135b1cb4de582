#include "chip/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"

namespace etch::chip {
namespace {

// What a share or a ratio may be.
constexpr double kPositive = 1e-12;

constexpr QuantitySpec kTechnology[] = {
    {"cell_scale", "1", kPositive},
    {"utilisation", "1", kPositive, 1.0},
    {"rom_cell_um2", "um2", kPositive},
    {"rom_array_efficiency", "1", kPositive, 1.0},
    {"rom_transistors_per_bit", "1", kPositive},
    {"rom_logic_um2_per_bit", "um2", kPositive},
    {"rom_logic_transistors_per_bit", "1", kPositive},
    {"sram_cell_um2", "um2", kPositive},
    {"sram_array_efficiency", "1", kPositive, 1.0},
    {"sram_transistors_per_bit", "1", kPositive},
    {"logic_energy_fj_per_um2", "fJ/um2"},
    {"flop_energy_fj", "fJ"},
    {"wire_energy_fj_per_bit_mm", "fJ/(bit mm)"},
    {"rom_energy_fj_per_bit", "fJ/bit"},
    {"rom_logic_energy_fj_per_bit", "fJ/bit"},
    {"sram_energy_fj_per_bit", "fJ/bit"},
    {"leakage_nw_per_um2", "nW/um2"},
    {"sram_leakage_pw_per_bit", "pW/bit"},
    {"clock_ghz", "GHz", kPositive},
    {"voltage_v", "V", kPositive},
    {"threshold_v", "V"},
    {"voltage_alpha", "1", kPositive},
    {"wafer_usd", "USD"},
    {"wafer_mm", "mm", 1.0},
    {"edge_mm", "mm"},
    {"scribe_mm", "mm"},
    {"reticle_mm2", "mm2", kPositive},
    {"defects_per_cm2", "1/cm2"},
    {"defect_tolerant_fraction", "1", 0.0, 1.0},
    {"mask_set_usd", "USD"},
    {"respin_two_masks_usd", "USD"},
};

constexpr QuantitySpec kBlocks[] = {
    {"base_lane_um2", "um2", kPositive},
    {"base_lane_flops", "bit"},
    {"base_lane_memory_bits", "bit"},
    {"narrow_lane_um2", "um2", kPositive},
    {"narrow_lane_flops", "bit"},
    {"narrow_lane_memory_bits", "bit"},
    {"lane_select_share", "1", 0.0, 1.0},
    {"bank_um2", "um2"},
    {"bank_flops", "bit"},
    {"adapter_lane_um2", "um2", kPositive},
    {"adapter_lane_flops", "bit"},
    {"vector_element_um2", "um2", kPositive},
    {"vector_element_flops", "bit"},
    {"attention_block_um2", "um2", kPositive},
    {"attention_block_flops", "bit"},
    {"sampler_um2", "um2", kPositive},
    {"control_um2", "um2", kPositive},
    {"control_flops", "bit"},
    {"spatial_um2_per_weight", "um2", kPositive},
    {"spatial_energy_fj_per_weight", "fJ"},
    {"flop_um2", "um2", kPositive},
    {"transistors_per_um2", "1/um2", kPositive},
    {"reference_energy_fj_per_um2", "fJ/um2", kPositive},
};

constexpr QuantitySpec kModel[] = {
    {"switching_factor", "1", kPositive},
    {"active_share", "1", kPositive, 1.0},
    {"lanes_per_bank", "1", 1.0},
    {"product_wires", "bit"},
    {"io_mm2", "mm2"},
    {"overhead_fraction", "1", 0.0, 10.0},
};

constexpr QuantitySpec kEconomics[] = {
    {"card_overhead_w", "W"},
    {"supply_efficiency", "1", kPositive, 1.0},
    {"server_base_w", "W"},
    {"server_base_usd", "USD"},
    {"cards_per_server", "1", 1.0},
    {"card_base_usd", "USD"},
    {"package_usd", "USD"},
    {"test_usd", "USD"},
    {"test_yield", "1", kPositive, 1.0},
    {"lifetime_years", "year", kPositive},
    {"utilisation_of_time", "1", kPositive, 1.0},
    {"pue", "1", 1.0},
    {"electricity_usd_per_kwh", "USD/kWh"},
    {"hosting_usd_per_kw_month", "USD/(kW month)"},
    {"design_nre_usd", "USD"},
    {"respin_design_usd", "USD"},
    {"volume_chips", "1", 1.0},
    {"link_gb_s", "GB/s", kPositive},
    {"link_latency_us", "us"},
    {"host_gb_s", "GB/s", kPositive},
    {"host_latency_us", "us"},
};

std::string Joined(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<std::vector<Quantity>> BuiltIn(std::string_view name, std::span<const QuantitySpec> specs) {
  ETCH_ASSIGN_OR_RETURN(const std::string_view text, FindData(name));
  return ParseQuantities(text, name, specs);
}

}  // namespace

std::vector<std::string> DataNames(std::string_view folder) {
  std::vector<std::string> names;
  for (const DataFile& file : DataFiles()) {
    const size_t slash = file.name.rfind('/');
    if (file.name.substr(0, slash) == folder) {
      std::string_view name = file.name.substr(slash + 1);
      name.remove_suffix(std::string_view(".json").size());
      names.emplace_back(name);
    }
  }
  return names;
}

Result<std::string_view> FindData(std::string_view name) {
  const auto files = DataFiles();
  const auto found = std::ranges::find(files, name, &DataFile::name);
  if (found == files.end()) {
    const std::string_view folder = name.substr(0, name.rfind('/'));
    return Fail(ErrorCode::kNotFound, "no {} in the program's data; there are {}", name,
                Joined(DataNames(folder)));
  }
  return found->text;
}

std::span<const QuantitySpec> TechnologySpecs() { return kTechnology; }

Result<Technology> ParseTechnology(std::string_view text, std::string_view origin) {
  Technology technology;
  ETCH_ASSIGN_OR_RETURN(technology.quantities, ParseQuantities(text, origin, kTechnology));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto read = [&](const char* key, std::string& into) -> Status {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) {
      return Fail(ErrorCode::kMalformed, "{}: {}: a text is needed", origin, key);
    }
    into = found->get<std::string>();
    return {};
  };
  ETCH_TRY(read("name", technology.name));
  ETCH_TRY(read("title", technology.title));
  ETCH_TRY(read("note", technology.note));
  return technology;
}

Result<Technology> LoadTechnology(const std::string& name) {
  const std::vector<std::string> known = DataNames("tech");
  if (std::ranges::find(known, name) != known.end()) {
    ETCH_ASSIGN_OR_RETURN(const std::string_view text, FindData("tech/" + name + ".json"));
    return ParseTechnology(text, name);
  }
  if (!name.ends_with(".json")) {
    return Fail(ErrorCode::kNotFound,
                "no technology \"{}\"; there are {}, or a file of the same form (.json)", name,
                Joined(known));
  }
  ETCH_ASSIGN_OR_RETURN(const std::string text, ReadSmallFile(name));
  return ParseTechnology(text, name);
}

Values Inputs::Nominal() const {
  Values values;
  for (const Quantity& quantity : quantities) {
    values.emplace(quantity.name, quantity.value);
  }
  return values;
}

const Quantity* Inputs::Find(std::string_view name) const {
  const auto found = std::ranges::find(quantities, name, &Quantity::name);
  return found == quantities.end() ? nullptr : &*found;
}

Status Inputs::Replace(const Quantity& quantity) {
  const auto found = std::ranges::find(quantities, quantity.name, &Quantity::name);
  if (found == quantities.end()) {
    return Fail(ErrorCode::kInvalidArgument, "no quantity \"{}\"; --json lists them as inputs",
                quantity.name);
  }
  Quantity replaced = quantity;
  replaced.least = found->least;
  replaced.most = found->most;
  ETCH_TRY(CheckNumbers(replaced, ErrorCode::kInvalidArgument, quantity.name));
  *found = std::move(replaced);
  return {};
}

Result<Inputs> LoadInputs(const std::string& technology) {
  Inputs inputs;
  ETCH_ASSIGN_OR_RETURN(inputs.technology, LoadTechnology(technology));
  inputs.quantities = inputs.technology.quantities;
  const std::pair<std::string_view, std::span<const QuantitySpec>> files[] = {
      {"chip/blocks.json", kBlocks},
      {"chip/model.json", kModel},
      {"chip/economics.json", kEconomics},
  };
  for (const auto& [name, specs] : files) {
    ETCH_ASSIGN_OR_RETURN(const std::vector<Quantity> read, BuiltIn(name, specs));
    inputs.quantities.insert(inputs.quantities.end(), read.begin(), read.end());
  }
  return inputs;
}

}  // namespace etch::chip
