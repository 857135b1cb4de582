#include "image/writer.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>
#include <limits>

#include "image/test_image.h"
#include "support/data.h"

namespace etch::image {
namespace {

namespace fs = std::filesystem;
using etch::test::TemporaryFolder;
using model::Role;
using numerics::WeightFormat;

int64_t FilesIn(const fs::path& folder) {
  return std::distance(fs::directory_iterator(folder), fs::directory_iterator());
}

TEST(Writer, SameCallsGiveTheSameBytes) {
  const fs::path folder = TemporaryFolder();
  const ImageHeader header = test::RandomHeader(test::OddConfig(false), false);
  test::WriteRandomImage(folder / "a", header);
  test::WriteRandomImage(folder / "b", header);
  EXPECT_EQ(test::ReadFile(folder / "a"), test::ReadFile(folder / "b"));
  EXPECT_EQ(FilesIn(folder), 2);
}

TEST(Writer, LeavesNothingBehindUnlessFinished) {
  const fs::path folder = TemporaryFolder();
  const ImageHeader header = test::RandomHeader(test::OddConfig(false), false);
  {
    auto writer = ImageWriter::Create(folder / "a", header);
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE(test::AddAll(*writer, header).has_value());
    EXPECT_FALSE(fs::exists(folder / "a"));
  }
  EXPECT_EQ(FilesIn(folder), 0);
}

// Adds matrices of one random model in the order that a test wants.
class WriterOrder : public testing::Test {
 protected:
  std::string Add(Role role, int64_t layer) {
    const Status status = writer_.AddMatrix(role, layer, test::FormatFor(role, layer, false),
                                            test::RandomMatrix(config_, role, layer, false));
    return status ? "" : status.error().message;
  }
  std::string AddNorm(Role role, int64_t layer) {
    const Status status = writer_.AddNorm(role, layer, test::RandomGains(config_, role, layer));
    return status ? "" : status.error().message;
  }
  std::string Finish() {
    const Status status = writer_.Finish("{}", "{}");
    return status ? "" : status.error().message;
  }
  void AddLayer(int64_t layer) {
    EXPECT_EQ(AddNorm(Role::kAttentionNorm, layer), "");
    EXPECT_EQ(AddNorm(Role::kFfnNorm, layer), "");
    for (const Role role : model::kBlockLinears) {
      EXPECT_EQ(Add(role, layer), "");
    }
  }

