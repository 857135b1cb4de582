#include "rtl/audit.h"

#include <fmt/format.h>

#include <array>
#include <bitset>
#include <charconv>
#include <span>

#include "base/file.h"
#include "numerics/weights.h"

namespace etch::rtl {
namespace {

using plan::MatrixPlace;

constexpr uint64_t kMostBytes = uint64_t{16} << 30;

// Words of a $readmemh file as digits, the highest first.
class HexFile {
 public:
  static Result<HexFile> Read(const std::filesystem::path& path, int64_t width, int64_t words) {
    HexFile file;
    ETCH_ASSIGN_OR_RETURN(file.text_, ReadSmallFile(path, kMostBytes));
    file.digits_ = (width + 3) / 4;
    const int64_t line = file.digits_ + 1;
    if (std::ssize(file.text_) != line * words) {
      return Fail(ErrorCode::kMalformed, "{}: {} bytes; {} words of {} bits are {}", path.string(),
                  file.text_.size(), words, width, line * words);
    }
    for (int64_t at = 0; at < std::ssize(file.text_); ++at) {
      const char c = file.text_[static_cast<size_t>(at)];
      const bool is_end = at % line == file.digits_;
      const bool is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
      if (is_end ? c != '\n' : !is_digit) {
        return Fail(ErrorCode::kMalformed, "{}:{}: is no word of {} hexadecimal digits",
                    path.string(), at / line + 1, file.digits_);
      }
    }
    return file;
  }

  // Bits [at, at + bits) of a word, bits <= 32.
  uint64_t Bits(int64_t word, int64_t at, int64_t bits) const {
    uint64_t value = 0;
    for (int64_t bit = bits - 1; bit >= 0; --bit) {
      const int64_t index = at + bit;
      const char c = text_[static_cast<size_t>(word * (digits_ + 1) + digits_ - 1 - index / 4)];
      const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
      value = (value << 1U) | ((static_cast<unsigned>(digit) >> (index % 4)) & 1U);
    }
    return value;
  }

 private:
  std::string text_;
  int64_t digits_ = 0;
};

// A constant of etch_masks.sv, `assign NAME = WIDTH'hDIGITS;` or 'd: its digits. They must fit.
class Constants {
 public:
  static Result<Constants> Read(const std::filesystem::path& path) {
    Constants constants;
    constants.path_ = path;
    ETCH_ASSIGN_OR_RETURN(constants.text_, ReadSmallFile(path, kMostBytes));
    return constants;
  }

  // Bits [at, at + bits) of a constant of `width` bits, bits <= 32 unless the constant is decimal.
  Result<uint64_t> Bits(std::string_view name, int64_t width, int64_t at, int64_t bits) const {
    ETCH_ASSIGN_OR_RETURN(const std::string_view digits, Digits(name, width, 'h'));
    if (std::ssize(digits) != (width + 3) / 4) {
      return Bad(name, width, 'h');
    }
    uint64_t value = 0;
    for (int64_t bit = at + bits - 1; bit >= at; --bit) {
      const auto place = static_cast<size_t>(std::ssize(digits) - 1 - bit / 4);
      uint64_t digit = 0;
      if (!Parse(digits.substr(place, 1), 16, digit)) {
        return Bad(name, width, 'h');
      }
      value = (value << 1U) | ((digit >> (bit % 4)) & 1U);
    }
    return value;
  }

  Result<uint64_t> Decimal(std::string_view name, int64_t width) const {
    ETCH_ASSIGN_OR_RETURN(const std::string_view digits, Digits(name, width, 'd'));
    uint64_t value = 0;
    if (!Parse(digits, 10, value) || value >> width != 0) {
      return Bad(name, width, 'd');
    }
    return value;
  }

 private:
  static bool Parse(std::string_view digits, int base, uint64_t& value) {
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    return error == std::errc() && end == digits.data() + digits.size();
  }

  tl::unexpected<Error> Bad(std::string_view name, int64_t width, char base) const {
    return Fail(ErrorCode::kMalformed, "{}: {} is not assigned one number {}'{}…", path_.string(),
                name, width, base);
  }

