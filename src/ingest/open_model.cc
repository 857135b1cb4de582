// OpenModel: which format a path holds is decided by its content, never by its name, so that a
// renamed file opens and a mislabelled one is told apart. The file without a mark of its own, the
// legacy llama2.c, comes last.

#include "base/file.h"
#include "ingest/gguf_model.h"
#include "ingest/huggingface_model.h"
#include "ingest/llama2c_model.h"
#include "ingest/source_model.h"

namespace etch::ingest {
namespace {

bool LooksLikeSafetensors(Bytes file) {
  constexpr size_t kLengthBytes = 8;
  return file.size() > kLengthBytes && AsText(file)[kLengthBytes] == '{' &&
         LoadLittleEndian<uint64_t>(file, 0) < (uint64_t{1} << 40);
}

// PyTorch's zip archive, or a bare pickle of protocol 2 to 5.
bool LooksLikePickle(Bytes file) {
  const std::string_view text = AsText(file.first(std::min<size_t>(file.size(), 4)));
  return text.starts_with("PK\x03\x04") ||
         (text.size() >= 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5);
}

}  // namespace

Result<std::unique_ptr<SourceModel>> OpenModel(const std::filesystem::path& path,
                                               const std::filesystem::path& tokenizer) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return OpenHuggingFaceModel(path, tokenizer);
  }
  ETCH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  const Bytes bytes = file.bytes();
  if (AsText(bytes).starts_with("GGUF")) {
    return OpenGgufModel(path);
  }
  if (LooksLikeSafetensors(bytes)) {
    return OpenHuggingFaceModel(path, tokenizer);
  }
  if (LooksLikePickle(bytes)) {
    return Fail(ErrorCode::kUnsupported,
                "{}: is a pickle, which can run code when it is loaded; convert it to safetensors",
                path.string());
  }
  if (LooksLikeLlama2c(bytes)) {
    return OpenLlama2cModel(path, tokenizer);
  }
  return Fail(ErrorCode::kUnsupported,
              "{}: is no model that Etch knows; known are a Hugging Face directory, GGUF, and "
              "llama2.c .bin files",
              path.string());
}

}  // namespace etch::ingest
