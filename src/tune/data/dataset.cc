#include "tune/data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "tune/data/finding.h"
#include "tune/data/rows.h"
#include "tune/data/schema.h"

namespace etch::tune {
namespace {

constexpr std::string_view kDocumentEnd = "<|endoftext|>";

bool IsDocumentEnd(std::string_view line) {
  while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) {
    line.remove_suffix(1);
  }
  return line == kDocumentEnd;
}

// Documents between lines that hold nothing but kDocumentEnd.
std::vector<Example> Documents(std::string_view text) {
  std::vector<Example> documents;
  Example document{.messages = {}, .text = {}, .line = 1};
  int64_t line = 1;
  const auto finish = [&] {
    if (document.text.find_first_not_of(" \t\r\n") != std::string::npos) {
      documents.push_back(std::move(document));
    }
    document = {.messages = {}, .text = {}, .line = line + 1};
  };
  for (; !text.empty(); ++line) {
    const size_t size = std::min(text.find('\n'), text.size() - 1) + 1;
    const std::string_view with_end = text.substr(0, size);
    if (IsDocumentEnd(with_end.substr(0, with_end.find('\n')))) {
      finish();
    } else {
      document.text += with_end;
    }
    text.remove_prefix(size);
  }
  finish();
  return documents;
}

}  // namespace

std::string Describe(const Dataset& dataset) {
  const auto count = static_cast<int64_t>(dataset.examples.size());
  if (dataset.format == FileFormat::kPlainText) {
    uint64_t bytes = 0;
    for (const Example& example : dataset.examples) {
      bytes += example.text.size();
    }
    return fmt::format("plain text: {}, {}", Counted(count, "document"),
                       HumanBytes(static_cast<double>(bytes)));
  }
  return fmt::format("{}: {}, {}", SchemaName(dataset.schema), dataset.columns,
                     Counted(count, "row"));
}

Dataset Select(const Dataset& dataset, std::span<const int64_t> indices) {
  Dataset selected{.name = dataset.name,
                   .format = dataset.format,
                   .schema = dataset.schema,
                   .columns = dataset.columns,
                   .examples = {},
                   .ignored_keys = dataset.ignored_keys};
  selected.examples.reserve(indices.size());
  for (const int64_t index : indices) {
    selected.examples.push_back(dataset.examples[static_cast<size_t>(index)]);
  }
  return selected;
}

Result<Dataset> ReadDataset(const std::filesystem::path& path, const DatasetOptions& options) {
  ETCH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return ParseDataset(path.filename().string(), AsText(file.bytes()), options);
}

Result<Dataset> ParseDataset(std::string_view name, std::string_view content,
                             const DatasetOptions& options) {
  ETCH_ASSIGN_OR_RETURN(const std::string_view text, internal::CheckText(name, content));
  Dataset dataset;
  dataset.name = name;
  ETCH_ASSIGN_OR_RETURN(dataset.format, internal::DetectFormat(name, text));
  if (dataset.format == FileFormat::kPlainText) {
    dataset.examples = Documents(text);
  } else {
    internal::RowReader reader(name, options);
    ETCH_TRY(internal::VisitRows(name, text, dataset.format,
                                 [&](int64_t line, const internal::Json& row) -> Status {
                                   ETCH_ASSIGN_OR_RETURN(Example example, reader.Read(line, row));
                                   dataset.examples.push_back(std::move(example));
                                   return {};
                                 }));
    dataset.schema = reader.schema();
    dataset.columns = reader.columns();
    dataset.ignored_keys.assign(reader.ignored_keys().begin(), reader.ignored_keys().end());
  }
  if (dataset.examples.empty()) {
    return Fail(ErrorCode::kMalformed, "{}: no rows", name);
  }
  return dataset;
}

}  // namespace etch::tune
