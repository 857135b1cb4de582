#include "cli/bench/report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/bytes.h"

namespace etch::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kCsvHeader =
    "date,etch,machine,isa,backend,threads,model,image_bytes,read_gb_s,int8_gop_s,kind,context,"
    "batch,adapters,tokens,steps,tokens_per_s,best_tokens_per_s,gb_s,gop_s,fraction,fraction_read,"
    "fraction_int8";

// The row that `row` is to be compared with: the same without adapters. Null when there is none.
const Row* WithoutAdapters(const BenchReport& report, const Row& row) {
  for (const Row& other : report.rows) {
    if (!other.plan.is_prefill && other.plan.adapters == 0 && other.plan.batch == row.plan.batch &&
        other.plan.context == row.plan.context) {
      return &other;
    }
  }
  return nullptr;
}

std::string DecodeLine(const BenchReport& report, const Row& row) {
  std::string line =
      fmt::format("{:>8} {:>6} {:>9} {:>11.2f} {:>11.2f} {:>8.2f} {:>8.1f} {:>8.1f} % {:>6.1f} %",
                  row.plan.context, row.plan.batch, row.plan.adapters, row.TokensPerSecond(),
                  row.BestTokensPerSecond(), row.GbPerSecond(), row.GopPerSecond(),
                  100.0 * report.FractionRead(row), 100.0 * report.FractionInt8(row));
  if (const Row* plain = row.plan.adapters > 0 ? WithoutAdapters(report, row) : nullptr) {
    line += fmt::format("   {:+.1f} % time", 100.0 * (row.median_s / plain->median_s - 1.0));
  }
  return line + "\n";
}

std::string LimitsLines(const BenchReport& report) {
  const engine::Limits& before = report.before;
  const engine::Limits& after = report.after;
  return fmt::format(
      "read limit   {:.1f} GB/s (before the rows {:.1f}, after {:.1f}), over {} with {}\n"
      "int8 limit   {:.0f} Gop/s (before {:.0f}, after {:.0f}), a multiply or an add is an "
      "operation\n",
      report.ReadLimit(), before.read_gb_s, after.read_gb_s,
      HumanBytes(static_cast<double>(before.read_bytes)), before.isa, report.Int8Limit(),
      before.int8_gop_s, after.int8_gop_s);
}

Json LimitsJson(const BenchReport& report) {
  const auto one = [](const engine::Limits& limits) {
    return Json{{"read_gb_s", limits.read_gb_s}, {"int8_gop_s", limits.int8_gop_s}};
  };
  return {{"read_gb_s", report.ReadLimit()},
          {"int8_gop_s", report.Int8Limit()},
          {"isa", report.before.isa},
          {"before", one(report.before)},
          {"after", one(report.after)}};
}

// RFC 4180: in quotes where it must be.
std::string CsvField(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char character : text) {
    quoted += character == '"' ? "\"\"" : std::string(1, character);
  }
  return quoted + "\"";
}

std::string CsvRow(const BenchReport& report, const Row& row, const std::string& date) {
  const RowPlan& plan = row.plan;
  return fmt::format(
      "{},{},{},{},{},{},{},{},{:.3f},{:.1f},{},{},{},{},{},{},{:.4f},{:.4f},{:.4f},{:.3f},{:.5f},"
      "{:.5f},{:.5f}\n",
      date, ETCH_VERSION, CsvField(report.machine), CsvField(report.engine.isa),
      report.engine.backend, report.engine.threads, CsvField(report.model), report.image_bytes,
      report.ReadLimit(), report.Int8Limit(), plan.is_prefill ? "prefill" : "decode", plan.context,
      plan.batch, plan.adapters, plan.TokensPerStep(), row.steps, row.TokensPerSecond(),
      row.BestTokensPerSecond(), row.GbPerSecond(), row.GopPerSecond(), report.Fraction(row),
      report.FractionRead(row), report.FractionInt8(row));
}

}  // namespace

