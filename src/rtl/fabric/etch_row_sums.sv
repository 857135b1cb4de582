// The sums of the rows of a bank of lanes: one lane a cycle brings the term of a group.
//
// What leaves a tile's last group stands in a second memory, from which results are taken while the
// next tile is worked on.
module etch_row_sums #(
    parameter int BANK = 32,
    parameter int BW = $clog2(BANK)
) (
    input  logic               clk,
    // The lane's address in the cycle before its term.
    input  logic [BW-1:0]      next_lane,
    input  logic               valid,
    input  logic [BW-1:0]      lane,
    input  logic               first,      // group of a tile
    input  logic               last,
    input  logic signed [22:0] term,       // one bit below the point
    input  logic [3:0]         shift,
    // The sum of a row of the tile before, in the cycle after its address.
    input  logic [BW-1:0]      drain_lane,
    output logic signed [31:0] drain_sum
);
  logic signed [31:0] old_sum, new_sum;
  logic signed [22:0] shifted;

  // old_sum + round(term / 2^shift); the bit below the point and a 1 there carry.
  always_comb begin
    shifted = term >>> shift;
    new_sum = 32'(($signed({first ? 32'sd0 : old_sum, 1'b1}) + 33'(shifted)) >>> 1);
  end

  etch_ram #(
      .WIDTH(32),
      .DEPTH(BANK),
      .AW(BW)
  ) sums (
      .clk, .w_en(valid), .w_addr(lane), .w_data(new_sum), .r_addr(next_lane), .r_data(old_sum)
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
