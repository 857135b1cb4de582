#pragma once

// The tensors of a Llama-family model by role, with their shapes. A role and a layer name a tensor
// everywhere in Etch; the names of source formats end at ingest and adapter.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/config.h"

namespace etch::model {

// Values are stored in images; never renumber.
enum class Role : uint8_t {
  kTokenEmbedding = 0,  // (vocab_size, dim)
  kHead = 1,            // (vocab_size, dim); absent when tied
  kFinalNorm = 2,       // (1, dim)
  kAttentionNorm = 3,   // (1, dim)
  kWq = 4,              // (n_heads * head_dim, dim)
  kWk = 5,              // (n_kv_heads * head_dim, dim)
  kWv = 6,              // (n_kv_heads * head_dim, dim)
  kWo = 7,              // (dim, n_heads * head_dim)
  kFfnNorm = 8,         // (1, dim)
  kGate = 9,            // w1 (ffn_dim, dim)
  kUp = 10,             // w3 (ffn_dim, dim)
  kDown = 11,           // w2 (dim, ffn_dim)
};
inline constexpr int kRoleCount = 12;

// The seven linear layers of a block, in the order of the forward pass. Adapters may stand on any
// of them.
inline constexpr std::array<Role, 7> kBlockLinears = {Role::kWq,   Role::kWk, Role::kWv,  Role::kWo,
                                                      Role::kGate, Role::kUp, Role::kDown};

struct Shape {
  int64_t rows = 0;  // outputs
  int64_t cols = 0;  // inputs, contiguous
  int64_t size() const { return rows * cols; }
  bool operator==(const Shape&) const = default;
};

// True for tensors that stand once a layer, false for those of the whole model.
bool IsPerLayer(Role role);
bool IsNorm(Role role);

Shape TensorShape(const Config& config, Role role);

// "blk.3.attn_q", "token_embd", "output", "output_norm": the names that GGUF uses, without
// ".weight".
std::string TensorName(Role role, int64_t layer);
// "self_attn.q_proj" …: the module inside `model.layers.N` under which Hugging Face and PEFT keep a
// block linear.
std::string_view HuggingFaceModule(Role role);

// Row order of wq and wk. Etch keeps the two rows that RoPE rotates together adjacent (Meta,
// llama2.c, GGUF); Hugging Face keeps them head_dim/2 apart. Row `row` of the Hugging Face tensor
// is this row in Etch's order: with row = h*d + t*(d/2) + i, t in {0,1}, it is h*d + 2i + t.
int64_t InterleavedRow(int64_t huggingface_row, int64_t head_dim);
// The inverse.
int64_t HuggingFaceRow(int64_t interleaved_row, int64_t head_dim);

// The places where linear layers take a quantised input. Values are stored in images; never
// renumber.
enum class InputSite : uint8_t {
  kAttention = 0,  // wq, wk, wv
  kOutput = 1,     // wo
  kFfn = 2,        // gate, up
  kDown = 3,       // down
  kHead = 4,       // head; once, not a layer's
};
inline constexpr int kLayerSites = 4;
// The site from which a linear layer takes its input; `role` is a block linear or the head.
InputSite SiteOf(Role role);
// "attention", "output", "ffn", "down", "head".
std::string_view SiteName(InputSite site);

// All weights of the model, norms included, a tied head once.
int64_t ParameterCount(const Config& config);

}  // namespace etch::model
