// The scale of a row (contract, section 6): sat(sum * mantissa * 2^exponent), rounded once. Results
// come two cycles after their row is looked up, one a cycle.
module etch_row_scale #(
    parameter int AW = 12
) (
    input  logic               clk,
    input  logic               rst,
    input  logic [5:0]         base_shift,  // what sums are short of
    input  logic [5:0]         max_shift,
    input  logic               point32,     // the input has point 32, not 16
    input  logic               in_valid,    // a row is looked up
    input  logic [AW-1:0]      in_row,
    // In the cycle after in_valid.
    input  logic signed [31:0] sum,
    input  logic [23:0]        row_scale,   // {exponent, mantissa}
    output logic               waiting,     // a row has been looked up in the cycle before
    output logic               out_valid,
    output logic [AW-1:0]      out_row,
    output logic signed [31:0] out
);
  `include "etch_math.svh"

  logic [AW-1:0] row;
  logic signed [63:0] product;
  logic signed [9:0] exponent, exponent_base;

  always_comb begin
    exponent_base = 10'(max_shift) + 10'(base_shift) + (point32 ? -10'sd16 : 10'sd0);
    out = saturate_scaled(product, exponent);
  end

  always_ff @(posedge clk) begin
    waiting <= in_valid;
    if (in_valid) row <= in_row;
    out_valid <= waiting;
    if (waiting) begin
      out_row <= row;
      product <= 64'(sum) * 64'({1'b0, row_scale[15:0]});
      exponent <= 10'($signed(row_scale[23:16])) + exponent_base;
    end
    if (rst) begin
      waiting <= 1'b0;
      out_valid <= 1'b0;
    end
  end
endmodule
