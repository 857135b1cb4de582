// etch chip: what a model hardwired in silicon would measure, draw and cost.

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <span>

#include "base/file.h"
#include "chip/inputs.h"
#include "chip/report.h"
#include "cli/chip/design_options.h"
#include "cli/chip/masks.h"
#include "cli/chip/print.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace etch::cli {
namespace {

struct Options {
  std::string what;
  std::string other;
  DesignOptions design;
  std::string html;
  bool list = false;
  bool inputs = false;
  bool sweep = false;
  bool masks = false;
  bool published = false;
  bool json = false;
};

Status List(bool json) {
  nlohmann::ordered_json presets = nlohmann::ordered_json::array();
  nlohmann::ordered_json technologies = nlohmann::ordered_json::array();
  for (const std::string& name : chip::DataNames("chip/presets")) {
    ETCH_ASSIGN_OR_RETURN(const chip::Design design, chip::LoadDesign(name));
    presets.push_back({{"name", name}, {"title", design.title}, {"model", design.model}});
  }
  for (const std::string& name : chip::DataNames("tech")) {
    ETCH_ASSIGN_OR_RETURN(const chip::Technology technology, chip::LoadTechnology(name));
    technologies.push_back({{"name", name}, {"title", technology.title}});
  }
  if (json) {
    PrintJson({{"presets", presets}, {"technologies", technologies}});
    return {};
  }
  for (const auto& one : presets) {
    fmt::print("{:<10} {}: {}\n", one["name"].get<std::string>(), one["title"].get<std::string>(),
               one["model"].get<std::string>());
  }
  fmt::print("technologies:\n");
  for (const auto& one : technologies) {
    fmt::print("{:<10} {}\n", one["name"].get<std::string>(), one["title"].get<std::string>());
  }
  return {};
}

Status TellPublished(bool json) {
  ETCH_ASSIGN_OR_RETURN(const auto comparisons, chip::ComparePublished());
  if (json) {
    PrintJson(PublishedJson(comparisons));
  } else {
    PrintPublished(comparisons);
  }
  return {};
}

nlohmann::ordered_json MasksJson(const MaskStory& story) {
  nlohmann::ordered_json json = {{"fabric_sha256", story.set.fabric_sha256},
                                 {"fabric_files", story.set.fabric_files},
                                 {"mask_files", story.set.mask_files},
                                 {"mask_bits", story.set.mask_bits},
                                 {"audited_weights", story.set.audited_weights},
                                 {"audited_wrong", story.set.audited_wrong},
                                 {"write_s", story.set.write_s},
                                 {"audit_s", story.set.audit_s}};
  if (story.change) {
    json["same_fabric"] = story.change->same_fabric;
    json["files_changed"] = story.change->files_changed;
    json["bits_compared"] = story.change->bits_compared;
    json["bits_changed"] = story.change->bits_changed;
  }
  return json;
}

void PrintMasks(const MaskStory& story) {
  const MaskSet& set = story.set;
  fmt::print("fabric       {} files, {}: the same for every model of this shape\n",
             set.fabric_files, set.fabric_sha256.substr(0, 16));
  fmt::print("masks        {} files, {} bits of weights, scales and tables\n", set.mask_files,
             HumanCount(static_cast<double>(set.mask_bits)));
  fmt::print("written      in {:.1f} s from the image\n", set.write_s);
  fmt::print("audited      in {:.1f} s: {} weights read back, {} differ\n", set.audit_s,
             HumanCount(static_cast<double>(set.audited_weights)), set.audited_wrong);
  fmt::print("published    two months from unseen weights to silicon (Taalas); what is measured "
             "here is the part before the mask shop\n");
  if (story.change) {
    fmt::print("other model  fabric the same byte for byte; {} of {} mask files change, {} of {} "
               "bits\n",
               story.change->files_changed, set.mask_files,
               HumanCount(static_cast<double>(story.change->bits_changed)),
               HumanCount(static_cast<double>(story.change->bits_compared)));
  }
}

Status Masks(const Options& options, const ChosenDesign& chosen) {
  if (!chosen.is_image) {
    return Fail(ErrorCode::kInvalidArgument, "--masks needs an image: {} is a preset",
                options.what);
  }
  ETCH_ASSIGN_OR_RETURN(const MaskStory story,
                        TellMasks(options.what, options.other, chosen.design.choices));
  if (options.json) {
    PrintJson(MasksJson(story));
  } else {
    PrintMasks(story);
  }
  return {};
}

Status Compare(const Options& options, const chip::Model& left,
               const chip::Estimate& left_estimate, const chip::Inputs& left_inputs) {
  ETCH_ASSIGN_OR_RETURN(ChosenDesign other, ChooseDesign(options.other, options.design));
  ETCH_ASSIGN_OR_RETURN(const chip::Model right,
                        chip::Model::Create(std::move(other.design), other.inputs));
  const chip::Estimate right_estimate = chip::EstimateOf(right, other.inputs);
  if (options.json) {
    PrintJson({{"left", EstimateJson(left, left_inputs, left_estimate,
                                     chip::CapacityOf(left, left_inputs))},
               {"right", EstimateJson(right, other.inputs, right_estimate,
                                      chip::CapacityOf(right, other.inputs))}});
  } else {
    PrintPair(left, left_estimate, right, right_estimate);
  }
  return {};
}

Status Run(const Options& options) {
  if (options.list) {
    return List(options.json);
  }
  if (options.published) {
    return TellPublished(options.json);
  }
  if (options.what.empty()) {
    return Fail(ErrorCode::kInvalidArgument,
                "name an image, a preset (`etch chip --list`) or a .json file");
  }
  ETCH_ASSIGN_OR_RETURN(ChosenDesign chosen, ChooseDesign(options.what, options.design));
  if (options.masks) {
    return Masks(options, chosen);
  }
  if (options.inputs && !options.json) {
    PrintInputs(chosen.inputs);
    return {};
  }
  if (options.sweep) {
    const std::vector<chip::SweepPoint> points = chip::Sweep(chosen.design, chosen.inputs);
    if (options.json) {
      PrintJson(SweepJson(points));
    } else {
      PrintSweep(points);
    }
    return {};
  }
  ETCH_ASSIGN_OR_RETURN(const chip::Model model,
                        chip::Model::Create(std::move(chosen.design), chosen.inputs));
  if (!options.html.empty()) {
    const chip::Study study = chip::StudyOf(model, chosen.inputs);
    ETCH_ASSIGN_OR_RETURN(const std::string html, chip::ReportHtml(model, chosen.inputs, study));
    ETCH_TRY(WriteFileAtomically(options.html, std::as_bytes(std::span(html))));
  }
  const chip::Estimate estimate = chip::EstimateOf(model, chosen.inputs);
  if (!options.other.empty()) {
    return Compare(options, model, estimate, chosen.inputs);
  }
  const chip::CapacityStudy capacity = chip::CapacityOf(model, chosen.inputs);
  if (options.json) {
    PrintJson(EstimateJson(model, chosen.inputs, estimate, capacity));
  } else {
    PrintEstimate(model, chosen.inputs, estimate, capacity);
  }
  return {};
}

}  // namespace

