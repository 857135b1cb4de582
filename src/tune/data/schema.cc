// Keys of a row are looked up by lists of names, the first name first. A file is of one schema: a
// row that lacks its keys is an error and not a row of another schema, because a mixture is more
// often a mistake than meant.

#include "tune/data/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "tune/data/json_rows.h"

namespace etch::tune {
namespace {

constexpr std::array kSchemaNames = {
    std::pair(Schema::kMessages, std::string_view("messages")),
    std::pair(Schema::kShareGpt, std::string_view("sharegpt")),
    std::pair(Schema::kAlpaca, std::string_view("alpaca")),
    std::pair(Schema::kPromptCompletion, std::string_view("prompt-completion")),
    std::pair(Schema::kText, std::string_view("text"))};

}  // namespace

std::string_view SchemaName(Schema schema) {
  return std::ranges::find(kSchemaNames, schema, [](const auto& pair) { return pair.first; })
      ->second;
}

std::optional<Schema> SchemaFromName(std::string_view name) {
  const auto found =
      std::ranges::find(kSchemaNames, name, [](const auto& pair) { return pair.second; });
  return found == kSchemaNames.end() ? std::nullopt : std::optional(found->first);
}

}  // namespace etch::tune

namespace etch::tune::internal {
namespace {

using Names = std::span<const std::string_view>;

constexpr std::array<std::string_view, 3> kConversation = {"messages", "conversations",
                                                           "conversation"};
constexpr std::array<std::string_view, 1> kInstruction = {"instruction"};
constexpr std::array<std::string_view, 2> kInput = {"input", "context"};
constexpr std::array<std::string_view, 4> kOutput = {"output", "response", "answer", "completion"};
constexpr std::array<std::string_view, 5> kPrompt = {"prompt", "question", "query", "input",
                                                     "text_a"};
constexpr std::array<std::string_view, 6> kCompletion = {"completion", "answer", "response",
                                                         "output",     "target", "text_b"};
constexpr std::array<std::string_view, 1> kSystem = {"system"};
constexpr std::array<std::string_view, 1> kHistory = {"history"};
constexpr std::array<std::string_view, 1> kText = {"text"};
constexpr std::array<std::string_view, 1> kChosen = {"chosen"};
constexpr std::array<std::string_view, 1> kRejected = {"rejected"};

constexpr std::array<std::string_view, 2> kRole = {"role", "from"};
constexpr std::array<std::string_view, 3> kContent = {"content", "value", "text"};

// What files call the roles. Calls of tools are the assistant's own words.
constexpr std::array kRoles = {
    std::pair<std::string_view, std::string_view>("system", "system"),
    std::pair<std::string_view, std::string_view>("developer", "system"),
    std::pair<std::string_view, std::string_view>("user", "user"),
    std::pair<std::string_view, std::string_view>("human", "user"),
    std::pair<std::string_view, std::string_view>("assistant", "assistant"),
    std::pair<std::string_view, std::string_view>("gpt", "assistant"),
    std::pair<std::string_view, std::string_view>("chatgpt", "assistant"),
    std::pair<std::string_view, std::string_view>("bot", "assistant"),
    std::pair<std::string_view, std::string_view>("model", "assistant"),
    std::pair<std::string_view, std::string_view>("function_call", "assistant"),
    std::pair<std::string_view, std::string_view>("tool_call", "assistant"),
    std::pair<std::string_view, std::string_view>("tool", "tool"),
    std::pair<std::string_view, std::string_view>("function", "tool"),
    std::pair<std::string_view, std::string_view>("observation", "tool"),
    std::pair<std::string_view, std::string_view>("function_response", "tool"),
    std::pair<std::string_view, std::string_view>("ipython", "tool")};

constexpr size_t kMaxShownKeys = 12;
constexpr size_t kMaxShownBytes = 40;
constexpr size_t kMaxIgnoredKeys = 32;

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
  });
  return lower;
}

// A name from a file, short enough for a message.
std::string Shown(std::string_view name) {
  return name.size() <= kMaxShownBytes ? fmt::format("\"{}\"", name)
                                       : fmt::format("a name of {} bytes", name.size());
}

// The value of the first of `names` that is a key of `object`, which is an object, or null.
const Json* Find(const Json& object, Names names) {
  for (const std::string_view name : names) {
    for (const auto& [key, value] : object.items()) {
      if (LowerCase(key) == name) {
        return &value;
      }
    }
  }
  return nullptr;
}

