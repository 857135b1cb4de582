// A bank of the lanes of etch_base: up to 32 rows of a matrix.
//
// A lane selects one of sixteen products of 8 bits of an input and adds it up. What it needs once a
// pass over a group is there once a bank: at the end of a pass every lane keeps its sum, and while
// the lanes add up the next, one sum a cycle gets its scale and goes to its row (etch_row_sums).
//
// etch_matrix_control says when, and names the stages.
module etch_bank #(
    parameter int BANK = 32,
    parameter int BW = $clog2(BANK)
) (
    input  logic               clk,
    input  logic               rst,
    input  logic               w6,
    input  logic               a16,
    input  logic [16*13-1:0]   products,    // in stage 2
    input  logic [3*BANK-1:0]  code_word,   // in stage 2
    input  logic [6*BANK-1:0]  param_word,  // of a pass's group, in its first step's stage 1
    input  logic               s1_first,
    input  logic               s2_valid,
    input  logic               s2_last,
    input  logic [BANK-1:0]    f0_select,   // one of the lanes
    input  logic [BW-1:0]      f1_lane,
    input  logic               f2_valid,
    input  logic [BW-1:0]      f2_lane,
    input  logic               f2_first,
    input  logic               f2_last,
    input  logic               f2_low,
    input  logic [4:0]         f2_shift,
    input  logic [BW-1:0]      drain_lane,
    output logic signed [31:0] drain_sum
);
  localparam int PRODUCT_BITS = 13;
  localparam int SUM_BITS = 18;

  // The sum of a pass, -2^17 to 2^17 - 1, times its scale. Bits of the scale are worked in from the
  // lowest, so that an adder needs no more bits than the sum.
  function automatic logic signed [SUM_BITS+5:0] scaled(
      input logic signed [SUM_BITS-1:0] value, input logic [5:0] scale, input logic is_w6);
    logic signed [SUM_BITS:0] product, addend;
    logic subtract;
    product = '0;
    for (int place = 0; place < 6; place++) begin
      addend = scale[place] && (place < 5 || is_w6) ? (SUM_BITS + 1)'(value) : '0;
      if (place > 0) product = product >>> 1;
      if (place == 4) begin
        subtract = scale[4] && !is_w6;
        product = (SUM_BITS + 1)'($signed({product, 1'b1} +
            {addend ^ {SUM_BITS + 1{subtract}}, subtract}) >>> 1);
      end else begin
        product = product + addend;
      end
      scaled[place] = product[0];
    end
    scaled[SUM_BITS+5:5] = product;
  endfunction

  // Stage 2, lane by lane.
  logic [SUM_BITS*BANK-1:0] kept;

  for (genvar lane = 0; lane < BANK; lane++) begin : gen_lane
    logic in_second_table;
    logic [3:0] select;
    logic signed [PRODUCT_BITS-1:0] product;
    logic signed [SUM_BITS-1:0] sum, next_sum;
    assign select = {in_second_table, code_word[3*lane+:3]};
    always_comb begin
      // The same either way: an OR of ANDs has less area, an index takes less time to simulate.
`ifdef SYNTHESIS
      product = '0;
      for (int level = 0; level < 16; level++) begin
        product = product | (products[PRODUCT_BITS*level+:PRODUCT_BITS] &
                             {PRODUCT_BITS{select == 4'(level)}});
      end
`else
      product = products[PRODUCT_BITS*select+:PRODUCT_BITS];
`endif
      next_sum = sum + SUM_BITS'(product);
    end
    always_ff @(posedge clk) begin
      if (s1_first) in_second_table <= !w6 && param_word[6*lane+5];
      if (s2_valid || rst) sum <= s2_last || rst ? '0 : next_sum;
      if (s2_last) kept[SUM_BITS*lane+:SUM_BITS] <= next_sum;
    end
  end

  // The rest of a pass, one lane a cycle. While the last lane's sum is looked up, the parameters
  // may be those of the group that begins.
  logic [5:0] last_param, f1_scale;
  logic signed [SUM_BITS-1:0] f1_sum;
  logic signed [SUM_BITS+5:0] f2_term;

  logic [5:0] f0_scale;
  logic [SUM_BITS-1:0] f0_sum;

  always_comb begin
    f0_scale = '0;
    f0_sum = '0;
    for (int lane = 0; lane < BANK; lane++) begin
      f0_scale = f0_scale |
          ((lane == BANK - 1 ? last_param : param_word[6*lane+:6]) & {6{f0_select[lane]}});
      f0_sum = f0_sum | (kept[SUM_BITS*lane+:SUM_BITS] & {SUM_BITS{f0_select[lane]}});
    end
  end

  always_ff @(posedge clk) begin
    if (!s1_first) last_param <= param_word[6*BANK-6+:6];
    f1_scale <= f0_scale;
    f1_sum <= f0_sum;
    f2_term <= scaled(f1_sum, f1_scale, w6);
  end

  etch_row_sums #(
      .BANK(BANK)
  ) row_sums (
      .clk, .two_bytes(a16), .next_lane(f1_lane), .valid(f2_valid), .lane(f2_lane),
      .first(f2_first), .last(f2_last), .low(f2_low), .term({f2_term, 1'b0}), .shift(f2_shift),
      .drain_lane, .drain_sum
  );
endmodule
