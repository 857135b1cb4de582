// The working memory of adapters: words of 32 codes of 8 bits, and row scales {exponent, mantissa} of
// 24 bits. The host writes 32 bits at a time: first all codes, four an access, then all row scales,
// one an access. What is read appears a cycle after its address.
module etch_adapter_memory #(
    parameter int WORDS = 1024,
    parameter int ROWS = 1024
) (
    input  logic         clk,
    input  logic         w_en,
    input  logic [31:0]  w_addr,
    input  logic [31:0]  w_data,
    input  logic [31:0]  code_addr,
    output logic [255:0] code_word,
    input  logic [31:0]  row_addr,
    output logic [23:0]  row_scale
);
  localparam int WORD_BITS = $clog2(WORDS);
  localparam int ROW_BITS = $clog2(ROWS);

  logic is_code;
  logic [31:0] row_w_addr;
  logic unused;

  assign is_code = w_addr < 32'(WORDS * 8);
  assign row_w_addr = w_addr - 32'(WORDS * 8);
  assign unused = &{1'b0, w_addr, row_w_addr, code_addr, row_addr, w_data};

  for (genvar part = 0; part < 8; part++) begin : gen_part
    etch_ram #(
        .WIDTH(32),
        .DEPTH(WORDS),
        .AW(WORD_BITS)
    ) codes (
        .clk,
        .w_en(w_en && is_code && w_addr[2:0] == 3'(part)),
        .w_addr(w_addr[WORD_BITS+2:3]),
        .w_data,
        .r_addr(code_addr[WORD_BITS-1:0]),
        .r_data(code_word[32*part+:32])
    );
  end

  etch_ram #(
      .WIDTH(24),
      .DEPTH(ROWS),
      .AW(ROW_BITS)
  ) row_scales (
      .clk,
      .w_en(w_en && !is_code),
      .w_addr(row_w_addr[ROW_BITS-1:0]),
      .w_data(w_data[23:0]),
      .r_addr(row_addr[ROW_BITS-1:0]),
      .r_data(row_scale)
  );
endmodule