// The text of a list of content parts: {"type": "text", "text": …}.
Result<std::string> PartsText(const Json& parts, const std::string& where) {
  std::string text;
  for (const Json& part : parts) {
    if (part.is_string()) {
      text += part.get_ref<const std::string&>();
      continue;
    }
    const Json* type =
        part.is_object() ? Find(part, std::array{std::string_view("type")}) : nullptr;
    const Json* content =
        part.is_object()
            ? Find(part, std::array{std::string_view("text"), std::string_view("value")})
            : nullptr;
    if (content == nullptr || !content->is_string() ||
        (type != nullptr && (!type->is_string() || *type != "text"))) {
      return Fail(ErrorCode::kUnsupported, "{}content of type {}; text is read", where,
                  type != nullptr && type->is_string() ? Shown(type->get_ref<const std::string&>())
                                                       : std::string("unknown"));
    }
    text += content->get_ref<const std::string&>();
  }
  return text;
}

Result<std::string> TextOf(const Json& value, std::string_view key, const std::string& where) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_null()) {
    return std::string();
  }
  if (value.is_number() || value.is_boolean()) {
    return value.dump();
  }
  if (value.is_array()) {
    return PartsText(value, where);
  }
  return Fail(ErrorCode::kMalformed, "{}{} is an object, not text", where, Shown(key));
}

bool IsTurn(const Json& value) { return value.is_object() && Find(value, kRole) != nullptr; }

bool IsTurnList(const Json* value) {
  return value != nullptr && value->is_array() && !value->empty() && IsTurn(value->front());
}

Result<std::string> RoleOf(const Json& turn, const std::string& where) {
  const Json* role = Find(turn, kRole);
  if (role == nullptr || !role->is_string()) {
    return Fail(ErrorCode::kMalformed, "{}a turn has no role (\"role\" or \"from\")", where);
  }
  const auto& name = role->get_ref<const std::string&>();
  const std::string lower = LowerCase(name);
  const auto found = std::ranges::find(kRoles, lower, [](const auto& pair) { return pair.first; });
  if (found == kRoles.end()) {
    return Fail(ErrorCode::kMalformed,
                "{}role {} is none of system, user (human), assistant (gpt), tool (observation)",
                where, Shown(name));
  }
  return std::string(found->second);
}

// Appends a list of turns.
Status AppendTurns(const Json& turns, const std::string& where, Example& example) {
  if (!turns.is_array()) {
    return Fail(ErrorCode::kMalformed, "{}a conversation is a list of turns, this one is {} {}",
                where, turns.is_object() ? "an" : "a", turns.type_name());
  }
  for (const Json& turn : turns) {
    if (!turn.is_object()) {
      return Fail(ErrorCode::kMalformed, "{}a turn is an object {{…}}, this one is {} {}", where,
                  turn.is_array() ? "an" : "a", turn.type_name());
    }
    ETCH_ASSIGN_OR_RETURN(std::string role, RoleOf(turn, where));
    const Json* calls =
        Find(turn, std::array{std::string_view("tool_calls"), std::string_view("function_call")});
    if (calls != nullptr && !calls->is_null() && !calls->empty()) {
      return Fail(ErrorCode::kUnsupported,
                  "{}a turn calls tools (\"tool_calls\"), which is not read; write the call as its "
                  "content",
                  where);
    }
    const Json* content = Find(turn, kContent);
    if (content == nullptr) {
      return Fail(ErrorCode::kMalformed, "{}a turn has no content (\"content\" or \"value\")",
                  where);
    }
    ETCH_ASSIGN_OR_RETURN(std::string text, TextOf(*content, "content", where));
    example.messages.push_back({std::move(role), std::move(text)});
  }
  return {};
}

// A turn of `role`, or the list of turns that some files have in its place.
Status AppendTextOrTurns(const Json& value, std::string_view key, std::string_view role,
                         const std::string& where, Example& example) {
  if (IsTurnList(&value)) {
    return AppendTurns(value, where, example);
  }
  ETCH_ASSIGN_OR_RETURN(std::string text, TextOf(value, key, where));
  example.messages.push_back({std::string(role), std::move(text)});
  return {};
}

constexpr std::string_view kSchemasThatExist =
    "messages (messages: role, content), sharegpt (conversations: from, value), alpaca "
    "(instruction, input, output), prompt-completion (prompt or question, completion or answer), "
    "text (text)";

}  // namespace

// A row by its keys in lower case, as the options rename them.
class RowReader::Row {
 public:
  Row(std::string where, const Json& row, const DatasetOptions& options)
      : where_(std::move(where)) {
    for (const auto& [key, value] : row.items()) {
      const auto renamed =
          std::ranges::find(options.columns, key, [](const auto& pair) { return pair.second; });
      entries_.push_back({LowerCase(renamed == options.columns.end() ? key : renamed->first), &key,
                          &value, false});
    }
    std::ranges::sort(entries_, {}, &Entry::name);
  }

