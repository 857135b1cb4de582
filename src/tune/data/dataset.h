#pragma once

// Datasets as people have them, read into conversations: JSONL, JSON, CSV and plain text, in any of
// the schemas below. What a file is, is found out from its content and said; both can be overruled.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/chat_template.h"

namespace etch::tune {

enum class FileFormat {
  kJsonLines,  // one object a line
  kJson,       // an array of objects, an object that holds one, or objects one after the other
  kCsv,        // RFC 4180 with a header row; ".tsv" with tabs
  kPlainText,  // .txt, .md: a document, or several between lines "<|endoftext|>"
};

// Keys are found in any case. Of alternatives the first that a row has counts.
enum class Schema {
  kMessages,          // messages: a list of role, content (OpenAI)
  kShareGpt,          // conversations: a list of from, value
  kAlpaca,            // instruction, input|context, output|response|answer|completion; system,
                      // history (a list of pairs)
  kPromptCompletion,  // prompt|question|query|input|text_a,
                      // completion|answer|response|output|target|text_b; system
  kText,              // text
};

// "messages", "sharegpt", "alpaca", "prompt-completion", "text".
std::string_view SchemaName(Schema schema);
std::optional<Schema> SchemaFromName(std::string_view name);

// A row. Roles are system, user, assistant and tool, whatever the file calls them; turns of one
// role in a row stay apart.
struct Example {
  std::vector<text::ChatMessage> messages;  // empty for schema text
  std::string text;                         // schema text only
  int64_t line = 0;                         // where the row begins in its file, from 1
};

struct Dataset {
  std::string name;  // the file's, for messages
  FileFormat format = FileFormat::kJsonLines;
  Schema schema = Schema::kText;
  std::string columns;  // the keys that are read: "instruction + input -> output"
  std::vector<Example> examples;
  std::vector<std::string> ignored_keys;  // the others, sorted; at most 32
};

// One sentence: "alpaca: instruction + input -> output, 1,000 rows".
std::string Describe(const Dataset& dataset);

// The examples at `indices`, in that order; all else as in `dataset`.
Dataset Select(const Dataset& dataset, std::span<const int64_t> indices);

struct DatasetOptions {
  std::optional<Schema> schema = {};  // instead of finding out
  // {"prompt", "Frage"}: the file's key "Frage" is read as "prompt".
  std::vector<std::pair<std::string, std::string>> columns = {};
};

// Larger inputs are refused by name.
inline constexpr uint64_t kMaxFileBytes = uint64_t{4} << 30;
inline constexpr uint64_t kMaxRowBytes = uint64_t{64} << 20;
inline constexpr int64_t kMaxRows = 10'000'000;

// Errors name file and line ("train.jsonl:734: …"):
//   kMalformed        empty, binary, not UTF-8, a row that is broken or no object, a turn without
//                     a known role, a value of the wrong type
//   kUnsupported      a kind of file or content that is not read (Parquet, pictures, tool calls,
//                     preferences), a limit from above
//   kInvalidArgument  no schema fits the keys, or the one that was asked for does not
//   kNotFound, kIo    the file itself
Result<Dataset> ReadDataset(const std::filesystem::path& path, const DatasetOptions& options = {});

// The same for the content of a file `name`, whose ending counts.
Result<Dataset> ParseDataset(std::string_view name, std::string_view content,
                             const DatasetOptions& options = {});

}  // namespace etch::tune