  Result<std::string_view> Digits(std::string_view name, int64_t width, char base) const {
    const std::string_view text = text_;
    const std::string assign = fmt::format("\n  assign {} = ", name);
    const std::string number = fmt::format("{}{}'{}", assign, width, base);
    const size_t at = text.find(number);
    const size_t end = at == text.npos ? at : text.find(";\n", at);
    if (end == text.npos || text.find(assign) != at || text.find(assign, at + 1) != text.npos) {
      return Bad(name, width, base);
    }
    return text.substr(at + number.size(), end - at - number.size());
  }

  std::filesystem::path path_;
  std::string text_;
};

int64_t Signed(uint64_t value, int bits) {
  return static_cast<int64_t>(value << (64 - bits)) >> (64 - bits);
}

class Auditor {
 public:
  Auditor(const image::Image& image, const plan::HardwarePlan& plan,
          const std::filesystem::path& folder)
      : image_(image), plan_(plan), lanes_(plan.fabric.choices.lanes), masks_(folder / "masks") {}

  Result<AuditReport> Run() {
    ETCH_TRY(AuditConstants());
    ETCH_TRY(AuditProgram());
    ETCH_TRY(AuditMatrices());
    ETCH_TRY(AuditGains());
    ETCH_TRY(AuditTables());
    return report_;
  }

 private:
  void Expect(int64_t found, int64_t right, auto name) {
    if (found != right) {
      ++report_.wrong;
      if (report_.first_wrong.empty()) {
        report_.first_wrong = fmt::format("{}: {}, the image's {}", name(), found, right);
      }
    }
  }

  // A number in a word of a memory, and what it must be.
  struct Field {
    int64_t at;
    int64_t bits;
    bool is_signed;
    int64_t right;
  };

  void ExpectFields(const HexFile& file, int64_t word, std::span<const Field> fields, auto name) {
    for (const Field& field : fields) {
      const uint64_t found = file.Bits(word, field.at, field.bits);
      Expect(field.is_signed ? Signed(found, static_cast<int>(field.bits))
                             : static_cast<int64_t>(found),
             field.right, name);
      ++report_.parameters;
    }
  }

  Status AuditConstants() {
    ETCH_ASSIGN_OR_RETURN(const Constants constants, Constants::Read(masks_ / "etch_masks.sv"));
    for (int64_t index = 0; index < 16; ++index) {
      ETCH_ASSIGN_OR_RETURN(const uint64_t bits, constants.Bits("levels", 96, 6 * index, 6));
      const auto table = static_cast<size_t>(index / 8);
      const auto code = static_cast<size_t>(index % 8);
      levels_[table][code] = Signed(bits, 6);
      Expect(levels_[table][code], image_.levels().levels[table][code],
             [&] { return fmt::format("table {}, level of code {}", table, code); });
    }
    ETCH_ASSIGN_OR_RETURN(const uint64_t epsilon, constants.Decimal("epsilon", 47));
    Expect(static_cast<int64_t>(epsilon), image_.norm_epsilon(), [] { return "epsilon"; });
    ETCH_ASSIGN_OR_RETURN(const uint64_t mantissa, constants.Decimal("score_mantissa", 16));
    Expect(static_cast<int64_t>(mantissa), image_.score_scale().mantissa,
           [] { return "mantissa of the scores' scale"; });
    ETCH_ASSIGN_OR_RETURN(const uint64_t exponent, constants.Bits("score_exponent", 8, 0, 8));
    Expect(Signed(exponent, 8), image_.score_scale().exponent,
           [] { return "exponent of the scores' scale"; });
    report_.parameters += 19;
    return {};
  }

