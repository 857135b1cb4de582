// One of an adapter's two matrices times a quantised input (contract, sections 6 and 11), from SRAM.
//
// Thirty-two lanes multiply 8-bit codes. `add` false (the matrix A): results are written at dst.
// `add` true (the matrix B): results, times the adapter's weight, are added to the words at dst.
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

  logic busy, s1_valid, s1_first, s1_plane, s2_valid, s2_first, s2_last, s3_valid, s4_valid;
  logic s4_first, s5_valid, drain_valid;
  logic [4:0] s4_shift;
  logic [5:0] base_shift;
  logic [AW-1:0] drain_row;
  logic [4:0] drain_lane;
  logic [31:0] param_addr;
  logic unused;

  assign base_shift = a16 ? 6'd8 : 6'd0;
  assign unused = &{1'b0, s1_first, s1_plane, s2_last, param_addr};

  etch_matrix_control #(
      .AW(AW),
      .LANES(LANES)
  ) control (
      .clk, .rst, .start, .code_base, .param_base(32'd0), .row_base, .rows, .groups,
      .two_planes(1'b0), .base_shift, .max_shift, .busy, .code_addr, .param_addr, .input_addr,
      .shift_addr, .input_shift, .s1_valid, .s1_first, .s1_plane, .s2_valid, .s2_first, .s2_last,
      .s3_valid, .s4_valid, .s4_first, .s4_shift, .s5_valid, .drain_hold(1'b0), .drain_valid,
      .drain_row, .drain_lane, .row_addr
  );

  logic signed [31:0] held[0:LANES-1];

  for (genvar lane = 0; lane < LANES; lane++) begin : gen_lane
    logic signed [7:0] code;
    logic signed [23:0] product;
    logic signed [31:0] group_sum, complete, row_sum;
    assign code = code_word[8*lane+:8];
    always_ff @(posedge clk) begin
      if (s1_valid) product <= 24'(code) * 24'(input_code);
      if (s2_valid) group_sum <= (s2_first ? 32'sd0 : group_sum) + 32'(product);
      if (s3_valid) complete <= group_sum;
      if (s4_valid)
        row_sum <= (s4_first ? 32'sd0 : row_sum) + round_shift_32(complete, s4_shift);
      if (s5_valid) held[lane] <= row_sum;
    end
  end

  // Results: the row scale, rounded once; then the weight, and the sum with what stands there.
  logic d1_valid, d2_valid, d3_valid, d4_valid;
  logic [AW-1:0] d1_row, d2_row, d3_row, d4_row;
  logic signed [31:0] d1_sum, d3_delta, d4_there;
  logic signed [63:0] d2_product, d4_delta;
  logic signed [9:0] d2_exponent, exponent_base;

  always_comb begin
    exponent_base = 10'(max_shift) + 10'(base_shift) + (point32 ? -10'sd16 : 10'sd0);
    a_addr = d2_valid && add ? dst + d2_row : '0;
    w_en = d4_valid;
    w_addr = d4_valid ? dst + d4_row : '0;
    w_data = d4_valid ? saturate(d4_delta + 64'(d4_there)) : '0;
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
    d3_valid <= d2_valid;
    if (d2_valid) begin
      d3_row <= d2_row;
      d3_delta <= saturate_scaled(d2_product, d2_exponent);
    end
    d4_valid <= d3_valid;
    if (d3_valid) begin
      d4_row <= d3_row;
      d4_delta <= add ? round_shift(64'(d3_delta) * 64'(weight), 6'd16) : 64'(d3_delta);
      d4_there <= add ? a_data : 32'sd0;
    end
    done <= d4_valid && !d3_valid && !d2_valid && !d1_valid && !busy;
    if (rst) begin
      d1_valid <= 1'b0;
      d2_valid <= 1'b0;
      d3_valid <= 1'b0;
      d4_valid <= 1'b0;
      done <= 1'b0;
    end
  end
endmodule
