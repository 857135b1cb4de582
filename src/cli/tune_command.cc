// etch tune: the command line of training.

#include <fmt/format.h>

#include <array>
#include <memory>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/tune/adapter_run.h"
#include "cli/tune/scratch_run.h"

namespace etch::cli {
namespace {

// What the configuration of a new base says, or what a base does not have.
constexpr std::array kNotFromScratch = {
    "--rank",      "--alpha", "--rslora",        "--dropout",  "--targets",   "--epochs",
    "--max-steps", "--batch", "--learning-rate", "--schedule", "--warmup",    "--weight-decay",
    "--clip",      "--seed",  "--length",        "--patience", "--score-rows"};

int Execute(const CLI::App& command, const TuneOptions& options) {
  for (const char* name : kNotFromScratch) {
    if (!options.from_scratch.empty() && command.get_option(name)->count() > 0) {
      return Report(
          {ErrorCode::kInvalidArgument,
           fmt::format("{} is for adapters; {} says it for a base", name, options.from_scratch)});
    }
  }
  if (options.image.empty() == options.from_scratch.empty()) {
    return Report({ErrorCode::kInvalidArgument,
                   "give the IMAGE that the adapter is for, or --from-scratch CONFIG"});
  }
  if (options.out.empty() && !options.check_only) {
    return Report({ErrorCode::kInvalidArgument, "give a place for the result: -o DIR"});
  }
  const Status status =
      options.from_scratch.empty() ? TuneAdapter(options) : TuneFromScratch(options);
  return status ? 0 : Report(status.error());
}

void AddDataOptions(CLI::App& command, TuneOptions& options) {
  command.add_option("--data", options.data, "Dataset; give several to join them")
      ->required()
      ->type_name("FILE")
      ->group("Data");
  command
      .add_option("--validation", options.validation,
                  "Held-out rows: a file, or a share such as 0.1; default 5 % (16 to 128 rows)")
      ->type_name("FILE|SHARE")
      ->group("Data");
  command
      .add_option("--schema", options.schema,
                  "messages, sharegpt, alpaca, prompt-completion or text; default: found out")
      ->type_name("NAME")
      ->group("Data");
  command
      .add_option("--train-on", options.train_on,
                  "completions (answers and their end), last (the last answer of a row), all")
      ->type_name("WHAT")
      ->group("Data");
  command
      .add_option("--long-rows", options.long_rows,
                  "Rows longer than --length: refuse, skip or truncate")
      ->capture_default_str()
      ->group("Data");
  command
      .add_option("--length", options.length,
                  "Longest row in tokens; 0: the model's context, at most 2048")
      ->check(CLI::Range(0, 131072))
      ->capture_default_str()
      ->group("Data");
  command
      .add_option("--preview", options.preview,
                  "Print N rows token by token, with what is trained on, before the run")
      ->check(CLI::Range(0, 1000))
      ->group("Data");
  command.add_flag("--check", options.check_only, "Look at the data and stop")->group("Data");
}

void AddAdapterOptions(CLI::App& command, TuneOptions& options) {
  command.add_option("--rank", options.lora.rank, "Rank of the adapter")
      ->capture_default_str()
      ->group("Adapter");
  command.add_option("--alpha", options.lora.alpha, "Scaling is alpha / rank")
      ->capture_default_str()
      ->group("Adapter");
  command.add_flag("--rslora", options.lora.rank_stabilised, "Scaling is alpha / sqrt(rank)")
      ->group("Adapter");
  command.add_option("--dropout", options.lora.dropout, "Of the adapter's input")
      ->capture_default_str()
      ->group("Adapter");
  command
      .add_option("--targets", options.targets,
                  "all, attention, or a list of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,"
                  "down_proj")
      ->capture_default_str()
      ->group("Adapter");
}

void AddRunSettings(CLI::App& command, TuneOptions& options) {
  tune::TrainerSettings& trainer = options.trainer;
  tune::OptimizerSettings& optimizer = trainer.optimizer;
  command.add_option("--epochs", trainer.epochs, "Times over the data")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str()
      ->group("Run");
  command.add_option("--max-steps", trainer.max_steps, "Instead of --epochs")
      ->check(CLI::NonNegativeNumber)
      ->group("Run");
  command.add_option("--batch", trainer.batch, "Rows a step, over all processes")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group("Run");
  command
      .add_option("--pass-tokens", trainer.pass_tokens,
                  "Tokens that go through the model together: rows end to end, unseen by each "
                  "other; less takes less memory")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str()
      ->group("Run");
  command.add_option("--learning-rate,--lr", optimizer.learning_rate, "Highest rate of AdamW")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Run");
  command.add_option("--schedule", options.schedule, "cosine, linear or constant")
      ->capture_default_str()
      ->group("Run");
  command.add_option("--warmup", optimizer.warmup, "Share of the steps in which the rate rises")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group("Run");
  command.add_option("--weight-decay", optimizer.weight_decay, "Of AdamW")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Run");
  command.add_option("--clip", optimizer.clip, "Longest gradient; 0: any")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Run");
  command.add_option("--seed", trainer.seed, "Of everything random")
      ->capture_default_str()
      ->group("Run");
  command
      .add_option("--validate-every", trainer.validate_every,
                  "Steps between validations; 0: ten times a run, at least once an epoch")
      ->check(CLI::NonNegativeNumber)
      ->group("Run");
  command
      .add_option("--patience", trainer.patience,
                  "Stop after N validations without a better one; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->group("Run");
  command.add_option("--save-every", trainer.save_every, "Steps between checkpoints")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Run");
  command
      .add_option("--score-rows", options.score_rows,
                  "Held-out rows that base and adapter answer at the end")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Run");
  command
      .add_option("--recompute", options.recompute,
                  "Compute activations twice instead of keeping them: auto, on or off")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str()
      ->group("Run");
  command.add_option("-t,--threads", options.threads, "Threads; 0: one for each processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group("Run");
  command.add_flag("--resume", options.resume, "Continue from the last checkpoint")->group("Run");
  command.add_flag("--restart", options.restart, "Remove an earlier run's checkpoints")
      ->group("Run");
}

}  // namespace

void AddTune(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<TuneOptions>();
  CLI::App* command = app.add_subcommand("tune", "Train an adapter on an image, or a base");
  command->footer(
      "The adapter is trained in float against the very 3-bit base that will serve it. Rows may "
      "be\n"
      "chats (messages, ShareGPT), Alpaca, prompt and completion, or text, as JSONL, JSON, CSV or\n"
      "plain text; which, is found out. Loss is on the answers only, by the model's own template.\n"
      "\n"
      "Beside the result DIR stands DIR.run: checkpoints, log.jsonl, report.html. Ctrl-C and "
      "crashes\n"
      "lose what came after the last checkpoint; --resume goes on as if nothing had happened, bit\n"
      "for bit. The best weights on the held-out rows are the result.\n"
      "\n"
      "  etch tune base.etch --data rows.jsonl --check --preview 3     what would be learnt\n"
      "  etch tune base.etch --data rows.jsonl -o adapters/bakery\n"
      "  etch run base.etch --adapter adapters/bakery\n"
      "  mpirun -n 2 etch tune base.etch --data rows.jsonl -o adapters/bakery -t 1\n"
      "  etch tune --from-scratch base.json --data corpus.jsonl -o my-base");
  command->add_option("IMAGE", options->image, "Image made by `etch compile`");
  command
      ->add_option("--from-scratch", options->from_scratch,
                   "Train a tokenizer and all weights of a new base instead")
      ->type_name("CONFIG");
  command->add_option("-o,--out", options->out, "Result: a directory")->type_name("DIR");
  AddDataOptions(*command, *options);
  AddAdapterOptions(*command, *options);
  AddRunSettings(*command, *options);
  command->add_flag("--json", options->json, "Print one JSON object at the end");
  command->callback([command, options, exit_code] { *exit_code = Execute(*command, *options); });
}

}  // namespace etch::cli
