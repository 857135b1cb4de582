// Every integer backend against the whole forward passes that a Python program computed from the
// contract alone (tests/golden/numerics/forward.txt and forward_w4f.txt; README.md there has the
// format).

#include <gtest/gtest.h>

#include <map>

#include "engine/engine.h"
#include "image/writer.h"
#include "numerics/norm.h"
#include "support/golden_file.h"

namespace etch::engine {
namespace {

using etch::test::GoldenCase;
using etch::test::GoldenLine;
using model::Role;

model::Config ConfigOf(const GoldenCase& golden) {
  model::Config config;
  config.dim = golden.Integer("dim");
  config.ffn_dim = golden.Integer("ffn_dim");
  config.n_layers = golden.Integer("n_layers");
  config.n_heads = golden.Integer("n_heads");
  config.n_kv_heads = golden.Integer("n_kv_heads");
  config.head_dim = golden.Integer("head_dim");
  config.vocab_size = golden.Integer("vocab_size");
  config.context = golden.Integer("context");
  config.rope_theta = static_cast<double>(golden.Integer("rope_theta"));
  config.norm_eps = 1e-5;
  return config;
}

// The lines of a key by their first value, the tensor's name.
std::map<std::string, GoldenLine> ByName(const GoldenCase& golden, const std::string& key) {
  std::map<std::string, GoldenLine> lines;
  for (const GoldenLine& line : golden.All(key)) {
    lines[line.values.at(0)] = line;
  }
  return lines;
}

void AddMatrix(image::ImageWriter& writer, const std::map<std::string, GoldenLine>& tensors,
               Role role, int64_t layer) {
  const GoldenLine& line = tensors.at(model::TensorName(role, layer));
  const std::string& name = line.values.at(1);
  const auto format = name == "W3"   ? numerics::WeightFormat::kW3
                      : name == "W6" ? numerics::WeightFormat::kW6
                                     : numerics::WeightFormat::kW4F;
  const Status status = writer.AddMatrix(role, layer, format, line.Bytes(4));
  ASSERT_TRUE(status) << status.error().message;
}

void AddNorm(image::ImageWriter& writer, const std::map<std::string, GoldenLine>& gains, Role role,
             int64_t layer) {
  std::vector<float> values;
  for (const int32_t value : gains.at(model::TensorName(role, layer)).Integers<int32_t>(1)) {
    values.push_back(static_cast<float>(value) / 256.0F);
  }
  ASSERT_TRUE(writer.AddNorm(role, layer, values));
}

std::unique_ptr<image::Image> GoldenImage(const GoldenCase& golden) {
  image::ImageHeader header;
  header.name = "golden";
  header.config = ConfigOf(golden);
  for (int64_t token = 0; token < header.config.vocab_size; ++token) {
    header.vocabulary.tokens.push_back({std::to_string(token)});
  }
  for (const std::string& name : golden.Line("inputs").values) {
    header.input_formats.push_back(name == "A16" ? numerics::ActivationFormat::kA16
                                                 : numerics::ActivationFormat::kA8);
  }
  const std::filesystem::path path = etch::test::TemporaryFolder() / "golden.etch";
  auto writer = image::ImageWriter::Create(path, header);
  EXPECT_TRUE(writer) << (writer ? "" : writer.error().message);
  const auto tensors = ByName(golden, "tensor");
  const auto gains = ByName(golden, "gain_256ths");
  AddMatrix(*writer, tensors, Role::kTokenEmbedding, 0);
  for (int64_t layer = 0; layer < header.config.n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      AddMatrix(*writer, tensors, role, layer);
    }
    AddNorm(*writer, gains, Role::kAttentionNorm, layer);
    AddNorm(*writer, gains, Role::kFfnNorm, layer);
  }
  AddMatrix(*writer, tensors, Role::kHead, 0);
  AddNorm(*writer, gains, Role::kFinalNorm, 0);
  const Status finished = writer->Finish("{}", "{}");
  EXPECT_TRUE(finished) << (finished ? "" : finished.error().message);
  auto image = image::Image::Open(path);
  EXPECT_TRUE(image) << (image ? "" : image.error().message);
  return std::make_unique<image::Image>(std::move(*image));
}

ActiveAdapter GoldenAdapter(const GoldenCase& golden, const model::Config& config) {
  constexpr int64_t kRank = 5;
  auto weights = std::make_shared<AdapterWeights>();
  weights->name = "golden";
  weights->n_layers = config.n_layers;
  const auto tensors = ByName(golden, "tensor");
  for (int64_t layer = 0; layer < config.n_layers; ++layer) {
    for (const Role role : model::kBlockLinears) {
      AdapterLinear linear;
      const std::string name = model::TensorName(role, layer);
      if (tensors.contains(name + ".a")) {
        const auto [rows, cols] = model::TensorShape(config, role);
        linear.rank = kRank;
        const auto a = tensors.at(name + ".a").Bytes(4);
        linear.a.assign(a.begin(), a.end());
        const auto b = tensors.at(name + ".b").Bytes(4);
        linear.b.assign(b.begin(), b.end());
        linear.a_float.resize(static_cast<size_t>(kRank * cols));
        linear.b_float.resize(static_cast<size_t>(rows * kRank));
      }
      weights->linears.push_back(std::move(linear));
    }
  }
  return {weights, golden.Integer<int32_t>("weight_q16")};
}

class ForwardGolden : public ::testing::TestWithParam<std::tuple<BackendKind, const char*>> {};

TEST_P(ForwardGolden, EveryLogitIsThatOfTheContract) {
  const std::vector<GoldenCase> cases = etch::test::ReadGolden(std::get<1>(GetParam()));
  const auto image = GoldenImage(cases.at(0));
  const auto engine = Engine::Create(*image, {std::get<0>(GetParam()), 2, "", 0});
  ASSERT_TRUE(engine);
  const std::vector<TokenId> tokens = cases.at(0).Integers<int32_t>("tokens");
  for (const bool adapted : {false, true}) {
    std::vector<ActiveAdapter> adapters;
    if (adapted) {
      adapters.push_back(GoldenAdapter(cases.at(1), image->config()));
    }
    const auto session = (*engine)->NewSession({0, adapters});
    ASSERT_TRUE(session) << session.error().message;
    const Step step{session->get(), tokens, LogitsWanted::kAll};
    ASSERT_TRUE((*engine)->Forward({&step, 1}));
    size_t compared = 0;
    for (const GoldenCase& golden : cases) {
      for (size_t position = 0; position < tokens.size(); ++position) {
        if (golden.name == (adapted ? "adapted-" : "base-") + std::to_string(position)) {
          const auto logits = (*session)->logits(static_cast<int64_t>(position));
          EXPECT_EQ(std::vector<int32_t>(logits.begin(), logits.end()),
                    golden.Integers<int32_t>("logits"))
              << golden.name;
          ++compared;
        }
      }
    }
    EXPECT_EQ(compared, tokens.size());
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, ForwardGolden,
                         ::testing::Combine(::testing::Values(BackendKind::kReference,
                                                              BackendKind::kCpu),
                                            ::testing::Values("forward.txt", "forward_w4f.txt")),
                         [](const auto& at) {
                           const std::string file = std::get<1>(at.param);
                           return std::string(BackendName(std::get<0>(at.param))) + "_" +
                                  file.substr(0, file.find('.'));
                         });

}  // namespace
}  // namespace etch::engine
