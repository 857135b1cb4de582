// A matrix of the base times the current input (contract, section 6): multiply-select-add.
//
// The products of an input with all sixteen levels of the two tables are formed once; the 3-bit code
// of each lane's weight, with its group's table bit, selects one. A code of W6 takes two steps: its
// high three bits select among -4 ... 3 times 8, its low three among 0 ... 7.
//
// A word of codes has 3 bits a lane, a word of group parameters 6: {table, scale} with a signed scale
// of 5 bits (W3), or an unsigned scale of 6 (W6).
//
// With s = 32 * groups steps a tile (64 * groups for W6) and t = ceil(rows / LANES) tiles, of whose
// rows r are in the last, and while drain_hold is low:
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
  `include "etch_math.svh"

  logic busy, s1_valid, s1_first, s1_plane, s2_valid, s2_first, s2_last, s3_valid, s4_valid;
  logic s4_first, s5_valid, drain_valid;
  logic [4:0] s4_shift;
  logic [5:0] base_shift;
  logic [AW-1:0] drain_row;
  logic [$clog2(LANES)-1:0] drain_lane;

  assign base_shift = (w6 ? 6'd2 : 6'd0) + (a16 ? 6'd8 : 6'd0);

  etch_matrix_control #(
      .AW(AW),
      .LANES(LANES)
  ) control (
      .clk, .rst, .start, .code_base, .param_base, .row_base, .rows, .groups,
      .two_planes(w6), .base_shift(6'd0), .max_shift, .busy, .code_addr, .param_addr, .input_addr,
      .shift_addr, .input_shift, .s1_valid, .s1_first, .s1_plane, .s2_valid, .s2_first, .s2_last,
      .s3_valid, .s4_valid, .s4_first, .s4_shift, .s5_valid, .drain_hold, .drain_valid, .drain_row,
      .drain_lane, .row_addr
  );

  // Stage 1: the products that lanes select from.
  logic signed [21:0] products[0:15];
  logic [3*LANES-1:0] s2_codes;

  for (genvar level = 0; level < 16; level++) begin : gen_product
    logic signed [5:0] table_level, factor;
    assign table_level = levels[6*level+:6];
    assign factor = !w6 ? table_level : s1_plane ? 6'(level % 8) : 6'((level % 8 - 4) * 8);
    always_ff @(posedge clk) if (s1_valid) products[level] <= 22'(input_code) * 22'(factor);
  end

  always_ff @(posedge clk) if (s1_valid) s2_codes <= code_word;

  // A group's sum, below 2^25, times its scale, less what W6 and A16 bring: below 2^21 (contract,
  // section 14), and one bit below the point. Bits of the scale are worked in from the lowest, so
  // that an adder needs no more bits than the sum.
  function automatic logic signed [22:0] scaled(
      input logic signed [25:0] value, input logic [5:0] scale, input logic is_w6,
      input logic is_a16);
    logic signed [26:0] product, addend;
    logic signed [32:0] whole;
    logic subtract;
    product = '0;
    whole = '0;
    for (int place = 0; place < 6; place++) begin
      addend = scale[place] && (place < 5 || is_w6) ? 27'(value) : 27'sd0;
      if (place > 0) product = product >>> 1;
      if (place == 4) begin
        subtract = scale[4] && !is_w6;
        product = 27'($signed({product, 1'b1} + {addend ^ {27{subtract}}, subtract}) >>> 1);
      end else begin
        product = product + addend;
      end
      whole[place+1] = product[0];
    end
    whole[32:6] = product;
    if (is_w6) whole = whole >>> 2;
    if (is_a16) whole = whole >>> 8;
    scaled = 23'(whole);
  endfunction

  // sum + round(term / 2^shift); the bit below the point and a 1 there carry.
  function automatic logic signed [31:0] sum_with(
      input logic signed [31:0] sum, input logic signed [22:0] term, input logic [3:0] shift);
    logic signed [22:0] shifted;
    shifted = term >>> shift;
    sum_with = 32'(($signed({sum, 1'b1}) + 33'(shifted)) >>> 1);
  endfunction

  // Stages 2 to 5, lane by lane. Shifts of blocks differ by at most 15.
  logic signed [31:0] held[0:LANES-1];
  logic unused;
  assign unused = &{1'b0, s4_shift[4], s2_last};

  for (genvar lane = 0; lane < LANES; lane++) begin : gen_lane
    logic signed [25:0] group_sum;
    logic signed [22:0] term;
    logic signed [31:0] row_sum;
    logic s2_table;
    logic [5:0] s3_scale;
    always_ff @(posedge clk) begin
      if (s1_first) s2_table <= !w6 && param_word[6*lane+5];
      // Parameters stay for a group; in this cycle the group before may be in stage 3.
      if (s2_first) s3_scale <= param_word[6*lane+:6];
      if (s2_valid)
        group_sum <= (s2_first ? 26'sd0 : group_sum)
            + 26'(products[{s2_table, s2_codes[3*lane+:3]}]);
      if (s3_valid) term <= scaled(group_sum, s3_scale, w6, a16);
      if (s4_valid) row_sum <= sum_with(s4_first ? 32'sd0 : row_sum, term, s4_shift[3:0]);
      if (s5_valid) held[lane] <= row_sum;
    end
  end

  // Results: the row scale, rounded once.
  logic d1_valid, d2_valid;
  logic [AW-1:0] d1_row, d2_row;
  logic signed [31:0] d1_sum;
  logic signed [63:0] d2_product;
  logic signed [9:0] d2_exponent, exponent_base;
  logic signed [31:0] result;

  always_comb begin
    exponent_base = 10'(max_shift) + 10'(base_shift) + (point32 ? -10'sd16 : 10'sd0);
    result = saturate_scaled(d2_product, d2_exponent);
    w_en = d2_valid && !to_logits;
    w_addr = w_en ? dst + d2_row : '0;
    w_data = w_en ? result : '0;
    logit_valid = d2_valid && to_logits;
    logit_id = logit_valid ? d2_row : '0;
    logit = logit_valid ? result : '0;
  end

  always_ff @(posedge clk) begin
    d1_valid <= drain_valid;
    if (drain_valid) begin
      d1_row <= drain_row;
      d1_sum <= held[drain_lane];
    end
    d2_valid <= d1_valid;
    if (d1_valid) begin
      d2_row <= d1_row;
      d2_product <= 64'(d1_sum) * 64'({1'b0, row_scale[15:0]});
      d2_exponent <= 10'($signed(row_scale[23:16])) + exponent_base;
    end
    done <= d2_valid && !d1_valid && !busy;
    if (rst) begin
      d1_valid <= 1'b0;
      d2_valid <= 1'b0;
      done <= 1'b0;
    end
  end
endmodule