  // The words as etch_sequencer and etch_chip take them apart, against the plan's steps.
  Status AuditProgram() {
    ETCH_ASSIGN_OR_RETURN(const HexFile file,
                          HexFile::Read(masks_ / "step.hex", 256, std::ssize(plan_.steps)));
    for (int64_t word = 0; word < std::ssize(plan_.steps); ++word) {
      const plan::Step& step = plan_.steps[static_cast<size_t>(word)];
      struct Named {
        const char* name;
        int64_t at;
        int64_t bits;
        int64_t right;
      };
      const Named fields[] = {
          {"operation", 0, 5, static_cast<int64_t>(step.operation)},
          {"adapter only", 8, 1, step.adapter_only},
          {"wanted only", 9, 1, step.wanted_only},
          {"W6", 10, 1, step.w6},
          {"A16", 11, 1, step.a16},
          {"product", 12, 1, step.product},
          {"head by head", 13, 1, step.per_head},
          {"format", 14, 2, static_cast<int64_t>(step.format)},
          {"destination", 16, 3, static_cast<int64_t>(step.target)},
          {"logits", 19, 1, step.to_logits},
          {"adapter's input", 20, 1, step.from_inner},
          {"add", 21, 1, step.add},
          {"a", 32, 20, step.a},
          {"b", 52, 20, step.b},
          {"d", 72, 20, step.d},
          {"n", 92, 20, step.n},
          {"groups", 112, 10, step.groups},
          {"x", 128, 32, step.x},
          {"y", 160, 32, step.y},
          {"z", 192, 32, step.z},
      };
      std::bitset<256> named;
      for (const Named& field : fields) {
        Expect(static_cast<int64_t>(file.Bits(word, field.at, field.bits)), field.right,
               [&] { return fmt::format("step {} ({}), {}", word, step.name, field.name); });
        for (int64_t bit = 0; bit < field.bits; ++bit) {
          named.set(static_cast<size_t>(field.at + bit));
        }
        ++report_.parameters;
      }
      for (int64_t bit = 0; bit < 256; ++bit) {
        if (!named[static_cast<size_t>(bit)]) {
          Expect(static_cast<int64_t>(file.Bits(word, bit, 1)), 0,
                 [&] { return fmt::format("step {} ({}), bit {}", word, step.name, bit); });
        }
      }
    }
    return {};
  }

  Status AuditMatrices() {
    ETCH_ASSIGN_OR_RETURN(const HexFile codes,
                          HexFile::Read(masks_ / "code.hex", 3 * lanes_, plan_.code_words));
    ETCH_ASSIGN_OR_RETURN(const HexFile params,
                          HexFile::Read(masks_ / "param.hex", 6 * lanes_, plan_.param_words));
    ETCH_ASSIGN_OR_RETURN(const HexFile rows,
                          HexFile::Read(masks_ / "row.hex", 24, plan_.row_words));
    for (const MatrixPlace& place : plan_.matrices) {
      AuditMatrix(place, codes, params, rows);
    }
    return {};
  }

  void AuditMatrix(const MatrixPlace& place, const HexFile& codes, const HexFile& params,
                   const HexFile& rows) {
    const numerics::WeightView view = image_.Weights(place.role, place.layer);
    const std::string tensor = model::TensorName(place.role, place.layer);
    for (int64_t row = 0; row < place.rows; ++row) {
      const numerics::Scale16 scale = numerics::RowScale(view, row);
      ExpectFields(
          rows, place.row_base + row,
          std::array{Field{0, 16, false, scale.mantissa}, Field{16, 8, true, scale.exponent}},
          [&] { return fmt::format("{} row {}, its scale", tensor, row); });
      const int64_t lane = row % lanes_;
      for (int64_t group = 0; group < place.groups(); ++group) {
        const int64_t at = row / lanes_ * place.groups() + group;
        const numerics::RowGroup values = numerics::UnpackGroup(view, row, group);
        const std::array<int8_t, numerics::kGroup> right = numerics::Levels(view, values);
        const uint64_t param = params.Bits(place.param_base + at, 6 * lane, 6);
        Expect(place.w6 ? static_cast<int64_t>(param) : Signed(param & 31U, 5), values.scale,
               [&] { return fmt::format("{} row {}, scale of group {}", tensor, row, group); });
        ++report_.parameters;
        for (int64_t column = 0; column < numerics::kGroup; ++column) {
          if (group * numerics::kGroup + column >= place.cols) {
            break;
          }
          const int64_t word =
              place.code_base + (at * numerics::kGroup + column) * (place.w6 ? 2 : 1);
          const uint64_t code = codes.Bits(word, 3 * lane, 3);
          const int64_t found =
              place.w6 ? static_cast<int64_t>(code * 8 + codes.Bits(word + 1, 3 * lane, 3)) - 32
                       : levels_[param >> 5U][code];
          Expect(found, right[static_cast<size_t>(column)], [&] {
            return fmt::format("{} row {}, column {}: level", tensor, row,
                               group * numerics::kGroup + column);
          });
          ++report_.weights;
        }
      }
    }
  }