  const std::string& where() const { return where_; }

  // The key that the row has of `names`, or "".
  std::string_view NameOf(Names names) const {
    for (const std::string_view name : names) {
      if (IndexOf(name) < entries_.size()) {
        return name;
      }
    }
    return "";
  }
  bool Has(Names names) const { return !NameOf(names).empty(); }
  const Json* Peek(Names names) const {
    const size_t index = IndexOf(NameOf(names));
    return index < entries_.size() ? entries_[index].value : nullptr;
  }
  // Peek, and the key counts as read.
  const Json* Take(Names names) {
    const size_t index = IndexOf(NameOf(names));
    if (index == entries_.size()) {
      return nullptr;
    }
    entries_[index].is_read = true;
    return entries_[index].value;
  }
  // The file's own spelling.
  std::string Spelling(Names names) const {
    const size_t index = IndexOf(NameOf(names));
    return index < entries_.size() ? entries_[index].key : std::string();
  }

  std::vector<std::string> Unread() const {
    std::vector<std::string> keys;
    for (const Entry& entry : entries_) {
      if (!entry.is_read) {
        keys.push_back(entry.key);
      }
    }
    return keys;
  }

  // "a", "b", … for messages.
  std::string ShownKeys() const {
    std::string shown;
    for (size_t index = 0; index < std::min(entries_.size(), kMaxShownKeys); ++index) {
      shown += (index == 0 ? "" : ", ") + Shown(entries_[index].key);
    }
    const size_t more = entries_.size() - std::min(entries_.size(), kMaxShownKeys);
    return entries_.empty() ? "none"
           : more == 0      ? shown
                            : fmt::format("{} and {} more", shown, more);
  }

 private:
  struct Entry {
    std::string name;
    std::string key;
    const Json* value;
    bool is_read;

    Entry(std::string lower, const std::string* spelling, const Json* found, bool read)
        : name(std::move(lower)), key(*spelling), value(found), is_read(read) {}
  };

  size_t IndexOf(std::string_view name) const {
    const auto found = std::ranges::lower_bound(entries_, name, {}, &Entry::name);
    return found != entries_.end() && !name.empty() && found->name == name
               ? static_cast<size_t>(found - entries_.begin())
               : entries_.size();
  }

  std::string where_;
  std::vector<Entry> entries_;
};

namespace {

template <class Row>
bool Fits(const Row& row, Schema schema) {
  switch (schema) {
    case Schema::kMessages:
    case Schema::kShareGpt:
      return row.Has(kConversation);
    case Schema::kAlpaca:
      return row.Has(kInstruction) && row.Has(kOutput);
    case Schema::kPromptCompletion:
      return row.Has(kPrompt) && row.Has(kCompletion) &&
             row.NameOf(kPrompt) != row.NameOf(kCompletion);
    case Schema::kText:
      return row.Has(kText);
  }
  return false;
}

// Whether the turns of a conversation are spelled from/value.
bool IsShareGpt(const Json* turns) {
  return turns != nullptr && turns->is_array() && !turns->empty() && turns->front().is_object() &&
         Find(turns->front(), std::array{std::string_view("from")}) != nullptr;
}

}  // namespace

Result<Example> RowReader::Read(int64_t line, const Json& json) {
  Row row(At(name_, line), json, options_);
  if (!is_known_) {
    ETCH_TRY(Detect(row));
    NoteColumns(row);
    is_known_ = true;
  }
  if (!Fits(row, schema_)) {
    return Fail(ErrorCode::kInvalidArgument,
                "{}no row of schema {} like those before it; its keys are {}", row.where(),
                SchemaName(schema_), row.ShownKeys());
  }
  ETCH_ASSIGN_OR_RETURN(Example example, Convert(row));
  example.line = line;
  for (std::string& key : row.Unread()) {
    if (ignored_keys_.size() < kMaxIgnoredKeys) {
      ignored_keys_.insert(std::move(key));
    }
  }
  return example;
}

