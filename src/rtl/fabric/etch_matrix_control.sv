// What the lanes of a matrix do when: the base's (etch_base) and the adapters' (etch_adapter) alike.
//
// A matrix is worked on in tiles of LANES rows. A tile takes one step a column and plane; 32 columns
// are a group. Addresses of codes and group parameters only rise, so that a memory is read from its
// first word to its last. While a tile is worked on, the results of the one before leave one by one.
//
// Stages of a step:   0  addresses      1  words arrive, products are formed
//                     2  each lane adds its product     3  (last step of a group) times the scale
//                     4  shifted, added to the row's sum     5  (last group) the sum is held
// Stages of a result: 0  the held sum and its row scale are looked up, then as the lanes' module does
module etch_matrix_control #(
    parameter int AW = 12,
    parameter int LANES = 64,         // a power of two
    parameter int LW = $clog2(LANES)
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
    input  logic [5:0]    base_shift,  // what a sum of a group is short of, and the largest shift
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
    output logic          s1_first,    // of a group
    output logic          s1_plane,
    output logic          s2_valid,
    output logic          s2_first,
    output logic          s2_last,
    output logic          s3_valid,
    output logic          s4_valid,
    output logic          s4_first,    // group of a tile
    output logic [4:0]    s4_shift,    // at most 25
    output logic          s5_valid,    // the tile's sums are complete
    // Results.
    input  logic          drain_hold,  // none may leave in this cycle
    output logic          drain_valid,
    output logic [AW-1:0] drain_row,
    output logic [LW-1:0] drain_lane,
    output logic [31:0]   row_addr
);
  // Step 0.
  logic issuing, plane;
  logic [9:0] group;
  logic [4:0] column;
  logic [AW-1:0] rows_left;  // of this tile and those behind it
  logic last_plane, last_column, last_group, first_step, last_step, end_of_tile, may_issue, issue;

  // Results.
  logic [AW-1:0] drain_left, tile_rows;

  always_comb begin
    last_plane = plane == two_planes;
    last_column = column == 5'd31;
    last_group = group + 10'd1 == groups;
    first_step = column == 5'd0 && !plane;
    last_step = last_column && last_plane;
    end_of_tile = last_step && last_group;
    // The sums of this tile take the place of the last one's.
    may_issue = !end_of_tile || drain_left == '0;
    issue = issuing && may_issue;
    input_addr = issuing ? AW'({group, column}) : '0;
    shift_addr = issuing ? group : '0;
    drain_valid = drain_left != '0 && !drain_hold;
  end

  logic s1_last, s1_last_group, s2_last_group, s3_last_group, s4_last_group;
  logic s1_first_group, s2_first_group, s3_first_group;
  logic [4:0] s2_shift, s3_shift;

  always_ff @(posedge clk) begin
    if (issue) begin
      code_addr <= code_addr + 32'd1;
      if (last_plane) begin
        plane <= 1'b0;
        column <= column + 5'd1;
      end else begin
        plane <= 1'b1;
      end
      if (last_step) begin
        param_addr <= param_addr + 32'd1;
        group <= last_group ? 10'd0 : group + 10'd1;
        if (last_group) begin
          rows_left <= rows_left - AW'(LANES);
          if (rows_left <= AW'(LANES)) begin
            issuing <= 1'b0;
            code_addr <= '0;
            param_addr <= '0;
          end
        end
      end
    end

    s1_valid <= issue;
    s1_first <= issue && first_step;
    s1_plane <= plane;
    s1_last <= issue && last_step;
    s1_last_group <= last_group;
    s1_first_group <= group == 10'd0;

    s2_valid <= s1_valid;
    s2_first <= s1_first;
    s2_last <= s1_last;
    s2_last_group <= s1_last_group;
    s2_first_group <= s1_first_group;
    if (s1_first) s2_shift <= 5'(base_shift + max_shift - input_shift);

    s3_valid <= s2_last;
    s3_last_group <= s2_last_group;
    s3_first_group <= s2_first_group;
    if (s2_last) s3_shift <= s2_shift;

    s4_valid <= s3_valid;
    s4_last_group <= s3_last_group;
    s4_first <= s3_first_group;
    if (s3_valid) s4_shift <= s3_shift;

    s5_valid <= s4_valid && s4_last_group;

    if (s5_valid) begin
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
        end
      end
    end

    if (start) begin
      busy <= 1'b1;
      issuing <= 1'b1;
      plane <= 1'b0;
      column <= '0;
      group <= '0;
      rows_left <= rows;
      tile_rows <= rows;
      code_addr <= code_base;
      param_addr <= param_base;
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
      s3_valid <= 1'b0;
      s4_valid <= 1'b0;
      s5_valid <= 1'b0;
      drain_left <= '0;
      code_addr <= '0;
      param_addr <= '0;
      row_addr <= '0;
    end
  end
endmodule