  Status AuditGains() {
    ETCH_ASSIGN_OR_RETURN(const HexFile file,
                          HexFile::Read(masks_ / "gain.hex", 24, plan_.gain_words));
    int64_t word = 0;
    const auto audit = [&](model::Role role, int64_t layer) {
      for (const numerics::Gain16& gain : image_.Gains(role, layer)) {
        ExpectFields(
            file, word++,
            std::array{Field{0, 16, true, gain.mantissa}, Field{16, 8, true, gain.exponent}},
            [&] { return model::TensorName(role, layer); });
      }
    };
    for (int64_t layer = 0; layer < plan_.fabric.config.n_layers; ++layer) {
      audit(model::Role::kAttentionNorm, layer);
      audit(model::Role::kFfnNorm, layer);
    }
    audit(model::Role::kFinalNorm, 0);
    return {};
  }

  // A memory of so many words of `width` bits, each with the fields that `fields_of(word)` names.
  Status AuditTable(std::string_view name, int64_t width, int64_t words, auto fields_of) {
    ETCH_ASSIGN_OR_RETURN(const HexFile file,
                          HexFile::Read(masks_ / fmt::format("{}.hex", name), width, words));
    for (int64_t word = 0; word < words; ++word) {
      ExpectFields(file, word, fields_of(static_cast<size_t>(word)),
                   [&] { return fmt::format("{} entry {}", name, word); });
    }
    return {};
  }

  Status AuditTables() {
    const numerics::FunctionTables& tables = image_.tables();
    // Entries side by side with the next one.
    const auto pairs = [](const auto& table, int bits) {
      return [&table, bits](size_t word) {
        return std::array{Field{0, bits, false, table[word]},
                          Field{bits, bits, false, table[word + 1]}};
      };
    };
    const auto rotations = [](std::span<const numerics::Rotation> table) {
      return [table](size_t word) {
        return std::array{Field{0, 32, true, table[word].cosine},
                          Field{32, 32, true, table[word].sine}};
      };
    };
    ETCH_TRY(AuditTable("exp2", 50, std::ssize(tables.exp2) - 1, pairs(tables.exp2, 25)));
    ETCH_TRY(AuditTable("sigmoid", 34, std::ssize(tables.sigmoid) - 1, pairs(tables.sigmoid, 17)));
    ETCH_TRY(AuditTable("rsqrt", 31, std::ssize(tables.rsqrt), [&](size_t word) {
      return std::array{Field{0, 31, false, tables.rsqrt[word]}};
    }));
    ETCH_TRY(AuditTable("high", 64, std::ssize(image_.rope_high()), rotations(image_.rope_high())));
    return AuditTable("low", 64, std::ssize(image_.rope_low()), rotations(image_.rope_low()));
  }

  const image::Image& image_;
  const plan::HardwarePlan& plan_;
  int64_t lanes_;
  std::filesystem::path masks_;
  std::array<std::array<int64_t, 8>, 2> levels_{};  // as the chip has them
  AuditReport report_;
};

}  // namespace

Result<AuditReport> AuditMasks(const image::Image& image, const plan::HardwarePlan& plan,
                               const std::filesystem::path& folder) {
  return Auditor(image, plan, folder).Run();
}

}  // namespace etch::rtl
