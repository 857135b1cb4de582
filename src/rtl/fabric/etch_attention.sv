// Attention of one token (contract, section 9): every query head over the keys of positions
// 0 ... position. Owns the queries, both caches and the scores. Codes come one a cycle, block
// after block from index 0 of a vector; a start may follow in the cycle after the last.
//
// A head takes four steps: scores of all keys, with their maximum and the largest shift of each
// block of the values (one block of one key a cycle); weights, and sums of weighted values (alike);
// the reciprocal of the sum of weights; results, one channel a cycle.
//
// cycles = N_HEADS * (2 * BLOCKS * (position + 1) + HEAD_DIM + 50) + 1, BLOCKS = ceil(HEAD_DIM / 32)
module etch_attention #(
    parameter int AW = 12,
    parameter int N_HEADS = 8,
    parameter int N_KV_HEADS = 4,
    parameter int HEAD_DIM = 8,
    parameter int ROWS = 256,    // of the caches
    parameter int RW = 8,        // bits of a row
    parameter int CONTEXT = 128  // most keys that a query sees
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic                 load_valid,
    input  logic [1:0]           load_kind,
    input  logic signed [15:0]   load_code,
    input  logic [AW-1:0]        load_index,
    input  logic                 load_last,
    input  logic [5:0]           load_shift,
    input  logic [RW-1:0]        load_row,
    input  logic                 start,
    input  logic [RW-1:0]        row_base,
    input  logic [16:0]          position,
    input  logic [AW-1:0]        dst,
    input  logic [15:0]          scale_mantissa,
    input  logic signed [7:0]    scale_exponent,
    output logic                 done,
    output logic [5:0]           exp2_addr,
    input  logic [49:0]          exp2_pair,
    output logic                 w_en,
    output logic [AW-1:0]        w_addr,
    output logic signed [31:0]   w_data
);
  `include "etch_math.svh"

  localparam int BLOCK = HEAD_DIM < 32 ? HEAD_DIM : 32;
  localparam int BLOCKS = (HEAD_DIM + 31) / 32;
  localparam int GROUP = N_HEADS / N_KV_HEADS;
  localparam int KV_WORDS = N_KV_HEADS * BLOCKS;
  localparam int CACHE_WORDS = ROWS * KV_WORDS;
  localparam int QUERY_WORDS = N_HEADS * BLOCKS;

  // Bits of counters.
  localparam int BW = BLOCKS > 1 ? $clog2(BLOCKS) : 1;
  localparam int GW = GROUP > 1 ? $clog2(GROUP) : 1;
  localparam int NW = N_HEADS > 1 ? $clog2(N_HEADS) : 1;
  localparam int LW = $clog2(BLOCK);
  localparam int CW = $clog2(HEAD_DIM);
  localparam int QW = QUERY_WORDS > 1 ? $clog2(QUERY_WORDS) : 1;
  localparam int KW = CACHE_WORDS > 1 ? $clog2(CACHE_WORDS) : 1;
  localparam int SW = CONTEXT > 1 ? $clog2(CONTEXT) : 1;

  localparam int KEY_BITS = BLOCK * 14;
  localparam int VALUE_BITS = BLOCK * 8;
  localparam int FIELD = $clog2(KEY_BITS);
  // A sum of weights is at most 2^24 a key; a sum of weighted values 127 * 2^6 times that.
  localparam int WEIGHT_BITS = 25 + SW;
  localparam int SUM_BITS = 38 + SW;

  localparam logic [2:0] IDLE = 3'd0;
  localparam logic [2:0] SCORES = 3'd1;
  localparam logic [2:0] VALUES = 3'd2;
  localparam logic [2:0] RECIPROCAL = 3'd3;
  localparam logic [2:0] RESULTS = 3'd4;

  // ---- Loading: codes of a block gather in a word, which is written in the cycle after its last.

  localparam logic [1:0] QUERY = 2'd0;
  localparam logic [1:0] KEY = 2'd1;
  localparam logic [1:0] VALUE = 2'd2;

  logic [LW-1:0] next_lane;
  logic [QW-1:0] next_word;
  logic [KEY_BITS-1:0] gathered;
  logic [4:0] gathered_shift;
  logic gathered_query;
  logic gathered_key;
  logic gathered_value;
  logic [QW-1:0] gathered_word;
  logic [KW-1:0] gathered_address;

  wire vector_begins = load_index == '0;
  wire [LW-1:0] lane = vector_begins ? '0 : next_lane;
  wire [QW-1:0] word = vector_begins ? '0 : next_word;
  wire unused_load = &{1'b0, load_code[15:14], load_shift[5]};

  always_ff @(posedge clk) begin
    gathered_query <= 1'b0;
    gathered_key <= 1'b0;
    gathered_value <= 1'b0;
    if (load_valid) begin
      if (lane == '0) begin
        gathered <= load_kind == VALUE ? KEY_BITS'(load_code[7:0]) : KEY_BITS'(load_code[13:0]);
      end else if (load_kind == VALUE) begin
        gathered[FIELD'(lane) * FIELD'(8)+:8] <= load_code[7:0];
      end else begin
        gathered[FIELD'(lane) * FIELD'(14)+:14] <= load_code[13:0];
      end
      next_lane <= load_last ? '0 : lane + 1'b1;
      next_word <= load_last ? word + 1'b1 : word;
      if (load_last) begin
        gathered_query <= load_kind == QUERY;
        gathered_key <= load_kind == KEY;
        gathered_value <= load_kind == VALUE;
        gathered_shift <= load_shift[4:0];
        gathered_word <= word;
        gathered_address <= KW'(load_row) * KW'(KV_WORDS) + KW'(word);
      end
    end
    if (rst) begin
      gathered_query <= 1'b0;
      gathered_key <= 1'b0;
      gathered_value <= 1'b0;
    end
  end

  // ---- Control.
  //
  // In SCORES and VALUES, stage 0 is the cycle in which a block of a key is asked for; its flags
  // and its number travel along. Stage 7 is the last.

  logic [2:0] phase;
  logic asking;
  logic [16:0] key;
  logic [BW-1:0] block;
  logic [7:1] valid;
  logic [7:1] final_block;
  logic [7*BW-1:0] blocks;  // of stage s: bits from (s - 1) * BW on

  logic [NW-1:0] head;
  logic [GW-1:0] member;        // of the query heads that share a key head
  logic [KW-1:0] head_address;  // of the head's first word in row row_base
  logic [QW-1:0] query_address;
  logic [KW-1:0] address;       // of keys in SCORES, of values in VALUES
  logic [KW-1:0] codes_address;

  wire is_last_block = block == BW'(BLOCKS - 1);
  wire is_last_key = key == position;
  wire [BW-1:0] block_1 = blocks[BW-1:0];
  wire [BW-1:0] block_5 = blocks[4*BW+:BW];
  wire [BW-1:0] block_7 = blocks[6*BW+:BW];
  wire first_1 = valid[1] && block_1 == '0;
  wire first_2 = valid[2] && blocks[BW+:BW] == '0;
  wire first_3 = valid[3] && blocks[2*BW+:BW] == '0;
  wire first_4 = valid[4] && blocks[3*BW+:BW] == '0;
  wire first_5 = valid[5] && block_5 == '0;
  wire first_6 = valid[6] && blocks[5*BW+:BW] == '0;
  wire last_5 = valid[5] && block_5 == BW'(BLOCKS - 1);
  wire last_6 = valid[6] && blocks[5*BW+:BW] == BW'(BLOCKS - 1);
  wire last_7 = valid[7] && block_7 == BW'(BLOCKS - 1);

  // In VALUES the cache is read late, when the weight is there.
  wire moving = phase == SCORES ? asking : valid[5];
  wire [BW-1:0] moving_block = phase == SCORES ? block : block_5;

  logic [4:0] divide_step;
  logic [CW-1:0] channel;
  logic [3:1] result_valid;
  logic result_final;
  logic [AW-1:0] next_result;

  wire head_done = phase == RESULTS && result_final;
  wire all_done = head_done && head == NW'(N_HEADS - 1);
  wire group_done = member == GW'(GROUP - 1);
  wire [KW-1:0] row_address = KW'(row_base) * KW'(KV_WORDS);
  wire [KW-1:0] next_head_address = group_done ? head_address + KW'(BLOCKS) : head_address;

  always_ff @(posedge clk) begin
    done <= all_done;
    valid <= {valid[6:1], asking && (phase == SCORES || phase == VALUES)};
    if (phase != IDLE) begin
      final_block <= {final_block[6:1], is_last_key && is_last_block};
      blocks <= (7*BW)'({blocks, block});
      if (asking) begin
        block <= is_last_block ? '0 : block + 1'b1;
        if (is_last_block) begin
          key <= key + 1'b1;
          if (is_last_key) asking <= 1'b0;
        end
      end
      if (moving) begin
        address <= moving_block == BW'(BLOCKS - 1) ? address + KW'(KV_WORDS - BLOCKS + 1)
                                                   : address + 1'b1;
      end
      codes_address <= address;
      if (valid[7] && final_block[7]) begin
        if (phase == SCORES) begin
          phase <= VALUES;
          asking <= 1'b1;
          key <= '0;
          address <= head_address;
        end else begin
          phase <= RECIPROCAL;
        end
      end
      if (phase == RECIPROCAL && divide_step == 5'd31) phase <= RESULTS;
    end
    if (start || head_done) begin
      phase <= all_done ? IDLE : SCORES;
      asking <= !all_done;
      key <= '0;
      block <= '0;
      head <= start ? '0 : head + 1'b1;
      member <= start || group_done ? '0 : member + 1'b1;
      head_address <= start ? row_address : next_head_address;
      address <= start ? row_address : next_head_address;
      query_address <= start ? '0 : query_address + QW'(BLOCKS);
    end
    if (rst) begin
      phase <= IDLE;
      asking <= 1'b0;
      valid <= '0;
      done <= 1'b0;
    end
  end

  // ---- Memories.

  logic [KEY_BITS+4:0] query_word;
  logic [KEY_BITS+4:0] key_word;
  logic [VALUE_BITS-1:0] value_codes;
  logic [4:0] value_shift;
  logic score_write;
  logic [SW-1:0] score_address;
  logic signed [31:0] score;
  logic [31:0] stored_score;

  etch_ram #(.WIDTH(KEY_BITS + 5), .DEPTH(QUERY_WORDS), .AW(QW)) queries (
      .clk(clk), .w_en(gathered_query), .w_addr(gathered_word),
      .w_data({gathered_shift, gathered}),
      .r_addr(query_address + QW'(block)), .r_data(query_word));
  etch_ram #(.WIDTH(KEY_BITS + 5), .DEPTH(CACHE_WORDS), .AW(KW)) keys (
      .clk(clk), .w_en(gathered_key), .w_addr(gathered_address),
      .w_data({gathered_shift, gathered}), .r_addr(address), .r_data(key_word));
  etch_ram #(.WIDTH(5), .DEPTH(CACHE_WORDS), .AW(KW)) value_shifts (
      .clk(clk), .w_en(gathered_value), .w_addr(gathered_address), .w_data(gathered_shift),
      .r_addr(address), .r_data(value_shift));
  etch_ram #(.WIDTH(VALUE_BITS), .DEPTH(CACHE_WORDS), .AW(KW)) values (
      .clk(clk), .w_en(gathered_value), .w_addr(gathered_address),
      .w_data(gathered[VALUE_BITS-1:0]), .r_addr(codes_address), .r_data(value_codes));
  etch_ram #(.WIDTH(32), .DEPTH(CONTEXT), .AW(SW)) scores (
      .clk(clk), .w_en(score_write), .w_addr(score_address), .w_data(score),
      .r_addr(key[SW-1:0]), .r_data(stored_score));

  // ---- Scores.

  // 28 bits each, sign extended.
  function automatic logic [BLOCK*32-1:0] products_of(
      input logic [KEY_BITS-1:0] left, input logic [KEY_BITS-1:0] right);
    for (int i = 0; i < BLOCK; i++) begin
      products_of[i*32+:32] = 32'($signed(left[i*14+:14])) * 32'($signed(right[i*14+:14]));
    end
  endfunction

  function automatic logic signed [31:0] dot_of(input logic [BLOCK*32-1:0] terms);
    dot_of = 32'sd0;
    for (int i = 0; i < BLOCK; i++) dot_of = dot_of + $signed(terms[i*32+:32]);
  endfunction

  // value * 2^(shift - 20)
  function automatic logic signed [63:0] aligned_dot(
      input logic signed [31:0] value, input logic [5:0] shift);
    if (shift < 6'd20) aligned_dot = round_shift(64'(value), 6'd20 - shift);
    else aligned_dot = 64'(value) <<< (shift - 6'd20);
  endfunction

  function automatic logic [4:0] shift_of(
      input logic [BLOCKS*5-1:0] shifts, input logic [BW-1:0] index);
    shift_of = 5'd0;
    for (int b = 0; b < BLOCKS; b++) begin
      if (index == BW'(b)) shift_of = shifts[b*5+:5];
    end
  endfunction

  logic [BLOCK*32-1:0] products;
  logic [5:0] shift_2;
  logic [5:0] shift_3;
  logic signed [31:0] dot;
  logic signed [49:0] term;
  logic signed [52:0] raw;
  logic signed [48:0] scaled;
  logic signed [31:0] maximum;
  logic [BLOCKS*5-1:0] largest_shifts;

  wire signed [9:0] scale_shift = 10'(scale_exponent) + 10'sd4;
  assign score_write = phase == SCORES && last_7;

  always_ff @(posedge clk) begin
    if (phase == SCORES) begin
      if (valid[1]) begin
        products <= products_of(query_word[KEY_BITS-1:0], key_word[KEY_BITS-1:0]);
        shift_2 <= 6'(query_word[KEY_BITS+:5]) + 6'(key_word[KEY_BITS+:5]);
        for (int b = 0; b < BLOCKS; b++) begin
          if (block_1 == BW'(b) && value_shift > largest_shifts[b*5+:5]) begin
            largest_shifts[b*5+:5] <= value_shift;
          end
        end
      end
      if (valid[2]) begin
        dot <= dot_of(products);
        shift_3 <= shift_2;
      end
      if (valid[3]) term <= 50'(aligned_dot(dot, shift_3));
      if (valid[4]) raw <= first_4 ? 53'(term) : raw + 53'(term);
      if (last_5) scaled <= 49'(saturate(64'(raw))) * $signed(49'(scale_mantissa));
      if (last_6) score <= saturate_scaled(64'(scaled), scale_shift);
      if (last_7) begin
        score_address <= score_address + 1'b1;
        if (score > maximum) maximum <= score;
      end
    end
    if (start || head_done) begin
      score_address <= '0;
      maximum <= 32'sh80000001;
      largest_shifts <= '0;
    end
  end

  // ---- Weights and sums.

  // Sums of a block, and a key's codes times its weight. Each lane has SUM_BITS, sign extended.
  function automatic logic [BLOCK*64-1:0] accumulated(
      input logic [BLOCK*64-1:0] old_sums, input logic signed [31:0] key_weight,
      input logic [VALUE_BITS-1:0] codes);
    logic signed [SUM_BITS-1:0] sum;
    for (int i = 0; i < BLOCK; i++) begin
      sum = $signed(old_sums[i*64+:SUM_BITS]) +
            SUM_BITS'(64'(key_weight) * 64'($signed(codes[i*8+:8])));
      accumulated[i*64+:64] = 64'(sum);
    end
  endfunction

  logic [31:0] distance;
  logic [9:0] fraction_3;
  logic [15:0] whole_3;
  logic [4:0] whole_4;
  logic [4:0] whole_5;
  logic far_4;
  logic far_5;
  logic [24:0] entry_4;
  logic [34:0] step_4;
  logic [24:0] weight_5;
  logic [24:0] weight;
  logic [30:0] aligned_weight;
  logic [WEIGHT_BITS-1:0] weight_sum;
  logic summing;  // the first key has been added
  logic [BLOCK*64-1:0] sums[0:BLOCKS-1];

  wire [24:0] rounded_step = 25'((step_4 + 35'd512) >> 10);
  wire [4:0] spread = shift_of(largest_shifts, blocks[5*BW+:BW]) - value_shift;
  assign exp2_addr = phase == VALUES && first_2 ? distance[15:10] : '0;

  always_ff @(posedge clk) begin
    if (phase == VALUES) begin
      if (first_1) distance <= maximum - stored_score;
      if (first_2) begin
        fraction_3 <= distance[9:0];
        whole_3 <= distance[31:16];
      end
      if (first_3) begin
        entry_4 <= exp2_pair[24:0];
        step_4 <= (35'(exp2_pair[24:0]) - 35'(exp2_pair[49:25])) * 35'(fraction_3);
        whole_4 <= whole_3[4:0];
        far_4 <= whole_3 > 16'd25;
      end
      if (first_4) begin
        weight_5 <= entry_4 - rounded_step;
        whole_5 <= whole_4;
        far_5 <= far_4;
      end
      if (first_5) weight <= far_5 ? '0 : 25'(round_shift(64'(weight_5), 6'(whole_5)));
      if (first_6) weight_sum <= weight_sum + WEIGHT_BITS'(weight);
      if (valid[6]) aligned_weight <= 31'(round_shift({33'd0, weight, 6'd0}, 6'(spread)));
      if (valid[7]) begin
        sums[block_7] <=
            accumulated(summing ? sums[block_7] : '0, 32'(aligned_weight), value_codes);
        if (last_7) summing <= 1'b1;
      end
    end
    if (start || head_done) begin
      weight_sum <= '0;
      summing <= 1'b0;
    end
  end

  // ---- The reciprocal: step 0 normalises the sum of weights to 31 bits, 31 more divide.

  // value, at least 2^24, shifted up until its bit 41 is set; and by how much.
  function automatic logic [46:0] normalised(input logic [41:0] value);
    logic [41:0] shifted;
    logic [4:0] count;
    shifted = value;
    for (int level = 4; level >= 0; level--) begin
      count[level] = (shifted >> (42 - (1 << level))) == '0;
      if (count[level]) shifted = shifted << (1 << level);
    end
    normalised = {count, shifted};
  endfunction

  logic [30:0] divisor;
  logic [5:0] sum_shift;  // 12 - a of the contract
  logic [31:0] remainder;
  logic [30:0] reciprocal;

  wire [46:0] normal = phase == RECIPROCAL ? normalised(42'(weight_sum)) : '0;
  wire [31:0] doubled = {remainder[30:0], 1'b0};
  wire fits = doubled >= {1'b0, divisor};
  wire unused_divide = &{1'b0, remainder[31], normal[10:0]};

  always_ff @(posedge clk) begin
    if (phase == RECIPROCAL) begin
      divide_step <= divide_step + 1'b1;
      if (divide_step == '0) begin
        divisor <= normal[41:11];
        // bits - 19, and the number of bits is 42 less the shift up.
        sum_shift <= 6'd23 - 6'(normal[46:42]);
        remainder <= 32'h20000000;
      end else begin
        remainder <= fits ? doubled - {1'b0, divisor} : doubled;
        reciprocal <= {reciprocal[29:0], fits};
      end
    end else begin
      divide_step <= '0;
    end
  end

  // ---- Results: a channel's sum is chosen, shifted, multiplied, shifted and written.

  logic result_asked;
  logic signed [SUM_BITS-1:0] chosen;
  logic signed [32:0] shifted_sum;
  logic signed [63:0] quotient;
  logic [5:0] result_shift_1;
  logic [5:0] result_shift_2;
  logic [5:0] result_shift_3;

  wire [BW-1:0] result_block = BW'(channel >> 5);
  wire asking_result = phase == RESULTS && !result_asked;

  always_ff @(posedge clk) begin
    result_valid <= {result_valid[2:1], asking_result};
    result_final <= result_valid[3] && !result_valid[2];
    if (phase == RESULTS) begin
      if (asking_result) begin
        channel <= channel + 1'b1;
        if (channel == CW'(HEAD_DIM - 1)) result_asked <= 1'b1;
        chosen <= SUM_BITS'(sums[result_block] >> {channel[LW-1:0], 6'd0});
        result_shift_1 <= 6'd54 - 6'(shift_of(largest_shifts, result_block));
      end
      if (result_valid[1]) begin
        shifted_sum <= 33'(round_shift(64'(chosen), sum_shift));
        result_shift_2 <= result_shift_1;
      end
      if (result_valid[2]) begin
        quotient <= 64'(shifted_sum) * $signed(64'(reciprocal));
        result_shift_3 <= result_shift_2;
      end
      w_en <= result_valid[3];
      w_addr <= result_valid[3] ? next_result : '0;
      w_data <= result_valid[3] ? saturate(round_shift(quotient, result_shift_3)) : '0;
      if (result_valid[3]) next_result <= next_result + 1'b1;
    end
    if (start || head_done) begin
      channel <= '0;
      result_asked <= 1'b0;
    end
    if (start) next_result <= dst;
    if (rst) begin
      result_valid <= '0;
      result_final <= 1'b0;
      w_en <= 1'b0;
      w_addr <= '0;
      w_data <= '0;
    end
  end
endmodule
