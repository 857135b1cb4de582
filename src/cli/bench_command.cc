// etch bench: tokens a second, and which share of the memory bandwidth that is.

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/bytes.h"
#include "base/thread_pool.h"
#include "cli/commands.h"
#include "cli/loaded_model.h"
#include "cli/terminal.h"

namespace etch::cli {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;

struct Options {
  RunOptions model;
  int64_t prompt = 128;
  int64_t tokens = 32;
  bool json = false;
};

struct Measurement {
  double load_s = 0.0;
  double read_gb_s = 0.0;
  double prefill_tokens_s = 0.0;
  double decode_tokens_s = 0.0;
  double fraction = 0.0;  // of the tokens/s that reading every weight once at read_gb_s would allow
  double rss_mb = 0.0;
};

double Seconds(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Read bandwidth of all threads together over memory larger than the caches; the best of five
// passes.
double ReadBandwidth(int threads) {
  constexpr size_t kWords = size_t{64} << 20;  // 512 MiB
  std::vector<uint64_t> words(kWords, 1);
  ThreadPool pool(threads);
  double best = 0.0;
  std::atomic<uint64_t> sink = 0;
  for (int pass = 0; pass < 5; ++pass) {
    const Clock::time_point begin = Clock::now();
    pool.ParallelFor(kWords, 1 << 16, [&](int64_t from, int64_t to) {
      sink += std::accumulate(words.begin() + from, words.begin() + to, uint64_t{0});
    });
    best = std::max(best, static_cast<double>(kWords * sizeof(uint64_t)) / Seconds(begin) / 1e9);
  }
  return best;
}

double ResidentMegabytes() {
  std::ifstream statm("/proc/self/statm");
  double pages = 0.0;
  double resident = 0.0;
  statm >> pages >> resident;
  return resident * 4096.0 / 1e6;
}

// Bytes that one decoded token reads of the image.
double WeightBytes(const image::Image& image) {
  double bytes = 0.0;
  for (const image::TensorInfo& tensor : image.tensors()) {
    if (tensor.role != model::Role::kTokenEmbedding || image.config().tied_embeddings) {
      bytes += static_cast<double>(tensor.size_bytes);
    }
  }
  return bytes;
}

Result<Measurement> Measure(const Options& options) {
  Measurement out;
  const Clock::time_point load = Clock::now();
  ETCH_ASSIGN_OR_RETURN(const LoadedModel model, LoadModel(options.model));
  out.load_s = Seconds(load);
  ETCH_ASSIGN_OR_RETURN(const auto session, model.engine->NewSession(
                                                {options.prompt + options.tokens, model.adapters}));
  std::vector<engine::TokenId> prompt(static_cast<size_t>(options.prompt));
  for (size_t index = 0; index < prompt.size(); ++index) {
    prompt[index] =
        static_cast<engine::TokenId>(index % static_cast<size_t>(model.image->config().vocab_size));
  }
  const Clock::time_point prefill = Clock::now();
  const engine::Step step{session.get(), prompt};
  ETCH_TRY(model.engine->Forward({&step, 1}));
  out.prefill_tokens_s = static_cast<double>(options.prompt) / Seconds(prefill);
  session->Truncate(0);
  const Clock::time_point decode = Clock::now();
  for (int64_t index = 0; index < options.tokens; ++index) {
    if (Interrupted()) {
      return Fail(ErrorCode::kCancelled, "interrupted");
    }
    const engine::Step one{session.get(), {prompt.data(), 1}};
    ETCH_TRY(model.engine->Forward({&one, 1}));
  }
  out.decode_tokens_s = static_cast<double>(options.tokens) / Seconds(decode);
  out.rss_mb = ResidentMegabytes();
  out.read_gb_s = ReadBandwidth(options.model.threads);
  out.fraction = out.decode_tokens_s * WeightBytes(*model.image) / (out.read_gb_s * 1e9);
  return out;
}

int Execute(const Options& options) {
  const Result<Measurement> result = Measure(options);
  if (!result) {
    return Report(result.error());
  }
  if (options.json) {
    const Json json = {
        {"limits", {{"read_gb_s", result->read_gb_s}}},
        {"decode", Json::array({{{"context", 0},
                                 {"batch", 1},
                                 {"adapters", options.model.adapters.size()},
                                 {"tokens_per_s", result->decode_tokens_s},
                                 {"fraction", result->fraction}}})},
        {"prefill",
         Json::array({{{"tokens", options.prompt}, {"tokens_per_s", result->prefill_tokens_s}}})},
        {"load_s", result->load_s},
        {"rss_mb", result->rss_mb}};
    fmt::print("{}\n", json.dump());
    return 0;
  }
  fmt::print("load      {:.3f} s, {:.0f} MB resident\n", result->load_s, result->rss_mb);
  fmt::print("prefill   {:.1f} tokens/s over {} tokens\n", result->prefill_tokens_s,
             options.prompt);
  fmt::print(
      "decode    {:.2f} tokens/s over {} tokens: {:.1f} % of what {:.1f} GB/s of read\n"
      "          bandwidth allow, measured in this run\n",
      result->decode_tokens_s, options.tokens, 100.0 * result->fraction, result->read_gb_s);
  return 0;
}

}  // namespace

void AddBench(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Tokens a second against the machine's limit");
  command->footer(
      "Decoding reads every weight once a token, so its limit is the memory's read bandwidth, "
      "which\n"
      "is measured in the same run. These figures are of this machine at this moment; compare "
      "ratios.");
  AddRunOptions(*command, options->model, true);
  command->add_option("--prompt", options->prompt, "Tokens of the prefill")
      ->check(CLI::Range(1, 1 << 17))
      ->capture_default_str();
  command->add_option("-n,--tokens", options->tokens, "Tokens to decode")
      ->check(CLI::Range(1, 1 << 17))
      ->capture_default_str();
  command->add_flag("--json", options->json, "Print one JSON object");
  command->callback([options, exit_code] { *exit_code = Execute(*options); });
}

}  // namespace etch::cli