void AddChip(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "chip", "Say what a model hardwired in silicon would measure, draw and cost");
  command->footer(
      "Area, transistors, speed, power and price come from the same plan that `etch rtl` prints,\n"
      "and from named inputs, each with a unit, a range and a source: --inputs lists them, --set\n"
      "changes one. Every figure has the range that follows, and the inputs that matter most.\n"
      "docs/silicon-model.md has the formulas.\n"
      "\n"
      "Examples:\n"
      "  etch chip hc1\n"
      "  etch chip hc1 --tech n3 --context 32768 --users 4 --html hc1.html\n"
      "  etch chip model.etch --lanes 256 --json\n"
      "  etch chip hc1 --compare roma\n"
      "  etch chip hc1 --sweep\n"
      "  etch chip --published\n"
      "  etch chip model.etch --masks --compare other.etch");
  command->add_option("IMAGE|PRESET", options->what,
                      "Image made by `etch compile`, a preset, or a .json file of that form");
  AddDesignOptions(*command, options->design);
  command->add_option("--compare", options->other,
                      "Another image or preset, side by side; with --masks, another image");
  command->add_option("--html", options->html, "Write a report as one HTML page");
  command->add_flag("--list", options->list, "List presets and technologies");
  command->add_flag("--inputs", options->inputs, "List the inputs with their sources");
  command->add_flag("--sweep", options->sweep, "Lanes and layers in flight: what they are worth");
  command->add_flag("--masks", options->masks,
                    "Write and audit the mask set; what changes to another model");
  command->add_flag("--published", options->published,
                    "Every preset beside what is published of it");
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] {
    const Status status = Run(*options);
    *exit_code = status ? 0 : Report(status.error());
  });
}

}  // namespace etch::cli
