#include "model/tensors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace etch::model {
namespace {

Role RoleAt(int index) { return static_cast<Role>(index); }

TEST(TensorShape, IsRowsTimesColumnsOfLlama31) {
  const Config config = *PresetConfig("llama-3.1-8b");
  EXPECT_EQ(TensorShape(config, Role::kTokenEmbedding), (Shape{128256, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kHead), (Shape{128256, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kFinalNorm), (Shape{1, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kAttentionNorm), (Shape{1, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kWq), (Shape{4096, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kWk), (Shape{1024, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kWv), (Shape{1024, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kWo), (Shape{4096, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kFfnNorm), (Shape{1, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kGate), (Shape{14336, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kUp), (Shape{14336, 4096}));
  EXPECT_EQ(TensorShape(config, Role::kDown), (Shape{4096, 14336}));
}

TEST(TensorShape, KeepsHeadsApartFromTheWidth) {
  Config config = *PresetConfig("stories260k");
  config.head_dim = 10;  // 8 heads of 10 on a width of 64
  EXPECT_EQ(TensorShape(config, Role::kWq), (Shape{80, 64}));
  EXPECT_EQ(TensorShape(config, Role::kWk), (Shape{40, 64}));
  EXPECT_EQ(TensorShape(config, Role::kWo), (Shape{64, 80}));
}

// The figures of the published models, norms included.
TEST(ParameterCount, IsThatOfThePublishedModels) {
  EXPECT_EQ(ParameterCount(*PresetConfig("llama-3.1-8b")), 8'030'261'248);
  EXPECT_EQ(ParameterCount(*PresetConfig("llama-3.2-3b")), 3'212'749'824);
  EXPECT_EQ(ParameterCount(*PresetConfig("llama-3.2-1b")), 1'235'814'400);
  EXPECT_EQ(ParameterCount(*PresetConfig("smollm-135m")), 134'515'008);
}

TEST(TensorName, IsTheOneOfGguf) {
  EXPECT_EQ(TensorName(Role::kTokenEmbedding, 3), "token_embd");
  EXPECT_EQ(TensorName(Role::kHead, 3), "output");
  EXPECT_EQ(TensorName(Role::kFinalNorm, 3), "output_norm");
  EXPECT_EQ(TensorName(Role::kAttentionNorm, 0), "blk.0.attn_norm");
  EXPECT_EQ(TensorName(Role::kWq, 3), "blk.3.attn_q");
  EXPECT_EQ(TensorName(Role::kWk, 3), "blk.3.attn_k");
  EXPECT_EQ(TensorName(Role::kWv, 3), "blk.3.attn_v");
  EXPECT_EQ(TensorName(Role::kWo, 31), "blk.31.attn_output");
  EXPECT_EQ(TensorName(Role::kFfnNorm, 3), "blk.3.ffn_norm");
  EXPECT_EQ(TensorName(Role::kGate, 3), "blk.3.ffn_gate");
  EXPECT_EQ(TensorName(Role::kUp, 3), "blk.3.ffn_up");
  EXPECT_EQ(TensorName(Role::kDown, 3), "blk.3.ffn_down");
}

TEST(HuggingFaceModule, NamesTheBlockLinearsAndNothingElse) {
  EXPECT_EQ(HuggingFaceModule(Role::kWq), "self_attn.q_proj");
  EXPECT_EQ(HuggingFaceModule(Role::kWk), "self_attn.k_proj");
  EXPECT_EQ(HuggingFaceModule(Role::kWv), "self_attn.v_proj");
  EXPECT_EQ(HuggingFaceModule(Role::kWo), "self_attn.o_proj");
  EXPECT_EQ(HuggingFaceModule(Role::kGate), "mlp.gate_proj");
  EXPECT_EQ(HuggingFaceModule(Role::kUp), "mlp.up_proj");
  EXPECT_EQ(HuggingFaceModule(Role::kDown), "mlp.down_proj");
  const std::set<Role> linears(kBlockLinears.begin(), kBlockLinears.end());
  EXPECT_EQ(linears.size(), kBlockLinears.size());
  for (int index = 0; index < kRoleCount; ++index) {
    EXPECT_EQ(HuggingFaceModule(RoleAt(index)).empty(), !linears.contains(RoleAt(index)));
  }
}

TEST(Roles, StandOnceALayerOrOnceAModel) {
  const std::set<Role> whole = {Role::kTokenEmbedding, Role::kHead, Role::kFinalNorm};
  const std::set<Role> norms = {Role::kFinalNorm, Role::kAttentionNorm, Role::kFfnNorm};
  for (int index = 0; index < kRoleCount; ++index) {
    EXPECT_EQ(IsPerLayer(RoleAt(index)), !whole.contains(RoleAt(index))) << index;
    EXPECT_EQ(IsNorm(RoleAt(index)), norms.contains(RoleAt(index))) << index;
  }
}

// w.reshape(heads, 2, head_dim / 2, columns).swapaxes(1, 2).reshape(w.shape) as numpy defines it:
// the row at index (head, half, pair) of the Hugging Face tensor goes to (head, pair, half).
std::vector<int64_t> ReshapedRows(int64_t heads, int64_t head_dim) {
  std::vector<int64_t> source_of_row;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t pair = 0; pair < head_dim / 2; ++pair) {
      for (int64_t half = 0; half < 2; ++half) {
        source_of_row.push_back((head * 2 + half) * (head_dim / 2) + pair);
      }
    }
  }
  return source_of_row;
}

TEST(RowOrder, IsTheReshapeThatConvertersUse) {
  for (const int64_t head_dim : {2, 4, 8, 10, 64, 80, 128}) {
    constexpr int64_t kHeads = 5;
    const std::vector<int64_t> source_of_row = ReshapedRows(kHeads, head_dim);
    for (int64_t row = 0; row < kHeads * head_dim; ++row) {
      const int64_t source = source_of_row[static_cast<size_t>(row)];
      EXPECT_EQ(HuggingFaceRow(row, head_dim), source) << "row " << row << " of " << head_dim;
      EXPECT_EQ(InterleavedRow(source, head_dim), row) << "row " << source << " of " << head_dim;
      EXPECT_EQ(HuggingFaceRow(InterleavedRow(row, head_dim), head_dim), row);
    }
  }
}

TEST(RowOrder, PutsThePairThatRotatesTogetherSideBySide) {
  // head_dim 8, second head: rows 8 + 1 and 8 + 1 + 4 are pair 1.
  EXPECT_EQ(InterleavedRow(9, 8), 10);
  EXPECT_EQ(InterleavedRow(13, 8), 11);
}

}  // namespace
}  // namespace etch::model
