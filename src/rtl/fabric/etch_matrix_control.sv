// What the lanes of a matrix do when: the base's (etch_base) and the adapters' (etch_adapter) alike.
//
// A matrix is worked on in tiles of LANES rows. A pass over a group, of 32 columns, takes one step
// a column and plane of its codes. A group takes one pass; where inputs have two bytes, one with
// their low bytes and one with their high. Addresses of codes and group parameters rise from a
// memory's first word to its last; but a group's codes are read once a pass, and its parameters for
// its tables when a pass begins and for its scales after its end. Lanes stand in banks of BANK, and
// all banks do the same. What is left of a pass is done in its bank a lane at a time, while the
// lanes work on the next. While a tile is worked on, results of the one before leave one by one.
//
// Stages of a step:   0  addresses      1  words arrive, products are formed
//                     2  each lane adds its product; in the last step of a pass, keeps the sum
// Stages of a lane's pass (f):          0  its sum is looked up      1  times the scale
//                     2  low bytes: kept; else with those shifted, added to the row's sum
// Stages of a result: 0  the row's sum and scale are looked up, then as the lanes' module does
module etch_matrix_control #(
    parameter int AW = 12,
    parameter int LANES = 64,         // a power of two
    parameter int LW = $clog2(LANES),
    parameter int BANK = LANES < 32 ? LANES : 32,
    parameter int BW = $clog2(BANK)
) (
    input  logic          clk,
    input  logic          rst,
    input  logic          start,
    input  logic [31:0]   code_base,
    input  logic [31:0]   param_base,
    input  logic [31:0]   row_base,
    input  logic [AW-1:0] rows,
    input  logic [9:0]    groups,
    input  logic          two_planes,  // two steps a column
    input  logic          two_bytes,   // two passes over a group, with the low bytes first
    input  logic [5:0]    max_shift,
    output logic          busy,        // until the last result is looked up
    // Addresses of step 0.
    output logic [31:0]   code_addr,
    output logic [31:0]   param_addr,
    output logic [AW-1:0] input_addr,
    output logic [9:0]    shift_addr,
    input  logic [5:0]    input_shift,
    // Flags of the stages.
    output logic          s1_valid,
    output logic          s1_first,    // of a pass
    output logic          s1_plane,
    output logic          s1_high,     // the second of two passes
    output logic          s2_valid,
    output logic          s2_last,
    output logic [BANK-1:0] f0_select,  // one of the lanes of each bank
    output logic [BW-1:0] f1_lane,
    output logic          f2_valid,
    output logic [BW-1:0] f2_lane,
    output logic          f2_first,    // group of a tile
    output logic          f2_last,     // pass of a tile
    output logic          f2_low,      // the first of two passes
    output logic [3:0]    f2_shift,
    // Results.
    input  logic          drain_hold,  // none may leave in this cycle
    output logic          drain_valid,
    output logic [AW-1:0] drain_row,
    output logic [LW-1:0] drain_lane,
    output logic [31:0]   row_addr
);
  // Step 0.
  logic issuing, plane, high, begun;
  logic [9:0] group;
  logic [4:0] column;
  logic [31:0] param_finished;  // of the group before the one that is worked on
  logic [AW-1:0] rows_left;     // of this tile and those behind it
  logic last_plane, last_column, last_pass, last_group, first_step, last_step, end_of_tile;
  logic may_issue, issue;

  // Results.
  logic [AW-1:0] drain_left, tile_rows;

  always_comb begin
    last_plane = plane == two_planes;
    last_column = column == 5'd31;
    last_pass = high == two_bytes;
    last_group = group + 10'd1 == groups;
    first_step = column == 5'd0 && !plane;
    last_step = last_column && last_plane;
    end_of_tile = last_step && last_pass && last_group;
    // The sums of this tile take the place of the last one's.
    may_issue = !end_of_tile || drain_left == '0;
    issue = issuing && may_issue;
    input_addr = issuing ? AW'({group, column}) : '0;
    shift_addr = issuing ? group : '0;
    param_addr = param_finished + 32'(issuing && first_step && begun && !high);
    drain_valid = drain_left != '0 && !drain_hold;
  end

  logic s1_last, s1_first_group, s1_last_pass, s1_low, s2_first_group, s2_last_pass, s2_low;
  logic [BW-1:0] f0_lane;
  logic f0_valid, f0_first, f0_last, f0_low, f1_valid, f1_first, f1_last, f1_low;
  logic [3:0] s2_shift, f0_shift, f1_shift;  // shifts of blocks differ by at most 15

  always_ff @(posedge clk) begin
    if (issue) begin
      // The second pass begins where the first did.
      code_addr <= code_addr + (!last_step || last_pass ? 32'd1 : two_planes ? -32'd63 : -32'd31);
      if (last_plane) begin
        plane <= 1'b0;
        column <= column + 5'd1;
      end else begin
        plane <= 1'b1;
      end
      if (last_step && !high) begin
        begun <= 1'b1;
        param_finished <= param_finished + 32'(begun);
      end
      if (last_step) high <= !last_pass;
      if (last_step && last_pass) begin
        group <= last_group ? 10'd0 : group + 10'd1;
        if (last_group) begin
          rows_left <= rows_left - AW'(LANES);
          if (rows_left <= AW'(LANES)) begin
            issuing <= 1'b0;
            code_addr <= '0;
          end
        end
      end
    end

    s1_valid <= issue;
    s1_first <= issue && first_step;
    s1_plane <= plane;
    s1_high <= high;
    s1_low <= !last_pass;
    s1_last <= issue && last_step;
    s1_first_group <= group == 10'd0;
    s1_last_pass <= last_pass && last_group;

    s2_valid <= s1_valid;
    s2_last <= s1_last;
    s2_first_group <= s1_first_group;
    s2_last_pass <= s1_last_pass;
    s2_low <= s1_low;
    if (s1_first) s2_shift <= 4'(max_shift - input_shift);

    if (s2_last) begin
      f0_valid <= 1'b1;
      f0_lane <= '0;
      f0_select <= BANK'(1);
      f0_first <= s2_first_group;
      f0_last <= s2_last_pass;
      f0_low <= s2_low;
      f0_shift <= s2_shift;
    end else begin
      f0_lane <= f0_lane + 1'b1;
      f0_select <= f0_select << 1;
      if (f0_lane == BW'(BANK - 1)) f0_valid <= 1'b0;
    end

    f1_valid <= f0_valid;
    f1_lane <= f0_lane;
    f1_first <= f0_first;
    f1_last <= f0_last;
    f1_low <= f0_low;
    f1_shift <= f0_shift;

    f2_valid <= f1_valid;
    f2_lane <= f1_lane;
    f2_first <= f1_first;
    f2_last <= f1_last;
    f2_low <= f1_low;
    f2_shift <= f1_shift;

    // Sums leave as fast as they are made.
    if (f2_valid && f2_last && f2_lane == '0) begin
      drain_left <= tile_rows > AW'(LANES) ? AW'(LANES) : tile_rows;
      tile_rows <= tile_rows - AW'(LANES);
      drain_lane <= '0;
    end else if (drain_valid) begin
      drain_left <= drain_left - 1'b1;
      drain_lane <= drain_lane + 1'b1;
      drain_row <= drain_row + 1'b1;
      row_addr <= row_addr + 32'd1;
      if (tile_rows[AW-1] || tile_rows == '0) begin
        if (drain_left == AW'(1)) begin
          busy <= 1'b0;
          row_addr <= '0;
          param_finished <= '0;
        end
      end
    end

    if (start) begin
      busy <= 1'b1;
      issuing <= 1'b1;
      begun <= 1'b0;
      plane <= 1'b0;
      high <= 1'b0;
      column <= '0;
      group <= '0;
      rows_left <= rows;
      tile_rows <= rows;
      code_addr <= code_base;
      param_finished <= param_base;
      row_addr <= row_base;
      drain_row <= '0;
    end
    if (rst) begin
      busy <= 1'b0;
      issuing <= 1'b0;
      s1_valid <= 1'b0;
      s1_first <= 1'b0;
      s1_last <= 1'b0;
      s2_valid <= 1'b0;
      s2_last <= 1'b0;
      f0_valid <= 1'b0;
      f1_valid <= 1'b0;
      f2_valid <= 1'b0;
      drain_left <= '0;
      code_addr <= '0;
      param_finished <= '0;
      row_addr <= '0;
    end
  end
endmodule
