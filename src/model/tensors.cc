#include "model/tensors.h"

namespace etch::model {

bool IsPerLayer(Role role) {
  return role != Role::kTokenEmbedding && role != Role::kHead && role != Role::kFinalNorm;
}

bool IsNorm(Role role) {
  return role == Role::kFinalNorm || role == Role::kAttentionNorm || role == Role::kFfnNorm;
}

Shape TensorShape(const Config& config, Role role) {
  switch (role) {
    case Role::kTokenEmbedding:
    case Role::kHead:
      return {config.vocab_size, config.dim};
    case Role::kFinalNorm:
    case Role::kAttentionNorm:
    case Role::kFfnNorm:
      return {1, config.dim};
    case Role::kWq:
      return {config.q_dim(), config.dim};
    case Role::kWk:
    case Role::kWv:
      return {config.kv_dim(), config.dim};
    case Role::kWo:
      return {config.dim, config.q_dim()};
    case Role::kGate:
    case Role::kUp:
      return {config.ffn_dim, config.dim};
    case Role::kDown:
      return {config.dim, config.ffn_dim};
  }
  return {};
}

std::string TensorName(Role role, int64_t layer) {
  static constexpr std::array<const char*, kRoleCount> kNames = {
      "token_embd", "output",      "output_norm", "attn_norm", "attn_q", "attn_k",
      "attn_v",     "attn_output", "ffn_norm",    "ffn_gate",  "ffn_up", "ffn_down"};
  const char* name = kNames[static_cast<size_t>(role)];
  return IsPerLayer(role) ? fmt::format("blk.{}.{}", layer, name) : name;
}

std::string_view HuggingFaceModule(Role role) {
  switch (role) {
    case Role::kWq:
      return "self_attn.q_proj";
    case Role::kWk:
      return "self_attn.k_proj";
    case Role::kWv:
      return "self_attn.v_proj";
    case Role::kWo:
      return "self_attn.o_proj";
    case Role::kGate:
      return "mlp.gate_proj";
    case Role::kUp:
      return "mlp.up_proj";
    case Role::kDown:
      return "mlp.down_proj";
    default:
      return "";
  }
}

InputSite SiteOf(Role role) {
  switch (role) {
    case Role::kWq:
    case Role::kWk:
    case Role::kWv:
      return InputSite::kAttention;
    case Role::kWo:
      return InputSite::kOutput;
    case Role::kGate:
    case Role::kUp:
      return InputSite::kFfn;
    case Role::kDown:
      return InputSite::kDown;
    default:
      return InputSite::kHead;
  }
}

std::string_view SiteName(InputSite site) {
  static constexpr std::array<std::string_view, kLayerSites + 1> kNames = {"attention", "output",
                                                                           "ffn", "down", "head"};
  return kNames[static_cast<size_t>(site)];
}

int64_t InterleavedRow(int64_t huggingface_row, int64_t head_dim) {
  const int64_t head = huggingface_row / head_dim;
  const int64_t within = huggingface_row % head_dim;
  const int64_t half = within / (head_dim / 2);
  return head * head_dim + 2 * (within % (head_dim / 2)) + half;
}

int64_t HuggingFaceRow(int64_t interleaved_row, int64_t head_dim) {
  const int64_t head = interleaved_row / head_dim;
  const int64_t within = interleaved_row % head_dim;
  return head * head_dim + (within % 2) * (head_dim / 2) + within / 2;
}

int64_t ParameterCount(const Config& config) {
  int64_t count = 0;
  for (int index = 0; index < kRoleCount; ++index) {
    const Role role = static_cast<Role>(index);
    if (role == Role::kHead && config.tied_embeddings) {
      continue;
    }
    count += TensorShape(config, role).size() * (IsPerLayer(role) ? config.n_layers : 1);
  }
  return count;
}

}  // namespace etch::model
