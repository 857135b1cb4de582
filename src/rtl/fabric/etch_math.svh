// Rounding and saturation of the numeric contract (section 2), as functions of a module that
// includes this file.

// round(value / 2^shift): to nearest, ties up. |value| < 2^62.
function automatic logic signed [63:0] round_shift(
    input logic signed [63:0] value, input logic [5:0] shift);
  round_shift = shift == 6'd0 ? value : (value + (64'sd1 <<< (shift - 6'd1))) >>> shift;
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
  logic [63:0] rest;
  rest = value;
  bit_width = 7'd0;
  if (rest[63:32] != '0) begin
    bit_width = 7'd32;
    rest = rest >> 32;
  end
  if (rest[31:16] != '0) begin
    bit_width = bit_width + 7'd16;
    rest = rest >> 16;
  end
  if (rest[15:8] != '0) begin
    bit_width = bit_width + 7'd8;
    rest = rest >> 8;
  end
  if (rest[7:4] != '0) begin
    bit_width = bit_width + 7'd4;
    rest = rest >> 4;
  end
  if (rest[3:2] != '0) begin
    bit_width = bit_width + 7'd2;
    rest = rest >> 2;
  end
  bit_width = bit_width + (rest[1] ? 7'd2 : {6'd0, rest[0]});
endfunction
