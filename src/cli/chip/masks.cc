#include "cli/chip/masks.h"

#include <unistd.h>

#include <bit>
#include <chrono>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "image/image.h"
#include "rtl/audit.h"
#include "rtl/chip_writer.h"

namespace etch::cli {
namespace {

namespace fs = std::filesystem;

// A folder that goes when it is done with.
class Scratch {
 public:
  static Result<Scratch> Create() {
    std::string path = (fs::temp_directory_path() / "etch-masks-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) {
      return Fail(ErrorCode::kIo, "{}: cannot be made", path);
    }
    return Scratch(path);
  }
  Scratch(Scratch&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (!path_.empty()) {
      std::error_code ignored;
      fs::remove_all(path_, ignored);
    }
  }
  const fs::path& path() const { return path_; }

 private:
  explicit Scratch(fs::path path) : path_(std::move(path)) {}
  fs::path path_;
};

double SecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t CountFiles(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

Result<MaskSet> Make(const std::string& path, const plan::Choices& choices, const fs::path& out) {
  ETCH_ASSIGN_OR_RETURN(const image::Image image, image::Image::Open(path, 0));
  MaskSet set;
  auto begin = std::chrono::steady_clock::now();
  ETCH_ASSIGN_OR_RETURN(const plan::HardwarePlan plan, plan::MakePlan(image, choices));
  ETCH_ASSIGN_OR_RETURN(const rtl::ChipReport chip, rtl::WriteChip(image, plan, out));
  set.write_s = SecondsSince(begin);
  begin = std::chrono::steady_clock::now();
  ETCH_ASSIGN_OR_RETURN(const rtl::AuditReport audit, rtl::AuditMasks(image, plan, out));
  set.audit_s = SecondsSince(begin);
  set.fabric_sha256 = chip.fabric_sha256;
  set.fabric_files = CountFiles(out / "fabric");
  set.mask_files = CountFiles(out / "masks");
  set.audited_weights = audit.weights;
  set.audited_wrong = audit.wrong;
  for (const plan::MatrixPlace& place : plan.matrices) {
    set.mask_bits += place.code_bits() + place.param_bits() + place.row_scale_bits();
  }
  return set;
}

int Digit(char letter) {
  const std::string_view digits = "0123456789abcdef";
  const size_t at = digits.find(letter);
  return at == std::string_view::npos ? -1 : static_cast<int>(at);
}

// Digits of memory contents that differ; other text counts as one bit a letter.
void CompareTexts(const std::string& left, const std::string& right, MaskChange& change) {
  const size_t common = std::min(left.size(), right.size());
  for (size_t index = 0; index < common; ++index) {
    const int first = Digit(left[index]);
    const int second = Digit(right[index]);
    if (first >= 0 && second >= 0) {
      change.bits_compared += 4;
      change.bits_changed += std::popcount(static_cast<unsigned>(first ^ second));
    }
  }
}

Result<MaskChange> CompareMasks(const fs::path& left, const fs::path& right) {
  MaskChange change;
  for (const fs::directory_entry& entry : fs::directory_iterator(left)) {
    ETCH_ASSIGN_OR_RETURN(const MappedFile first, MappedFile::Open(entry.path()));
    ETCH_ASSIGN_OR_RETURN(const MappedFile second,
                          MappedFile::Open(right / entry.path().filename()));
    const auto text = [](const MappedFile& file) {
      const auto bytes = file.bytes();
      return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    const std::string one = text(first);
    const std::string two = text(second);
    change.files_changed += one == two ? 0 : 1;
    if (entry.path().extension() != ".sv") {
      CompareTexts(one, two, change);
    }
  }
  return change;
}

}  // namespace

Result<MaskStory> TellMasks(const std::string& image, const std::string& other,
                            const plan::Choices& choices) {
  ETCH_ASSIGN_OR_RETURN(const Scratch first, Scratch::Create());
  MaskStory story;
  ETCH_ASSIGN_OR_RETURN(story.set, Make(image, choices, first.path() / "chip"));
  if (other.empty()) {
    return story;
  }
  ETCH_ASSIGN_OR_RETURN(const Scratch second, Scratch::Create());
  ETCH_ASSIGN_OR_RETURN(const MaskSet set, Make(other, choices, second.path() / "chip"));
  if (set.fabric_sha256 != story.set.fabric_sha256) {
    return Fail(ErrorCode::kMismatch, "{} and {} are not of one shape: their fabrics differ", image,
                other);
  }
  ETCH_ASSIGN_OR_RETURN(
      story.change, CompareMasks(first.path() / "chip" / "masks", second.path() / "chip" / "masks"));
  story.change->same_fabric = true;
  return story;
}

}  // namespace etch::cli
