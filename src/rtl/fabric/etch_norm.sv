// RMSNorm of n channels (contract, section 7), in three passes over them: the largest magnitude,
// the sum of squares, the outputs.
//
// cycles = 3n + 15
module etch_norm #(
    parameter int AW = 12,
    parameter int GW = 12
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic                 start,
    input  logic [AW-1:0]        src,
    input  logic [AW-1:0]        dst,
    input  logic [AW-1:0]        n,
    input  logic [GW-1:0]        gain_base,
    input  logic [46:0]          epsilon,
    output logic                 done,
    output logic [AW-1:0]        a_addr,
    input  logic signed [31:0]   a_data,
    output logic                 w_en,
    output logic [AW-1:0]        w_addr,
    output logic signed [31:0]   w_data,
    output logic [GW-1:0]        gain_addr,
    input  logic [23:0]          gain_data,
    output logic [7:0]           rsqrt_addr,
    input  logic [30:0]          rsqrt_data
);
  `include "etch_math.svh"

  localparam logic [1:0] MAXIMUM = 2'd0;
  localparam logic [1:0] SQUARES = 2'd1;
  localparam logic [1:0] OUTPUTS = 2'd2;

  function automatic logic [31:0] magnitude(input logic signed [31:0] value);
    magnitude = value[31] ? 32'd0 - value : value;
  endfunction

  // max(0, bits(value) - 23).
  function automatic logic [3:0] input_shift(input logic [31:0] value);
    logic [6:0] width;
    width = bit_width(64'(value));
    input_shift = width > 7'd23 ? 4'(width - 7'd23) : 4'd0;
  endfunction

  // floor((bits(value) - 1) / 2); 0 for 0.
  function automatic logic [4:0] root_exponent(input logic [60:0] value);
    logic [6:0] width;
    width = bit_width(64'(value));
    root_exponent = width == 7'd0 ? 5'd0 : 5'((width - 7'd1) >> 1);
  endfunction

  // floor(value * 2^(30 - 2 * half)).
  function automatic logic [31:0] normalized(input logic [60:0] value, input logic [4:0] half);
    normalized = 32'((64'(value) << (6'd60 - {half, 1'b0})) >> 30);
  endfunction

  // round(entry^2 / 2^30).
  function automatic logic [30:0] rounded_square(input logic [30:0] entry);
    rounded_square = 31'((64'(entry) * 64'(entry) + (64'd1 << 29)) >> 30);
  endfunction

  // round(value * square / 2^30).
  function automatic logic [32:0] rounded_product(
      input logic [31:0] value, input logic [30:0] square);
    rounded_product = 33'((64'(value) * 64'(square) + (64'd1 << 29)) >> 30);
  endfunction

  // round(entry * (3 * 2^30 - product) / 2^31): a step of Newton's method.
  function automatic logic signed [31:0] newton(
      input logic [30:0] entry, input logic [32:0] product);
    logic signed [63:0] correction;
    correction = 64'sd3221225472 - $signed({31'd0, product});
    newton = 32'(($signed({33'd0, entry}) * correction + (64'sd1 <<< 30)) >>> 31);
  endfunction

  // The pass, and the element whose address is out.
  logic [1:0] pass;
  logic reading;
  logic [AW-1:0] index;
  logic last_index;
  // Bit i: an element (the last one) had its address out i cycles ago. Pass one needs bit 1 only.
  logic [6:1] live;
  logic [6:1] final_one;

  // Pass one: the magnitudes' bits, all together, have the width of the largest.
  logic [31:0] seen;
  logic measure;
  logic seed;
  logic [3:0] shift;

  // Pass two.
  logic signed [24:0] reduced;
  logic [47:0] square;
  logic [60:0] sum;

  // The reciprocal root: 2^-(30 + k) * root. Bit i of step is its cycle i.
  logic [5:1] step;
  logic [4:0] k;
  logic [31:0] m;
  logic [30:0] entry;
  logic [30:0] entry_square;
  logic [32:0] product;
  logic signed [31:0] root;

  // Pass three.
  logic [GW-1:0] gain_next;
  logic [AW-1:0] w_next;
  logic signed [55:0] scaled;
  logic signed [33:0] unit;
  logic signed [49:0] gained;
  logic signed [9:0] exponent;
  logic signed [31:0] result;

  assign last_index = index + 1'b1 == n;
  assign a_addr = reading ? src + index : '0;
  assign gain_addr = live[3] && pass == OUTPUTS ? gain_next : '0;
  // m is below 2^30 only when the sum is 0; the outputs are 0 then, whatever the root.
  assign rsqrt_addr = step[2] && m[31:30] != 2'd0 ? m[31:24] - 8'd64 : '0;
  assign w_en = live[6] && pass == OUTPUTS;
  assign w_addr = w_en ? w_next : '0;
  assign w_data = w_en ? result : '0;

  always_ff @(posedge clk) begin
    live <= {pass == MAXIMUM ? 5'd0 : live[5:1], reading};
    final_one <= {pass == MAXIMUM ? 5'd0 : final_one[5:1], reading && last_index};
    measure <= final_one[1] && pass == MAXIMUM;
    seed <= measure;
    step <= {step[4:1], final_one[4] && pass == SQUARES};
    done <= final_one[6] && pass == OUTPUTS;

    if (start) begin
      pass <= MAXIMUM;
      reading <= 1'b1;
      index <= '0;
      seen <= '0;
      gain_next <= gain_base;
      w_next <= dst;
    end else if (reading) begin
      index <= index + 1'b1;
      if (last_index) reading <= 1'b0;
    end else if (final_one[1] && pass == MAXIMUM) begin
      pass <= SQUARES;
      reading <= 1'b1;
      index <= '0;
    end else if (step[3]) begin
      pass <= OUTPUTS;
      reading <= 1'b1;
      index <= '0;
    end

    // Pass one.
    if (live[1] && pass == MAXIMUM) seen <= seen | magnitude(a_data);
    if (measure) shift <= input_shift(seen);

    // Pass two.
    if (live[1] && pass != MAXIMUM) reduced <= 25'(round_shift(64'(a_data), {2'd0, shift}));
    if (live[2] && pass == SQUARES) square <= 48'(reduced) * 48'(reduced);
    if (seed) sum <= 61'(round_shift($signed({17'd0, epsilon}), {1'b0, shift, 1'b0}));
    else if (live[3] && pass == SQUARES) sum <= sum + 61'(square);

    // The root.
    if (final_one[4] && pass == SQUARES) k <= root_exponent(sum);
    if (step[1]) m <= normalized(sum, k);
    if (step[3]) begin
      entry <= rsqrt_data;
      entry_square <= rounded_square(rsqrt_data);
    end
    if (step[4]) product <= rounded_product(m, entry_square);
    if (step[5]) root <= newton(entry, product);

    // Pass three.
    if (pass == OUTPUTS) begin
      if (live[2]) scaled <= 56'(reduced) * 56'(root);
      if (live[3]) begin
        unit <= 34'(round_shift(64'(scaled), {1'b0, k}));
        gain_next <= gain_next + 1'b1;
      end
      if (live[4]) begin
        gained <= 50'(unit) * 50'($signed(gain_data[15:0]));
        exponent <= 10'($signed(gain_data[23:16])) - 10'sd14;
      end
      if (live[5]) result <= saturate_scaled(64'(gained), exponent);
      if (live[6]) w_next <= w_next + 1'b1;
    end

    if (rst) begin
      reading <= 1'b0;
      live <= '0;
      final_one <= '0;
      measure <= 1'b0;
      seed <= 1'b0;
      step <= '0;
      done <= 1'b0;
    end
  end
endmodule
