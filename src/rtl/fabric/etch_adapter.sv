// One of an adapter's two matrices times a quantised input (contract, sections 6 and 11), from SRAM.
//
// Thirty-two lanes multiply 8-bit codes. `add` false (the matrix A): results are written at dst.
// `add` true (the matrix B): results, times the adapter's weight, are added to the words at dst.
// The lanes are a bank of etch_base's kind, but take both bytes of an input at once.
//
// With s = 32 * groups steps a tile and t = ceil(rows / 32) tiles, of whose rows r are in the last:
//   cycles = s + (t - 1) * max(s, 38) + r + 10
module etch_adapter #(
    parameter int AW = 12
) (
    input  logic               clk,
    input  logic               rst,
    input  logic               start,
    input  logic [31:0]        code_base,
    input  logic [31:0]        row_base,
    input  logic [AW-1:0]      rows,
    input  logic [9:0]         groups,
    input  logic               a16,
    input  logic               point32,
    input  logic [5:0]         max_shift,
    input  logic [AW-1:0]      dst,
    input  logic               add,
    input  logic signed [31:0] weight,  // point 16
    output logic               done,
    output logic [31:0]        code_addr,
    input  logic [255:0]       code_word,
    output logic [31:0]        row_addr,
    input  logic [23:0]        row_scale,  // {exponent, mantissa}
    output logic [AW-1:0]      input_addr,
    input  logic signed [15:0] input_code,
    output logic [9:0]         shift_addr,
    input  logic [5:0]         input_shift,
    output logic [AW-1:0]      a_addr,
    input  logic signed [31:0] a_data,
    output logic               w_en,
    output logic [AW-1:0]      w_addr,
    output logic signed [31:0] w_data
);
  `include "etch_math.svh"

  localparam int LANES = 32;

  logic busy, s1_valid, s1_first, s1_plane, s1_high, s2_valid, s2_last;
  logic f2_valid, f2_first, f2_last, f2_low, drain_valid;
  logic [LANES-1:0] f0_select;
  logic [4:0] f1_lane, f2_lane, drain_lane;
  logic [3:0] f2_shift;
  logic [AW-1:0] drain_row;
  logic [31:0] param_addr;
  logic unused;

  assign unused = &{1'b0, s1_first, s1_plane, s1_high, param_addr};

  etch_matrix_control #(
      .AW(AW),
      .LANES(LANES)
  ) control (
      .clk, .rst, .start, .code_base, .param_base(32'd0), .row_base, .rows, .groups,
      .two_planes(1'b0), .two_bytes(1'b0), .max_shift, .busy, .code_addr, .param_addr, .input_addr,
      .shift_addr, .input_shift, .s1_valid, .s1_first, .s1_plane, .s1_high, .s2_valid, .s2_last,
      .f0_select, .f1_lane, .f2_valid, .f2_lane, .f2_first, .f2_last, .f2_low, .f2_shift,
      .drain_hold(1'b0), .drain_valid, .drain_row, .drain_lane, .row_addr
  );

  // Sums of a group are below 2^27, also with the code -128 (contract, section 14).
  logic [28*LANES-1:0] kept;

  for (genvar lane = 0; lane < LANES; lane++) begin : gen_lane
    logic signed [7:0] code;
    logic signed [23:0] product;
    logic signed [27:0] sum, next_sum;
    assign code = code_word[8*lane+:8];
    assign next_sum = sum + 28'(product);
    always_ff @(posedge clk) begin
      if (s1_valid) product <= 24'(code) * 24'(input_code);
      if (s2_valid || rst) sum <= s2_last || rst ? 28'sd0 : next_sum;
      if (s2_last) kept[28*lane+:28] <= next_sum;
    end
  end

  // The rest of a group, one lane a cycle: one bit below the point, less what A16 brings.
  logic [27:0] f0_sum;
  logic signed [27:0] f1_sum;
  logic signed [28:0] f1_whole;
  logic signed [22:0] f2_term;
  logic signed [31:0] d1_sum;

  always_comb begin
    f0_sum = '0;
    for (int lane = 0; lane < LANES; lane++) begin
      f0_sum = f0_sum | (kept[28*lane+:28] & {28{f0_select[lane]}});
    end
  end

  assign f1_whole = {f1_sum, 1'b0};

  always_ff @(posedge clk) begin
    f1_sum <= f0_sum;
    f2_term <= a16 ? 23'(f1_whole >>> 8) : 23'(f1_whole);
  end

  etch_row_sums #(
      .BANK(LANES)
  ) row_sums (
      .clk, .two_bytes(1'b0), .next_lane(f1_lane), .valid(f2_valid), .lane(f2_lane),
      .first(f2_first), .last(f2_last), .low(f2_low), .term(25'(f2_term)), .shift({1'b0, f2_shift}),
      .drain_lane, .drain_sum(d1_sum)
  );

  // Results: the row scale, rounded once; then the weight, and the sum with what stands there.
  logic d1_valid, d2_valid, d3_valid, d4_valid;
  logic [AW-1:0] d2_row, d3_row, d4_row;
  logic signed [31:0] d2_delta, d3_delta, d4_there;
  logic signed [63:0] d4_delta;

  etch_row_scale #(
      .AW(AW)
  ) row_scaling (
      .clk, .rst, .base_shift(a16 ? 6'd8 : 6'd0), .max_shift, .point32, .in_valid(drain_valid),
      .in_row(drain_row), .sum(d1_sum), .row_scale, .waiting(d1_valid), .out_valid(d2_valid),
      .out_row(d2_row), .out(d2_delta)
  );

  always_comb begin
    a_addr = d2_valid && add ? dst + d2_row : '0;
    w_en = d4_valid;
    w_addr = d4_valid ? dst + d4_row : '0;
    w_data = d4_valid ? saturate(d4_delta + 64'(d4_there)) : '0;
  end

  always_ff @(posedge clk) begin
    d3_valid <= d2_valid;
    if (d2_valid) begin
      d3_row <= d2_row;
      d3_delta <= d2_delta;
    end
    d4_valid <= d3_valid;
    if (d3_valid) begin
      d4_row <= d3_row;
      d4_delta <= add ? round_shift(64'(d3_delta) * 64'(weight), 6'd16) : 64'(d3_delta);
      d4_there <= add ? a_data : 32'sd0;
    end
    done <= d4_valid && !d3_valid && !d2_valid && !d1_valid && !busy;
    if (rst) begin
      d3_valid <= 1'b0;
      d4_valid <= 1'b0;
      done <= 1'b0;
    end
  end
endmodule
