// The row of a token in the embedding, as R32 (contract, section 6): the base's ROM is read as for a
// product, and one lane's weight of each word is taken.
//
// cycles = 32 * groups + 6, or 64 * groups + 6 for W6
module etch_embed #(
    parameter int AW = 12,
    parameter int LANES = 64,
    parameter int LW = $clog2(LANES)
) (
    input  logic               clk,
    input  logic               rst,
    input  logic               start,
    input  logic [31:0]        token,
    input  logic [31:0]        code_base,
    input  logic [31:0]        param_base,
    input  logic [31:0]        row_base,
    input  logic [AW-1:0]      n,       // channels
    input  logic [9:0]         groups,
    input  logic               w6,
    input  logic [AW-1:0]      dst,
    output logic               done,
    input  logic [95:0]        levels,
    output logic [31:0]        code_addr,
    input  logic [3*LANES-1:0] code_word,
    output logic [31:0]        param_addr,
    input  logic [6*LANES-1:0] param_word,
    output logic [31:0]        row_addr,
    input  logic [23:0]        row_scale,
    output logic               w_en,
    output logic [AW-1:0]      w_addr,
    output logic signed [31:0] w_data
);
  `include "etch_math.svh"

  // Step 0: addresses.
  logic issuing, plane;
  logic [AW-1:0] column;
  logic [LW-1:0] lane;
  logic last_plane;
  logic [31:0] tile;

  always_comb begin
    last_plane = plane == w6;
    tile = token >> LW;
  end

  // Step 1: words arrive; the lane's code, table and scale.
  logic s1_valid, s1_plane;
  logic [AW-1:0] s1_column;
  logic [2:0] code;
  logic [5:0] param;
  // Step 2: the level. Step 3: times the scale. Step 4: times the row's mantissa. Step 5: written.
  logic s2_valid, s3_valid, s4_valid, s5_valid;
  logic [2:0] s2_high, s2_code;
  logic [5:0] s2_param;
  logic signed [6:0] s3_level;
  logic signed [6:0] s3_scale;
  logic signed [13:0] s4_weight;
  logic signed [63:0] s5_product;
  logic signed [9:0] s5_exponent;
  logic [AW-1:0] s2_column, s3_column, s4_column, s5_column;
  logic signed [5:0] table_level;

  always_comb begin
    code = code_word[3*lane+:3];
    param = param_word[6*lane+:6];
    table_level = levels[6*{s2_param[5], s2_code}+:6];
    w_en = s5_valid && s5_column < n;
    w_addr = w_en ? dst + s5_column : '0;
    w_data = w_en ? saturate_scaled(s5_product, s5_exponent) : '0;
  end

  always_ff @(posedge clk) begin
    if (issuing) begin
      code_addr <= code_addr + 32'd1;
      plane <= !last_plane;
      if (last_plane) begin
        column <= column + 1'b1;
        if (column[4:0] == 5'd31) begin
          param_addr <= param_addr + 32'd1;
          if (10'(column >> 5) + 10'd1 == groups) begin
            issuing <= 1'b0;
            code_addr <= '0;
            param_addr <= '0;
          end
        end
      end
    end

    s1_valid <= issuing;
    s1_plane <= last_plane;
    s1_column <= column;

    s2_valid <= s1_valid && s1_plane;
    if (s1_valid) begin
      s2_column <= s1_column;
      s2_code <= code;
      s2_high <= s2_code;  // of the step before: the high plane
      s2_param <= param;
    end

    s3_valid <= s2_valid;
    s3_column <= s2_column;
    s3_level <= w6 ? $signed({1'b0, s2_high, s2_code}) - 7'sd32 : 7'(table_level);
    s3_scale <= w6 ? $signed({1'b0, s2_param}) : 7'($signed(s2_param[4:0]));

    s4_valid <= s3_valid;
    s4_column <= s3_column;
    s4_weight <= 14'(s3_level) * 14'(s3_scale);

    s5_valid <= s4_valid;
    s5_column <= s4_column;
    s5_product <= 64'(s4_weight) * 64'({1'b0, row_scale[15:0]});
    s5_exponent <= 10'($signed(row_scale[23:16])) + 10'sd16;

    done <= s5_valid && !s4_valid && !s3_valid && !s2_valid && !s1_valid && !issuing;

    if (start) begin
      issuing <= 1'b1;
      plane <= 1'b0;
      column <= '0;
      lane <= token[LW-1:0];
      code_addr <= code_base + tile * (w6 ? 32'(groups) << 6 : 32'(groups) << 5);
      param_addr <= param_base + tile * 32'(groups);
      row_addr <= row_base + token;
    end else if (done) begin
      row_addr <= '0;
    end
    if (rst) begin
      issuing <= 1'b0;
      s1_valid <= 1'b0;
      s2_valid <= 1'b0;
      s3_valid <= 1'b0;
      s4_valid <= 1'b0;
      s5_valid <= 1'b0;
      done <= 1'b0;
      code_addr <= '0;
      param_addr <= '0;
      row_addr <= '0;
    end
  end
endmodule
