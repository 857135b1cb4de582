#include <fmt/format.h>

#include "rtl/fabric_files.h"

namespace etch::rtl {

std::string TopText(const plan::Fabric& fabric) {
  const model::Config& config = fabric.config;
  const plan::Choices& choices = fabric.choices;
  const std::pair<std::string_view, int64_t> parameters[] = {
      {"LANES", choices.lanes},
      {"DIM", config.dim},
      {"LAYERS", config.n_layers},
      {"N_HEADS", config.n_heads},
      {"N_KV_HEADS", config.n_kv_heads},
      {"HEAD_DIM", config.head_dim},
      {"VOCABULARY", config.vocab_size},
      {"CONTEXT", choices.context},
      {"SESSIONS", choices.sessions},
      {"RANK", fabric.rank},
      {"ADAPTER_SLOTS", choices.adapter_slots},
      {"SLOT_WORDS", fabric.slot_words},
      {"SLOT_ROWS", fabric.slot_rows},
      {"WORK_WORDS", fabric.work_words},
      {"INPUT_WORDS", fabric.input_words},
      {"AW", fabric.address_bits},
      {"ID_BITS", fabric.id_bits},
  };
  constexpr std::string_view kPorts[] = {
      "input  logic        clk",      "input  logic        rst",
      "input  logic        awvalid",  "output logic        awready",
      "input  logic [11:0] awaddr",   "input  logic        wvalid",
      "output logic        wready",   "input  logic [31:0] wdata",
      "input  logic [3:0]  wstrb",    "output logic        bvalid",
      "input  logic        bready",   "output logic [1:0]  bresp",
      "input  logic        arvalid",  "output logic        arready",
      "input  logic [11:0] araddr",   "output logic        rvalid",
      "input  logic        rready",   "output logic [31:0] rdata",
      "output logic [1:0]  rresp",    "input  logic        s_tvalid",
      "output logic        s_tready", "input  logic [31:0] s_tdata",
      "input  logic        s_tlast",  "output logic        m_tvalid",
      "input  logic        m_tready", "output logic [31:0] m_tdata",
      "output logic        m_tuser",  "output logic        m_tlast",
  };
  std::string text =
      "// The chip for one shape of model. Which model it is, only the masks know.\n"
      "module etch_top (\n";
  for (const std::string_view& port : kPorts) {
    text += fmt::format("    {}{}\n", port, &port == std::end(kPorts) - 1 ? "" : ",");
  }
  text += ");\n  etch_chip #(\n";
  for (const auto& [name, value] : parameters) {
    text += fmt::format("      .{}({}){}\n", name, value, name == "ID_BITS" ? "" : ",");
  }
  text += "  ) chip (\n      ";
  for (const std::string_view& port : kPorts) {
    text += fmt::format(".{}{}", port.substr(port.rfind(' ') + 1),
                        &port == std::end(kPorts) - 1 ? "\n  );\nendmodule\n" : ", ");
    if (port.ends_with("wstrb") || port.ends_with("rresp")) {
      text += "\n      ";
    }
  }
  return text;
}

}  // namespace etch::rtl
