// A matrix of the base times the current input (contract, section 6): multiply-select-add.
//
// The products of an input with all sixteen levels of the two tables are formed once; the 3-bit code
// of each lane's weight, with its group's table bit, selects one. A code of W6 takes two steps: its
// high three bits select among -4 ... 3 times 8, its low three among 0 ... 7. An input of A16 is
// 256 * high + low, and a group is worked on with its inputs' low bytes, then with their high ones.
//
// A word of codes has 3 bits a lane, a word of group parameters 6: {table, scale} with a signed scale
// of 5 bits (W3), or an unsigned scale of 6 (W6).
//
// With s = 32 * groups steps a tile, times two for W6 and times two for A16, and t =
// ceil(rows / LANES) tiles, of whose rows r are in the last, and while drain_hold is low:
//   cycles = s + (t - 1) * max(s, LANES + 6) + r + 8
module etch_base #(
    parameter int AW = 12,
    parameter int LANES = 64
) (
    input  logic               clk,
    input  logic               rst,
    input  logic               start,
    input  logic [31:0]        code_base,
    input  logic [31:0]        param_base,
    input  logic [31:0]        row_base,
    input  logic [AW-1:0]      rows,
    input  logic [9:0]         groups,
    input  logic               w6,
    input  logic               a16,
    input  logic               point32,  // the input has point 32, not 16
    input  logic [5:0]         max_shift,
    input  logic [AW-1:0]      dst,
    input  logic               to_logits,  // results are logits, not words of work memory
    output logic               done,
    input  logic [95:0]        levels,     // 16 of 6 bits, the first table's first
    output logic [31:0]        code_addr,
    input  logic [3*LANES-1:0] code_word,
    output logic [31:0]        param_addr,
    input  logic [6*LANES-1:0] param_word,
    output logic [31:0]        row_addr,
    input  logic [23:0]        row_scale,  // {exponent, mantissa}
    output logic [AW-1:0]      input_addr,
    input  logic signed [15:0] input_code,
    output logic [9:0]         shift_addr,
    input  logic [5:0]         input_shift,
    output logic               w_en,
    output logic [AW-1:0]      w_addr,
    output logic signed [31:0] w_data,
    input  logic               drain_hold,
    output logic               logit_valid,
    output logic [AW-1:0]      logit_id,
    output logic signed [31:0] logit
);
  localparam int BANK = LANES < 32 ? LANES : 32;
  localparam int BW = $clog2(BANK);
  localparam int LW = $clog2(LANES);

  logic busy, s1_valid, s1_first, s1_plane, s1_high, s2_valid, s2_last;
  logic f2_valid, f2_first, f2_last, f2_low, drain_valid;
  logic [BANK-1:0] f0_select;
  logic [BW-1:0] f1_lane, f2_lane;
  logic [3:0] f2_shift;
  logic [AW-1:0] drain_row;
  logic [LW-1:0] drain_lane;
  logic [31:0] control_code_addr;

  etch_matrix_control #(
      .AW(AW),
      .LANES(LANES)
  ) control (
      .clk, .rst, .start, .code_base, .param_base, .row_base, .rows, .groups, .two_planes(w6),
      .two_bytes(a16), .max_shift, .busy, .code_addr(control_code_addr), .param_addr, .input_addr,
      .shift_addr, .input_shift, .s1_valid, .s1_first, .s1_plane, .s1_high, .s2_valid, .s2_last,
      .f0_select, .f1_lane, .f2_valid, .f2_lane, .f2_first, .f2_last, .f2_low, .f2_shift,
      .drain_hold, .drain_valid, .drain_row, .drain_lane, .row_addr
  );

  // Codes come when the products do, so that the memory's register is the lanes'.
  always_ff @(posedge clk) code_addr <= rst ? '0 : control_code_addr;

  // Stage 1: the products that lanes select from. A8 is a low byte. Low bytes are -127 ... 128 and
  // levels at least -32, so that products are at least -2^12 and below 2^12.
  localparam int PRODUCT_BITS = 13;
  logic low_is_negative;
  logic signed [8:0] input_byte;
  logic [16*PRODUCT_BITS-1:0] products;

  always_comb begin
    low_is_negative = input_code[7:0] > 8'd128;
    input_byte = s1_high ? 9'($signed(input_code[15:8])) + 9'(low_is_negative)
                         : {low_is_negative, input_code[7:0]};
  end

  for (genvar level = 0; level < 16; level++) begin : gen_product
    logic signed [5:0] table_level, factor;
    assign table_level = levels[6*level+:6];
    assign factor = !w6 ? table_level : s1_plane ? 6'(level % 8) : 6'((level % 8 - 4) * 8);
    always_ff @(posedge clk)
      if (s1_valid)
        products[PRODUCT_BITS*level+:PRODUCT_BITS] <=
            PRODUCT_BITS'(input_byte) * PRODUCT_BITS'(factor);
  end

  // Terms of W6 are short of two bits more.
  logic [4:0] f2_term_shift;
  assign f2_term_shift = 5'(f2_shift) + (w6 ? 5'd2 : 5'd0);

  logic signed [31:0] drain_sums[0:LANES/BANK-1];

  for (genvar bank = 0; bank < LANES / BANK; bank++) begin : gen_bank
    etch_bank #(
        .BANK(BANK)
    ) lanes (
        .clk, .rst, .w6, .a16, .products, .code_word(code_word[3*BANK*bank+:3*BANK]),
        .param_word(param_word[6*BANK*bank+:6*BANK]), .s1_first, .s2_valid, .s2_last, .f0_select,
        .f1_lane, .f2_valid, .f2_lane, .f2_first, .f2_last, .f2_low, .f2_shift(f2_term_shift),
        .drain_lane(drain_lane[BW-1:0]), .drain_sum(drain_sums[bank])
    );
  end

  // Results: the row scale, rounded once.
  logic d1_valid, d2_valid;
  logic [AW-1:0] d2_row;
  logic signed [31:0] d1_sum, result;

  if (LANES > BANK) begin : gen_banks
    logic [LW-BW-1:0] d1_bank;
    always_ff @(posedge clk) d1_bank <= drain_lane[LW-1:BW];
    assign d1_sum = drain_sums[d1_bank];
  end else begin : gen_one_bank
    assign d1_sum = drain_sums[0];
  end

  etch_row_scale #(
      .AW(AW)
  ) row_scaling (
      .clk, .rst, .base_shift((w6 ? 6'd2 : 6'd0) + (a16 ? 6'd8 : 6'd0)), .max_shift, .point32,
      .in_valid(drain_valid), .in_row(drain_row), .sum(d1_sum), .row_scale, .waiting(d1_valid),
      .out_valid(d2_valid), .out_row(d2_row), .out(result)
  );

  always_comb begin
    w_en = d2_valid && !to_logits;
    w_addr = w_en ? dst + d2_row : '0;
    w_data = w_en ? result : '0;
    logit_valid = d2_valid && to_logits;
    logit_id = logit_valid ? d2_row : '0;
    logit = logit_valid ? result : '0;
  end

  always_ff @(posedge clk) done <= d2_valid && !d1_valid && !busy && !rst;
endmodule
