// The next token from the eight best logits (contract, section 12).
//
// `clear` empties the list. Logits then come at most one a cycle, ids rising; neither comes while
// the unit works. `start` chooses and leaves the list as it is; `token` then stays until the next
// start (an empty list changes nothing). top_k = 1 is greedy, whatever the other settings. The list
// holds all that matters for top_k 1 ... 8, because the weight falls with the logit.
//
// One multiplier serves every product: 20 of the random bits, 2 a candidate, 2 limits, 2 for the
// target.
//
// cycles = 73
module etch_sampler #(
    parameter int ID_BITS = 20
) (
    input  logic                clk,
    input  logic                rst,
    input  logic                clear,
    input  logic                logit_valid,
    input  logic signed [31:0]  logit,
    input  logic [ID_BITS-1:0]  logit_id,
    input  logic                start,
    input  logic [23:0]         inverse_temperature,
    input  logic [3:0]          top_k,
    input  logic [16:0]         top_p,
    input  logic [16:0]         min_p,
    input  logic [63:0]         seed,
    input  logic [63:0]         step,
    input  logic [31:0]         stream,
    output logic                done,
    output logic [ID_BITS-1:0]  token,
    output logic [5:0]          exp2_addr,
    input  logic [49:0]         exp2_pair
);
  localparam logic [31:0] MULTIPLIER_0 = 32'hd2511f53;
  localparam logic [31:0] MULTIPLIER_1 = 32'hcd9e8d57;
  localparam logic [31:0] WEYL_0 = 32'h9e3779b9;
  localparam logic [31:0] WEYL_1 = 32'hbb67ae85;

  // The list, entry 0 the best: falling logits, equal ones by rising id.
  logic [7:0]           held;
  logic [8*32-1:0]      logits;
  logic [8*ID_BITS-1:0] ids;

  // Entries that stay before a new logit, of the highest id so far: a prefix of the list.
  logic [7:0] stays;
  always_comb begin
    stays = '1;
    if (logit_valid) begin
      for (int entry = 0; entry < 8; entry++) begin
        stays[entry] = held[entry] && $signed(logits[32*entry+:32]) >= logit;
      end
    end
  end

  always_ff @(posedge clk) begin
    if (rst || clear) begin
      held <= '0;
    end else if (!stays[7]) begin
      held <= {held[6:0], 1'b1};
      for (int entry = 0; entry < 8; entry++) begin
        if (!stays[entry]) begin
          if (entry == 0 || stays[(entry+7)%8]) begin
            logits[32*entry+:32] <= logit;
            ids[ID_BITS*entry+:ID_BITS] <= logit_id;
          end else begin
            logits[32*entry+:32] <= logits[32*((entry+7)%8)+:32];
            ids[ID_BITS*entry+:ID_BITS] <= ids[ID_BITS*((entry+7)%8)+:ID_BITS];
          end
        end
      end
    end
  end

  // Choosing, stage after stage. `count` numbers the cycles of a stage.
  localparam logic [2:0] IDLE = 3'd0;
  localparam logic [2:0] RANDOM = 3'd1;  // 20: the draw, two cycles a round of Philox
  localparam logic [2:0] WEIGHT = 3'd2;  // 32: weights, four cycles a candidate
  localparam logic [2:0] LIMIT = 3'd3;   // 2: what top_p and min_p ask for
  localparam logic [2:0] KEEP = 3'd4;    // 8: the weight of the candidates that are kept, a prefix
  localparam logic [2:0] TARGET = 3'd5;  // 2
  localparam logic [2:0] PICK = 3'd6;    // 8

  logic [2:0] stage;
  logic [4:0] count;
  logic [2:0] candidate;
  logic       last;

  logic [31:0] c0, c1, c2, c3;  // Philox: counter, then the random bits
  logic [31:0] k0, k1;
  logic [8*25-1:0] weights;     // 0: not a candidate, by the weight itself or by top_k
  logic [3:0]  places;          // how many more top_k admits
  logic [27:0] total;           // weight of all candidates
  logic [45:0] wanted;          // total * top_p
  logic [41:0] least;           // weight of the first * min_p
  logic        ended;           // no later candidate is kept
  logic [27:0] sum;             // weight of those kept
  logic [27:0] target;          // below `sum`, so that PICK finds a candidate among those kept
  logic        found;

  // Which of the two cycles of a product, and which of the four of a weight.
  logic        odd;
  logic [1:0]  part;
  logic [31:0] gap;
  logic [24:0] table_first, table_step;
  logic [24:0] first_weight, candidate_weight;

  logic [31:0] left_factor, right_factor;
  logic [63:0] result;
  logic [63:0] product;  // `result` of the cycle before; in cycles 1 and 2 of a weight, of cycle 0

  // Of a distance, in cycles 1 and 2 of its weight. In cycle 3 the product is the interpolation's.
  logic [5:0]  distance_entry;
  logic [9:0]  distance_fraction;
  logic [23:0] distance_whole;
  logic        vanishes;  // distance >> 16 > 25
  logic [4:0]  halvings;  // distance >> 16
  logic [24:0] interpolation;
  logic [24:0] mantissa;
  logic [24:0] weight;
  logic        keeps;

  assign odd = count[0];
  assign part = count[1:0];
  assign candidate = stage == WEIGHT ? count[4:2] : count[2:0];
  assign gap = stage == WEIGHT ? logits[31:0] - logits[32*candidate+:32] : '0;
  assign table_first = exp2_pair[24:0];
  assign table_step = exp2_pair[24:0] - exp2_pair[49:25];
  assign first_weight = weights[24:0];
  assign candidate_weight = weights[25*candidate+:25];
  assign distance_fraction = product[25:16];
  assign distance_entry = product[31:26];
  assign distance_whole = product[55:32];
  assign interpolation = 25'((product[34:0] + 35'd512) >> 10);

  always_comb begin
    case (stage)
      RANDOM: last = count == 5'd19;
      WEIGHT: last = count == 5'd31;
      LIMIT, TARGET: last = odd;
      KEEP, PICK: last = count == 5'd7;
      default: last = 1'b0;
    endcase

    left_factor = '0;
    right_factor = '0;
    case (stage)
      RANDOM: begin
        left_factor = odd ? MULTIPLIER_1 : MULTIPLIER_0;
        right_factor = odd ? c2 : c0;
      end
      WEIGHT: begin
        left_factor = part == 2'd0 ? gap : 32'(table_step);
        right_factor = part == 2'd0 ? 32'(inverse_temperature) : 32'(distance_fraction);
      end
      LIMIT: begin
        left_factor = odd ? 32'(first_weight) : 32'(total);
        right_factor = odd ? 32'(min_p) : 32'(top_p);
      end
      TARGET: begin
        left_factor = odd ? c1 : c0;
        right_factor = 32'(sum);
      end
      default: ;
    endcase
    result = stage == IDLE ? '0 : 64'(left_factor) * 64'(right_factor);

    exp2_addr = stage == WEIGHT && (part == 2'd1 || part == 2'd2) ? distance_entry : '0;

    // w(d), in cycle 3.
    mantissa = table_first - interpolation;
    weight = '0;
    if (stage == WEIGHT && held[candidate] && !vanishes && places != 4'd0) begin
      if (halvings == 5'd0) weight = mantissa;
      else weight = 25'((26'(mantissa) + (26'd1 << (halvings - 5'd1))) >> halvings);
    end

    // Always true of the first: top_p is at least 1, min_p less than 2^16.
    keeps = stage == KEEP && !ended && candidate_weight != '0 &&
            {2'd0, sum, 16'd0} < wanted && {1'b0, candidate_weight, 16'd0} >= least;
  end

  always_ff @(posedge clk) begin
    done <= stage == PICK && last;
    if (start) begin
      stage <= RANDOM;
      count <= '0;
      c0 <= step[31:0];
      c1 <= step[63:32];
      c2 <= stream;
      c3 <= '0;
      k0 <= seed[31:0];
      k1 <= seed[63:32];
      places <= top_k;
      total <= '0;
      ended <= 1'b0;
      sum <= '0;
      found <= 1'b0;
    end else if (stage != IDLE) begin
      count <= last ? '0 : count + 5'd1;
      if (last) stage <= stage == PICK ? IDLE : stage + 3'd1;
      product <= result;
      case (stage)
        RANDOM:
        if (odd) begin
          c0 <= result[63:32] ^ c1 ^ k0;
          c1 <= result[31:0];
          c2 <= product[63:32] ^ c3 ^ k1;
          c3 <= product[31:0];
          k0 <= k0 + WEYL_0;
          k1 <= k1 + WEYL_1;
        end
        WEIGHT: begin
          if (part == 2'd1) begin
            vanishes <= distance_whole > 24'd25;
            halvings <= distance_whole[4:0];
            product <= product;
          end
          if (part == 2'd3) begin
            weights[25*candidate+:25] <= weight;
            total <= total + 28'(weight);
            if (weight != '0) places <= places - 4'd1;
          end
        end
        LIMIT:
        if (odd) least <= result[41:0];
        else wanted <= result[45:0];
        KEEP:
        if (keeps) begin
          sum <= sum + 28'(candidate_weight);
        end else if (candidate_weight != '0) begin
          ended <= 1'b1;
        end
        TARGET: target <= 28'((result + 64'(product[63:32])) >> 32);
        PICK:
        if (!found) begin
          target <= target - 28'(candidate_weight);
          if (target < 28'(candidate_weight)) begin
            found <= 1'b1;
            token <= ids[ID_BITS*candidate+:ID_BITS];
          end
        end
        default: ;
      endcase
    end
    if (rst) begin
      stage <= IDLE;
      done <= 1'b0;
    end
  end
endmodule
