// Rotary position embedding (contract, section 8). One complex multiplication, two cycles a pair:
// the real part, then the imaginary one. It composes the rotations of a position from the two
// tables, and turns the pairs of heads by them.
//
// start_angles: cycles = HEAD_DIM + 4
// start:        cycles = heads * HEAD_DIM + 4
module etch_rope #(
    parameter int AW = 12,
    parameter int HEAD_DIM = 8,
    parameter int HW = 4,
    parameter int LW = 10
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic                 start_angles,
    input  logic [16:0]          position,
    input  logic                 start,
    input  logic [AW-1:0]        src,
    input  logic [AW-1:0]        heads,
    output logic                 done,
    output logic [HW-1:0]        high_addr,
    input  logic [63:0]          high_data,
    output logic [LW-1:0]        low_addr,
    input  logic [63:0]          low_data,
    output logic [AW-1:0]        a_addr,
    input  logic signed [31:0]   a_data,
    output logic [AW-1:0]        b_addr,
    input  logic signed [31:0]   b_data,
    output logic                 w_en,
    output logic [AW-1:0]        w_addr,
    output logic signed [31:0]   w_data
);
  `include "etch_math.svh"

  localparam int PAIRS = HEAD_DIM / 2;
  localparam int PW = PAIRS > 1 ? $clog2(PAIRS) : 1;

  // Stage 0 asks for the operands of a pair, in both of its cycles. Stage 1 has them and
  // multiplies, stage 2 adds, stage 3 rounds and writes.
  logic composing;
  logic asking;
  logic imaginary;
  logic [PW-1:0] pair;
  logic [AW-1:0] channel;
  logic [AW-1:0] last_channel;
  logic [3:1] valid;
  logic [3:1] is_imaginary;
  logic [AW-1:0] written;
  logic [PW-1:0] kept;

  logic signed [31:0] real_x;
  logic signed [31:0] imaginary_x;
  logic signed [31:0] real_y;
  logic signed [31:0] imaginary_y;
  logic signed [31:0] factor;
  logic signed [31:0] cross_factor;
  logic signed [63:0] product;
  logic signed [63:0] cross_product;
  logic signed [63:0] sum;
  logic signed [63:0] rounded;

  // Composed rotations, point 14: {sine, cosine}.
  logic [33:0] rotation;
  logic signed [16:0] cosine;
  logic keeping;
  etch_ram #(.WIDTH(34), .DEPTH(PAIRS), .AW(PW)) rotations (
      .clk(clk), .w_en(keeping), .w_addr(kept), .w_data({rounded[16:0], cosine}),
      .r_addr(pair), .r_data(rotation));

  wire reading_tables = asking && composing;
  wire reading_heads = asking && !composing;
  assign high_addr = reading_tables ? HW'(position[16:8]) * HW'(PAIRS) + HW'(pair) : '0;
  assign low_addr = reading_tables ? LW'(position[7:0]) * LW'(PAIRS) + LW'(pair) : '0;
  assign a_addr = reading_heads ? src + {channel[AW-1:1], 1'b0} : '0;
  assign b_addr = reading_heads ? src + {channel[AW-1:1], 1'b1} : '0;

  assign real_x = composing ? $signed(high_data[31:0]) : a_data;
  assign imaginary_x = composing ? $signed(high_data[63:32]) : b_data;
  assign real_y = composing ? $signed(low_data[31:0]) : 32'($signed(rotation[16:0]));
  assign imaginary_y = composing ? $signed(low_data[63:32]) : 32'($signed(rotation[33:17]));
  assign factor = is_imaginary[1] ? imaginary_y : real_y;
  assign cross_factor = is_imaginary[1] ? real_y : imaginary_y;

  assign rounded = round_shift(sum, composing ? 6'd46 : 6'd14);
  assign keeping = composing && valid[3] && is_imaginary[3];
  assign w_en = !composing && valid[3];
  assign w_addr = w_en ? src + written : '0;
  assign w_data = w_en ? saturate(rounded) : '0;

  always_ff @(posedge clk) begin
    done <= valid[3] && !valid[2];
    valid <= {valid[2:1], asking};
    is_imaginary <= {is_imaginary[2:1], imaginary};
    if (start || start_angles) begin
      composing <= start_angles;
      asking <= 1'b1;
      imaginary <= 1'b0;
      pair <= '0;
      kept <= '0;
      channel <= '0;
      written <= '0;
      last_channel <= (start_angles ? AW'(HEAD_DIM) : heads * AW'(HEAD_DIM)) - 1'b1;
    end else if (asking) begin
      imaginary <= !imaginary;
      channel <= channel + 1'b1;
      if (imaginary) pair <= pair == PW'(PAIRS - 1) ? '0 : pair + 1'b1;
      if (channel == last_channel) asking <= 1'b0;
    end
    if (valid[1]) begin
      product <= real_x * factor;
      cross_product <= imaginary_x * cross_factor;
    end
    if (valid[2]) sum <= is_imaginary[2] ? product + cross_product : product - cross_product;
    if (valid[3]) begin
      cosine <= rounded[16:0];
      written <= written + 1'b1;
      if (is_imaginary[3]) kept <= kept + 1'b1;
    end
    if (rst) begin
      asking <= 1'b0;
      valid <= '0;
      done <= 1'b0;
    end
  end
endmodule
