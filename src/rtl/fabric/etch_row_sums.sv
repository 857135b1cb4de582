// The sums of the rows of a bank of lanes: one lane a cycle brings the term of a pass over a group.
//
// Where inputs have two bytes, the low bytes' term waits in the memory, beside the sum of its row,
// for the high bytes': both are rounded together. What leaves a tile's last group stands in a
// second memory, from which results are taken while the next tile is worked on.
module etch_row_sums #(
    parameter int BANK = 32,
    parameter int BW = $clog2(BANK)
) (
    input  logic               clk,
    input  logic               two_bytes,
    // The lane's address in the cycle before its term.
    input  logic [BW-1:0]      next_lane,
    input  logic               valid,
    input  logic [BW-1:0]      lane,
    input  logic               first,      // group of a tile
    input  logic               last,       // pass of a tile
    input  logic               low,        // the term is that of low bytes
    input  logic signed [24:0] term,       // one bit below the point
    input  logic [4:0]         shift,
    // The sum of a row of the tile before, in the cycle after its address.
    input  logic [BW-1:0]      drain_lane,
    output logic signed [31:0] drain_sum
);
  logic signed [31:0] old_sum, new_sum;
  logic signed [16:0] old_low, new_low;
  logic signed [24:0] whole, shifted;

  // old_sum + round(term / 2^shift); the bit below the point and a 1 there carry. What a low term
  // has below the units of a high one changes no rounding.
  always_comb begin
    whole = term + (two_bytes ? 25'(old_low) : 25'sd0);
    shifted = whole >>> shift;
    new_sum = 32'(($signed({first ? 32'sd0 : old_sum, 1'b1}) + 33'(shifted)) >>> 1);
    new_low = low ? term[24:8] : '0;
  end

  etch_ram #(
      .WIDTH(49),
      .DEPTH(BANK),
      .AW(BW)
  ) sums (
      .clk, .w_en(valid), .w_addr(lane), .w_data({new_low, low ? old_sum : new_sum}),
      .r_addr(next_lane), .r_data({old_low, old_sum})
  );

  etch_ram #(
      .WIDTH(32),
      .DEPTH(BANK),
      .AW(BW)
  ) complete (
      .clk, .w_en(valid && last), .w_addr(lane), .w_data(new_sum), .r_addr(drain_lane),
      .r_data(drain_sum)
  );
endmodule
