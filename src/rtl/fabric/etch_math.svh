// Rounding and saturation of the numeric contract (section 2), as functions of a module that
// includes this file.

// round(value / 2^shift): to nearest, ties up. |value| < 2^62.
function automatic logic signed [63:0] round_shift(
    input logic signed [63:0] value, input logic [5:0] shift);
  round_shift = shift == 6'd0 ? value : (value + (64'sd1 <<< (shift - 6'd1))) >>> shift;
endfunction

// The same of 32 bits, where the half does not overflow them (contract, section 14).
function automatic logic signed [31:0] round_shift_32(
    input logic signed [31:0] value, input logic [4:0] shift);
  round_shift_32 = shift == 5'd0 ? value : (value + (32'sd1 <<< (shift - 5'd1))) >>> shift;
endfunction

// Clamped to +-(2^31 - 1).
function automatic logic signed [31:0] saturate(input logic signed [63:0] value);
  if (value > 64'sd2147483647) saturate = 32'sh7fffffff;
  else if (value < -64'sd2147483647) saturate = 32'sh80000001;
  else saturate = value[31:0];
endfunction

// sat(value * 2^exponent), rounded once; |value| < 2^62, exponent in -512 ... 511.
function automatic logic signed [31:0] saturate_scaled(
    input logic signed [63:0] value, input logic signed [9:0] exponent);
  logic [9:0] down;
  down = 10'd0 - exponent;
  if (exponent <= 10'sd0) begin
    saturate_scaled = down >= 10'd63 ? 32'sd0 : saturate(round_shift(value, down[5:0]));
  end else if (value == 64'sd0) begin
    saturate_scaled = 32'sd0;
  end else if (exponent >= 10'sd31 || value > (64'sd2147483647 >>> exponent[4:0]) ||
               value < -(64'sd2147483647 >>> exponent[4:0])) begin
    saturate_scaled = value[63] ? 32'sh80000001 : 32'sh7fffffff;
  end else begin
    saturate_scaled = value[31:0] <<< exponent[4:0];
  end
endfunction

// Position of the highest bit, plus 1; 0 for 0.
function automatic logic [6:0] bit_width(input logic [63:0] value);
  bit_width = 7'd0;
  for (int bit_index = 0; bit_index < 64; bit_index++) begin
    if (value[bit_index]) bit_width = 7'(bit_index + 1);
  end
endfunction