std::string BenchTable(const BenchReport& report) {
  std::string text = fmt::format(
      "model        {}, image of {}\n"
      "machine      {}, {} thread{}, {} {}\n",
      report.model, HumanBytes(static_cast<double>(report.image_bytes)), report.machine,
      report.engine.threads, report.engine.threads == 1 ? "" : "s", report.engine.backend,
      report.engine.isa);
  text += LimitsLines(report);
  text += fmt::format("load         {:.3f} s, every byte verified\n", report.load_s);
  text += fmt::format("memory       {} resident; of the image {}, shared with others who map it\n",
                      HumanBytes(static_cast<double>(report.rss_bytes)),
                      HumanBytes(static_cast<double>(report.image_pss_bytes)));
  if (const double microseconds = report.MicrosecondsPerPhase(); microseconds > 0.0) {
    text += fmt::format("phases       {} a token, {:.2f} us each\n", report.engine.phases_per_token,
                        microseconds);
  }
  bool headed = false;
  for (const Row& row : report.rows) {
    if (row.plan.is_prefill) {
      continue;
    }
    if (!std::exchange(headed, true)) {
      text +=
          "\ndecode\n context  batch  adapters    tokens/s        best     GB/s    Gop/s   of read "
          " "
          " of int8\n";
    }
    text += DecodeLine(report, row);
  }
  headed = false;
  for (const Row& row : report.rows) {
    if (!row.plan.is_prefill) {
      continue;
    }
    if (!std::exchange(headed, true)) {
      text += "\nprefill\n  tokens    tokens/s        best    Gop/s   of int8\n";
    }
    text += fmt::format("{:>8} {:>11.2f} {:>11.2f} {:>8.1f} {:>7.1f} %\n", row.plan.tokens,
                        row.TokensPerSecond(), row.BestTokensPerSecond(), row.GopPerSecond(),
                        100.0 * report.FractionInt8(row));
  }
  text += report.left_out.empty() ? "" : "\n";
  for (const RowLeftOut& row : report.left_out) {
    text += fmt::format("left out     {}: {}\n", row.plan.Name(), row.why);
  }
  if (report.interrupted) {
    text += "\ninterrupted: the other rows were not measured\n";
  }
  return text;
}

std::string BenchJson(const BenchReport& report) {
  Json json = {{"machine", report.machine},         {"model", report.model},
               {"image_bytes", report.image_bytes}, {"backend", report.engine.backend},
               {"isa", report.engine.isa},          {"threads", report.engine.threads},
               {"limits", LimitsJson(report)},      {"decode", Json::array()},
               {"prefill", Json::array()}};
  for (const Row& row : report.rows) {
    if (row.plan.is_prefill) {
      json["prefill"].push_back({{"tokens", row.plan.tokens},
                                 {"tokens_per_s", row.TokensPerSecond()},
                                 {"best_tokens_per_s", row.BestTokensPerSecond()},
                                 {"gop_s", row.GopPerSecond()},
                                 {"fraction", report.Fraction(row)},
                                 {"steps", row.steps}});
    } else {
      json["decode"].push_back({{"context", row.plan.context},
                                {"batch", row.plan.batch},
                                {"adapters", row.plan.adapters},
                                {"tokens_per_s", row.TokensPerSecond()},
                                {"best_tokens_per_s", row.BestTokensPerSecond()},
                                {"gb_s", row.GbPerSecond()},
                                {"gop_s", row.GopPerSecond()},
                                {"fraction", report.Fraction(row)},
                                {"read_limit_gb_s", row.read_limit_gb_s},
                                {"fraction_read", report.FractionRead(row)},
                                {"fraction_int8", report.FractionInt8(row)},
                                {"steps", row.steps}});
    }
  }
  json["left_out"] = Json::array();
  for (const RowLeftOut& row : report.left_out) {
    json["left_out"].push_back({{"row", row.plan.Name()}, {"why", row.why}});
  }
  const double microseconds = report.MicrosecondsPerPhase();
  json["us_per_phase"] = microseconds > 0.0 ? Json(microseconds) : Json();
  json["load_s"] = report.load_s;
  json["rss_mb"] = static_cast<double>(report.rss_bytes) / 1e6;
  json["image_pss_mb"] = static_cast<double>(report.image_pss_bytes) / 1e6;
  json["interrupted"] = report.interrupted;
  return json.dump();
}

Status CheckBenchCsv(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return {};
  }
  std::ifstream in(path);
  std::string first;
  if (!std::getline(in, first) && !in.eof()) {
    return Fail(ErrorCode::kIo, "{}: cannot be read", path);
  }
  if (!first.empty() && first != kCsvHeader) {
    return Fail(ErrorCode::kMismatch,
                "{}: begins with another header than `etch bench` writes; choose a new file", path);
  }
  return {};
}

Status AppendBenchCsv(const BenchReport& report, const std::string& path) {
  ETCH_TRY(CheckBenchCsv(path));
  std::ofstream out(path, std::ios::app);
  if (out.tellp() == std::ofstream::pos_type(0)) {
    out << kCsvHeader << "\n";
  }
  const std::string date = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  for (const Row& row : report.rows) {
    out << CsvRow(report, row, date);
  }
  out.close();
  if (!out) {
    return Fail(ErrorCode::kIo, "{}: cannot be written", path);
  }
  return {};
}

}  // namespace etch::cli