Status RowReader::Detect(const Row& row) {
  if (row.Has(kChosen) && row.Has(kRejected)) {
    return Fail(
        ErrorCode::kUnsupported,
        "{}the rows are preferences (chosen, rejected), which are not trained on; leave the "
        "chosen answers as completions",
        row.where());
  }
  if (options_.schema) {
    if (!Fits(row, *options_.schema)) {
      return Fail(ErrorCode::kInvalidArgument,
                  "{}the row does not fit schema {}; its keys are {}; schemas: {}", row.where(),
                  SchemaName(*options_.schema), row.ShownKeys(), kSchemasThatExist);
    }
    schema_ = *options_.schema;
    return {};
  }
  for (const Schema schema :
       {Schema::kMessages, Schema::kAlpaca, Schema::kPromptCompletion, Schema::kText}) {
    if (Fits(row, schema)) {
      schema_ = schema == Schema::kMessages && IsShareGpt(row.Peek(kConversation))
                    ? Schema::kShareGpt
                    : schema;
      return {};
    }
  }
  return Fail(ErrorCode::kInvalidArgument,
              "{}no schema fits the keys {}; schemas: {}; rename the keys or say which is which",
              row.where(), row.ShownKeys(), kSchemasThatExist);
}

void RowReader::NoteColumns(const Row& row) {
  switch (schema_) {
    case Schema::kMessages:
    case Schema::kShareGpt:
      columns_ = row.Spelling(kConversation);
      break;
    case Schema::kAlpaca:
      columns_ = row.Spelling(kInstruction);
      columns_ += row.Has(kInput) ? " + " + row.Spelling(kInput) : "";
      columns_ += " -> " + row.Spelling(kOutput);
      break;
    case Schema::kPromptCompletion:
      columns_ = row.Spelling(kPrompt) + " -> " + row.Spelling(kCompletion);
      break;
    case Schema::kText:
      columns_ = row.Spelling(kText);
      break;
  }
}

Result<Example> RowReader::Convert(Row& row) {
  Example example;
  if (schema_ == Schema::kText) {
    ETCH_ASSIGN_OR_RETURN(example.text, TextOf(*row.Take(kText), "text", row.where()));
    return example;
  }
  if (const Json* rules = row.Take(kSystem); rules != nullptr) {
    ETCH_ASSIGN_OR_RETURN(std::string text, TextOf(*rules, "system", row.where()));
    if (!text.empty()) {
      example.messages.push_back({"system", std::move(text)});
    }
  }
  switch (schema_) {
    case Schema::kMessages:
    case Schema::kShareGpt:
      ETCH_TRY(ReadMessages(row, example));
      break;
    case Schema::kAlpaca:
      ETCH_TRY(ReadAlpaca(row, example));
      break;
    case Schema::kPromptCompletion:
      ETCH_TRY(ReadPromptCompletion(row, example));
      break;
    case Schema::kText:
      break;
  }
  return example;
}

Status RowReader::ReadMessages(Row& row, Example& example) {
  const Json* turns = row.Take(kConversation);
  if (turns->is_string()) {  // a list as JSON within CSV
    return AppendTurns(ParseOrNull(turns->get_ref<const std::string&>()), row.where(), example);
  }
  return AppendTurns(*turns, row.where(), example);
}

Status RowReader::ReadHistory(Row& row, Example& example) {
  const Json* history = row.Take(kHistory);
  if (history == nullptr || history->is_null()) {
    return {};
  }
  for (const Json& pair : *history) {
    if (!history->is_array() || !pair.is_array() || pair.size() != 2 || !pair[0].is_string() ||
        !pair[1].is_string()) {
      return Fail(ErrorCode::kMalformed,
                  "{}history is a list of pairs [\"question\", \"answer\"], and this is not",
                  row.where());
    }
    example.messages.push_back({"user", pair[0].get<std::string>()});
    example.messages.push_back({"assistant", pair[1].get<std::string>()});
  }
  return {};
}

Status RowReader::ReadAlpaca(Row& row, Example& example) {
  ETCH_TRY(ReadHistory(row, example));
  ETCH_ASSIGN_OR_RETURN(std::string prompt,
                        TextOf(*row.Take(kInstruction), "instruction", row.where()));
  if (const Json* input = row.Take(kInput); input != nullptr) {
    ETCH_ASSIGN_OR_RETURN(const std::string text, TextOf(*input, "input", row.where()));
    prompt += text.empty() || prompt.empty() ? "" : "\n";
    prompt += text;
  }
  ETCH_ASSIGN_OR_RETURN(std::string answer, TextOf(*row.Take(kOutput), "output", row.where()));
  example.messages.push_back({"user", std::move(prompt)});
  example.messages.push_back({"assistant", std::move(answer)});
  return {};
}

Status RowReader::ReadPromptCompletion(Row& row, Example& example) {
  ETCH_TRY(AppendTextOrTurns(*row.Take(kPrompt), "prompt", "user", row.where(), example));
  return AppendTextOrTurns(*row.Take(kCompletion), "completion", "assistant", row.where(), example);
}

}  // namespace etch::tune::internal