  model::Config config_ = test::OddConfig(false);
  fs::path path_ = TemporaryFolder() / "a";
  ImageWriter writer_ =
      std::move(*ImageWriter::Create(path_, test::RandomHeader(test::OddConfig(false), false)));
};

TEST_F(WriterOrder, RefusesAMatrixOutOfOrderAndGoesOn) {
  EXPECT_EQ(Add(Role::kWq, 0),
            "blk.0.attn_q came before section \"weights/embedding\" was complete");
  EXPECT_EQ(Add(Role::kTokenEmbedding, 0), "");
  EXPECT_EQ(Add(Role::kTokenEmbedding, 0), "token_embd was added before");
  EXPECT_EQ(Add(Role::kWk, 0), "");
  EXPECT_EQ(Add(Role::kWk, 0), "blk.0.attn_k was added before");
  EXPECT_EQ(Add(Role::kWk, 1), "blk.1.attn_k came before section \"weights/blk.0\" was complete");
  EXPECT_EQ(Add(Role::kHead, 0), "output came before section \"weights/blk.0\" was complete");
  for (const Role role : {Role::kDown, Role::kUp, Role::kGate, Role::kWo, Role::kWq, Role::kWv}) {
    EXPECT_EQ(Add(role, 0), "");
  }
  EXPECT_EQ(Add(Role::kWq, 0), "blk.0.attn_q was added before");
  AddLayer(1);
  AddLayer(2);
  EXPECT_EQ(AddNorm(Role::kAttentionNorm, 0), "");
  EXPECT_EQ(AddNorm(Role::kFfnNorm, 0), "");
  EXPECT_EQ(AddNorm(Role::kFinalNorm, 0), "");
  EXPECT_EQ(Finish(), "output is missing");
  EXPECT_EQ(Add(Role::kHead, 0), "");
  EXPECT_EQ(Finish(), "");
  const Result<Image> image = Image::Open(path_);
  ASSERT_TRUE(image.has_value()) << image.error().message;
  EXPECT_EQ(image->tensors()[2].role, Role::kDown);
  const auto expected = test::RandomMatrix(config_, Role::kDown, 0, false);
  EXPECT_TRUE(
      std::ranges::equal(Bytes(image->Weights(Role::kDown, 0).data, expected.size()), expected));
}

TEST_F(WriterOrder, NamesTheFirstTensorThatIsMissing) {
  EXPECT_EQ(Finish(), "token_embd is missing");
  EXPECT_EQ(Add(Role::kTokenEmbedding, 0), "");
  AddLayer(0);
  EXPECT_EQ(Add(Role::kWq, 1), "");
  EXPECT_EQ(Add(Role::kWv, 1), "");
  EXPECT_EQ(Finish(), "blk.1.attn_k is missing");
  for (const Role role : {Role::kWk, Role::kWo, Role::kGate, Role::kUp, Role::kDown}) {
    EXPECT_EQ(Add(role, 1), "");
  }
  EXPECT_EQ(Finish(), "blk.2.attn_q is missing");
  AddLayer(2);
  EXPECT_EQ(Add(Role::kHead, 0), "");
  EXPECT_EQ(Finish(), "output_norm is missing");
  EXPECT_EQ(AddNorm(Role::kFinalNorm, 0), "");
  EXPECT_EQ(Finish(), "blk.1.attn_norm is missing");
  EXPECT_EQ(AddNorm(Role::kAttentionNorm, 1), "");
  EXPECT_EQ(Finish(), "blk.1.ffn_norm is missing");
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(WriterOrder, RefusesWhatTheModelDoesNotHave) {
  const std::vector<std::byte> data(64);
  const auto add = [&](Role role, int64_t layer, WeightFormat format) {
    const Status status = writer_.AddMatrix(role, layer, format, data);
    return status ? "" : status.error().message;
  };
  EXPECT_EQ(add(Role::kWq, 3, WeightFormat::kW3), "blk.3.attn_q is not a matrix of the model");
  EXPECT_EQ(add(Role::kWq, -1, WeightFormat::kW3), "blk.-1.attn_q is not a matrix of the model");
  EXPECT_EQ(add(Role::kHead, 1, WeightFormat::kW3), "output is not a matrix of the model");
  EXPECT_EQ(add(Role::kFinalNorm, 0, WeightFormat::kW3),
            "output_norm is not a matrix of the model");
  EXPECT_EQ(add(Role::kTokenEmbedding, 0, WeightFormat::kW8),
            "token_embd: an integer image does not hold format W8");
  EXPECT_EQ(add(Role::kTokenEmbedding, 0, WeightFormat::kBF16),
            "token_embd: an integer image does not hold format BF16");
  EXPECT_EQ(add(Role::kTokenEmbedding, 0, WeightFormat::kW3),
            "token_embd: 64 bytes instead of 2560");
  const std::vector<float> gains(40, 1.0F);
  EXPECT_EQ(writer_.AddNorm(Role::kWq, 0, gains).error().message,
            "blk.0.attn_q is not a norm of the model");
  EXPECT_EQ(writer_.AddNorm(Role::kFfnNorm, 3, gains).error().message,
            "blk.3.ffn_norm is not a norm of the model");
  EXPECT_EQ(writer_.AddNorm(Role::kFfnNorm, 2, std::span(gains).first(39)).error().message,
            "blk.2.ffn_norm: 39 gains instead of 40");
  std::vector<float> infinite = gains;
  infinite[7] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(writer_.AddNorm(Role::kFfnNorm, 2, infinite).error().message,
            "blk.2.ffn_norm: a gain is not finite");
  EXPECT_EQ(AddNorm(Role::kFfnNorm, 2), "");
  EXPECT_EQ(AddNorm(Role::kFfnNorm, 2), "blk.2.ffn_norm was added before");
}

std::string CreateFailure(const ImageHeader& header) {
  const auto writer = ImageWriter::Create(TemporaryFolder() / "a", header);
  return writer ? "" : writer.error().message;
}

TEST(Writer, RefusesAHeaderThatDoesNotAgree) {
  const ImageHeader good = test::RandomHeader(test::OddConfig(true), false);
  EXPECT_EQ(CreateFailure(good), "");
  ImageHeader header = good;
  header.config.n_kv_heads = 4;
  EXPECT_NE(CreateFailure(header).find("n_heads 6 is not a multiple"), std::string::npos);
  header = good;
  header.levels.levels[1][7] = 32;
  EXPECT_NE(CreateFailure(header).find("W3 level 32"), std::string::npos);
  header = good;
  header.vocabulary.bos = 60;
  EXPECT_NE(CreateFailure(header).find("special token 60"), std::string::npos);
  header = good;
  header.input_formats.pop_back();
  EXPECT_EQ(CreateFailure(header), "12 input formats for 13 inputs of linear layers");
  header = good;
  header.name.assign(5000, 'x');
  EXPECT_EQ(CreateFailure(header), "a model's name is at most 4096 bytes");
}

TEST(Writer, SourceImageNeedsNoInputFormats) {
  const fs::path path = TemporaryFolder() / "a";
  ImageHeader header = test::RandomHeader(test::OddConfig(true), true);
  header.input_formats.clear();
  test::WriteRandomImage(path, header);
  EXPECT_EQ(Image::Open(path)->InputFormat(model::InputSite::kHead, 0),
            numerics::ActivationFormat::kA8);
  auto writer = ImageWriter::Create(path, header);
  const Status status = writer->AddMatrix(Role::kTokenEmbedding, 0, WeightFormat::kW3, {});
  EXPECT_EQ(status.error().message, "token_embd: a source image does not hold format W3");
  EXPECT_EQ(writer->AddMatrix(Role::kHead, 0, WeightFormat::kF32, {}).error().message,
            "output is not a matrix of the model");
}

TEST(Writer, RefusesEndlessTexts) {
  const fs::path path = TemporaryFolder() / "a";
  const ImageHeader header = test::RandomHeader(test::SmallConfig(), false);
  auto writer = ImageWriter::Create(path, header);
  ASSERT_TRUE(test::AddAll(*writer, header).has_value());
  const std::string endless((16U << 20) + 1, ' ');
  EXPECT_EQ(writer->Finish(endless, "").error().message,
            "provenance and report are at most 16777216 bytes each");
  EXPECT_TRUE(writer->Finish("", "").has_value());
  EXPECT_EQ(Image::Open(path)->report_json(), "");
}

TEST(Writer, NamesTheFolderThatIsMissing) {
  const auto writer = ImageWriter::Create(TemporaryFolder() / "missing" / "a",
                                          test::RandomHeader(test::SmallConfig(), false));
  EXPECT_EQ(writer.error().code, ErrorCode::kNotFound);
}

// Wherever the disk runs full, the error says so and nothing is left behind. Without the right to
// mount a small disk, the kernel's limit on the size of a file stops the same writes.
TEST(Writer, LeavesNothingBehindWhenTheDiskIsFull) {
  const fs::path folder = TemporaryFolder();
  const ImageHeader header = test::RandomHeader(test::OddConfig(false), false);
  const fs::path whole = folder / "whole";
  test::WriteRandomImage(whole, header);
  const auto size = static_cast<rlim_t>(fs::file_size(whole));
  const fs::path disk = folder / "disk";
  fs::create_directories(disk);
  for (const rlim_t room : {rlim_t{4096}, size / 4, size / 2, size - 2 * 4096}) {
    const std::string option = "size=" + std::to_string(room / 4096 * 4096);
    const bool mounted = ::mount("etch_test", disk.c_str(), "tmpfs", 0, option.c_str()) == 0;
    rlimit limit = {};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlimit unlimited = limit;
    if (!mounted) {
      std::signal(SIGXFSZ, SIG_IGN);
      limit.rlim_cur = room;
      ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    }
    Status status;
    {
      auto writer = ImageWriter::Create(disk / "a", header);
      status = writer ? test::AddAll(*writer, header) : tl::unexpected(writer.error());
      if (status) {
        status = writer->Finish("{}", "{}");
      }
    }
    ::setrlimit(RLIMIT_FSIZE, &unlimited);
    const int64_t left = FilesIn(disk);
    if (mounted) {
      ::umount2(disk.c_str(), MNT_DETACH);
    }
    ASSERT_FALSE(status.has_value()) << room;
    EXPECT_EQ(status.error().code, mounted ? ErrorCode::kNoSpace : ErrorCode::kIo);
    EXPECT_EQ(left, 0);
  }
}

}  // namespace
}  // namespace etch::image
