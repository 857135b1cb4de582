#include "cli/tune/run_files.h"

#include "cli/terminal.h"

namespace etch::cli {

Result<RunFiles> OpenRunFolder(const std::filesystem::path& out, bool resume, bool restart) {
  RunFiles files;
  std::filesystem::path clean = out;
  if (!clean.has_filename()) {  // "adapters/bakery/"
    clean = clean.parent_path();
  }
  files.folder = clean;
  files.folder += ".run";
  const std::filesystem::path checkpoint = files.folder / "checkpoint.safetensors";
  std::error_code error;
  if (std::filesystem::exists(checkpoint, error) && !resume && !restart) {
    return Fail(ErrorCode::kInvalidArgument,
                "{}: a run has been here; --resume continues it, --restart begins anew",
                files.folder.string());
  }
  if (restart) {
    // Only what a run writes; a folder of someone else's keeps its files.
    if (std::filesystem::exists(files.folder, error)) {
      for (const auto& entry : std::filesystem::directory_iterator(files.folder, error)) {
        const std::string name = entry.path().filename().string();
        if (name == "checkpoint.safetensors" || name == "log.jsonl" || name == "report.html" ||
            (name.starts_with("best-") && name.ends_with(".safetensors"))) {
          std::filesystem::remove(entry.path(), error);
        }
      }
    }
  }
  std::filesystem::create_directories(files.folder, error);
  if (error) {
    return Fail(ErrorCode::kIo, "{}: cannot create: {}", files.folder.string(), error.message());
  }
  return files;
}

void AbandonGroup(tune::Group& group, const Error& error) {
  if (group.size() > 1 && error.code != ErrorCode::kCancelled) {
    Report(error);
    group.Abandon();
  }
}

}  // namespace etch::cli
