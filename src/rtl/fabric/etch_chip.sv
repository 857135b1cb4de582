// The chip: host port, sequencer, units, and the soft memories, around the masks.
//
// One unit works at a time, so that whatever units say to a shared memory is combined by OR.
module etch_chip #(
    parameter int LANES = 64,
    parameter int DIM = 64,
    parameter int LAYERS = 5,
    parameter int N_HEADS = 8,
    parameter int N_KV_HEADS = 4,
    parameter int HEAD_DIM = 8,
    parameter int VOCABULARY = 512,
    parameter int CONTEXT = 512,
    parameter int SESSIONS = 1,
    parameter int RANK = 32,          // of the adapter memory; 0: a chip without adapters
    parameter int ADAPTER_SLOTS = 2,
    parameter int SLOT_WORDS = 1024,  // of 32 codes
    parameter int SLOT_ROWS = 1024,
    parameter int WORK_WORDS = 1024,
    parameter int INPUT_WORDS = 192,
    parameter int AW = 12,            // of work memory, and of counts
    parameter int ID_BITS = 10
) (
    input  logic        clk,
    input  logic        rst,
    // AXI4-Lite: registers.
    input  logic        awvalid,
    output logic        awready,
    input  logic [11:0] awaddr,
    input  logic        wvalid,
    output logic        wready,
    input  logic [31:0] wdata,
    input  logic [3:0]  wstrb,
    output logic        bvalid,
    input  logic        bready,
    output logic [1:0]  bresp,
    input  logic        arvalid,
    output logic        arready,
    input  logic [11:0] araddr,
    output logic        rvalid,
    input  logic        rready,
    output logic [31:0] rdata,
    output logic [1:0]  rresp,
    // AXI4-Stream: prompts and adapters in, tokens and logits out.
    input  logic        s_tvalid,
    output logic        s_tready,
    input  logic [31:0] s_tdata,
    input  logic        s_tlast,
    output logic        m_tvalid,
    input  logic        m_tready,
    output logic [31:0] m_tdata,
    output logic        m_tuser,
    output logic        m_tlast
);
  localparam int CB = $clog2(CONTEXT);
  localparam int ROWS = SESSIONS * LAYERS * CONTEXT;
  localparam int RW = $clog2(ROWS + 1);
  localparam int INPUT_BLOCKS = INPUT_WORDS / 32;
  localparam int HEAD_BLOCKS = (HEAD_DIM + 31) / 32;
  localparam int QUANTISE_BLOCKS =
      N_HEADS * HEAD_BLOCKS > INPUT_BLOCKS ? N_HEADS * HEAD_BLOCKS : INPUT_BLOCKS;
  // The adapter's inner vector lies behind the input.
  localparam int CODE_WORDS = INPUT_WORDS + (RANK > 0 ? RANK : 32);
  localparam int ADAPTER_WORDS = ADAPTER_SLOTS * SLOT_WORDS;
  localparam int ADAPTER_ROWS = ADAPTER_SLOTS * SLOT_ROWS;
  localparam int PC_BITS = 12;

  // Host port.
  logic go, abort_run, busy, finished, send_logits, use_adapter;
  logic [31:0] session, position, prompt_length, max_tokens, adapter, end_token, stream;
  logic signed [31:0] adapter_weight;
  logic [23:0] inverse_temperature;
  logic [3:0] top_k;
  logic [16:0] top_p, min_p;
  logic [63:0] seed, first_step;
  logic result_valid, result_ready, result_is_logit, result_last;
  logic [31:0] result_data;
  logic load_valid, load_target;
  logic [31:0] load_address, load_data;
  logic [CB:0] position_now, prompt_addr;
  logic [31:0] n_generated;
  logic reset;

  assign reset = rst || abort_run;

  etch_host #(
      .DIM(DIM), .LAYERS(LAYERS), .HEADS(N_HEADS), .KV_HEADS(N_KV_HEADS), .VOCABULARY(VOCABULARY),
      .CONTEXT(CONTEXT), .LANES(LANES), .SESSIONS(SESSIONS),
      .ADAPTER_SLOTS(RANK > 0 ? ADAPTER_SLOTS : 0),
      .ADAPTER_WORDS(RANK > 0 ? ADAPTER_WORDS * 8 + ADAPTER_ROWS : 0), .PROMPT_WORDS(CONTEXT)
  ) host (
      .clk, .rst, .awvalid, .awready, .awaddr, .wvalid, .wready, .wdata, .wstrb, .bvalid, .bready,
      .bresp, .arvalid, .arready, .araddr, .rvalid, .rready, .rdata, .rresp, .s_tvalid, .s_tready,
      .s_tdata, .s_tlast, .m_tvalid, .m_tready, .m_tdata, .m_tuser, .m_tlast, .session, .position,
      .prompt_length, .max_tokens, .send_logits, .use_adapter, .adapter, .adapter_weight,
      .end_token, .inverse_temperature, .top_k, .top_p, .min_p, .seed, .step(first_step), .stream,
      .go, .abort_run, .busy, .finished, .position_next(32'(position_now)), .result_valid, .result_ready, .result_data, .result_is_logit, .result_last, .load_valid,
      .load_target, .load_address, .load_data, .load_ready(1'b1)
  );

  // The prompt.
  logic [ID_BITS-1:0] prompt_token;

  etch_ram #(
      .WIDTH(ID_BITS), .DEPTH(CONTEXT), .AW(CB)
  ) prompt (
      .clk, .w_en(load_valid && !load_target), .w_addr(load_address[CB-1:0]),
      .w_data(load_data[ID_BITS-1:0]), .r_addr(prompt_addr[CB-1:0]), .r_data(prompt_token)
  );

  // The sequencer and its program.
  logic [PC_BITS-1:0] step_addr;
  logic [255:0] step_word, step;
  logic [15:0] starts;
  logic unit_done, sequencer_busy, token_valid, token_ready;
  logic [ID_BITS-1:0] token, sampled;

  etch_sequencer #(
      .ID_BITS(ID_BITS), .PC_BITS(PC_BITS), .CONTEXT_BITS(CB)
  ) sequencer (
      .clk, .rst(reset), .go, .position(position[CB:0]), .prompt_length(prompt_length[CB:0]),
      .max_tokens, .use_adapter, .end_token, .busy(sequencer_busy), .finished, .position_now,
      .n_generated, .prompt_addr, .prompt_token, .token, .step_addr, .step_word, .step, .starts,
      .unit_done, .sampled, .result_valid(token_valid), .result_ready(token_ready)
  );

  // Results of a run belong to it.
  assign busy = sequencer_busy || result_valid;

  // Fields of the step.
  logic [AW-1:0] step_a, step_b, step_d, step_n;
  logic [9:0] step_groups;
  logic [31:0] step_x, step_y, step_z;
  logic is_w6, is_a16, is_product, is_per_head, to_logits, from_inner, is_add;
  logic [1:0] code_format;
  logic [2:0] code_target;

  assign step_a = AW'(step[51:32]);
  assign step_b = AW'(step[71:52]);
  assign step_d = AW'(step[91:72]);
  assign step_n = AW'(step[111:92]);
  assign step_groups = step[121:112];
  assign step_x = step[159:128];
  assign step_y = step[191:160];
  assign step_z = step[223:192];
  assign is_w6 = step[10];
  assign is_a16 = step[11];
  assign is_product = step[12];
  assign is_per_head = step[13];
  assign code_format = step[15:14];
  assign code_target = step[18:16];
  assign to_logits = step[19];
  assign from_inner = step[20];
  assign is_add = step[21];

  // Where this session's context and this adapter begin.
  logic [RW-1:0] session_row;
  logic [31:0] slot_word, slot_row;

  always_ff @(posedge clk) begin
    if (go) begin
      session_row <= RW'(session * 32'(LAYERS * CONTEXT));
      slot_word <= adapter * 32'(SLOT_WORDS);
      slot_row <= adapter * 32'(SLOT_ROWS);
    end
  end

  // The masks.
  logic [31:0] code_addr, param_addr, row_addr, gain_addr;
  logic [3*LANES-1:0] code_word;
  logic [6*LANES-1:0] param_word;
  logic [23:0] row_scale, gain_data;
  logic [5:0] exp2_addr;
  logic [49:0] exp2_pair;
  logic [8:0] sigmoid_addr;
  logic [33:0] sigmoid_pair;
  logic [7:0] rsqrt_addr;
  logic [30:0] rsqrt_data;
  logic [23:0] high_addr;
  logic [15:0] low_addr;
  logic [63:0] high_data, low_data;
  logic [95:0] levels;
  logic [46:0] epsilon;
  logic [15:0] score_mantissa;
  logic signed [7:0] score_exponent;

  etch_masks masks (
      .clk, .step_addr, .step_word, .code_addr, .code_word, .param_addr, .param_word, .row_addr,
      .row_scale, .gain_addr, .gain_data, .exp2_addr, .exp2_pair, .sigmoid_addr, .sigmoid_pair,
      .rsqrt_addr, .rsqrt_data, .high_addr, .high_data, .low_addr, .low_data, .levels, .epsilon,
      .score_mantissa, .score_exponent
  );

  // Work memory.
  logic [AW-1:0] a_addr, b_addr, w_addr;
  logic signed [31:0] a_data, b_data, w_data;
  logic w_en;

  etch_work_memory #(
      .DEPTH(WORK_WORDS), .AW(AW)
  ) work (
      .clk, .a_addr, .a_data, .b_addr, .b_data, .w_en, .w_addr, .w_data
  );

  // Embedding.
  logic embed_done, embed_w_en;
  logic [31:0] embed_code_addr, embed_param_addr, embed_row_addr;
  logic [AW-1:0] embed_w_addr;
  logic signed [31:0] embed_w_data;

  etch_embed #(
      .AW(AW), .LANES(LANES)
  ) embed (
      .clk, .rst(reset), .start(starts[1]), .token(32'(token)), .code_base(step_x),
      .param_base(step_y), .row_base(step_z), .n(step_n), .groups(step_groups), .w6(is_w6),
      .dst(step_d), .done(embed_done), .levels, .code_addr(embed_code_addr), .code_word,
      .param_addr(embed_param_addr), .param_word, .row_addr(embed_row_addr), .row_scale,
      .w_en(embed_w_en), .w_addr(embed_w_addr), .w_data(embed_w_data)
  );

  // Norm.
  logic norm_done, norm_w_en;
  logic [AW-1:0] norm_a_addr, norm_w_addr;
  logic signed [31:0] norm_w_data;

  etch_norm #(
      .AW(AW), .GW(32)
  ) norm (
      .clk, .rst(reset), .start(starts[3]), .src(step_a), .dst(step_d), .n(step_n),
      .gain_base(step_x), .epsilon, .done(norm_done), .gain_addr, .gain_data, .rsqrt_addr,
      .rsqrt_data, .a_addr(norm_a_addr), .a_data, .w_en(norm_w_en), .w_addr(norm_w_addr),
      .w_data(norm_w_data)
  );

  // Quantisation, and where its codes go.
  logic quantise_done, code_valid, code_last;
  logic [AW-1:0] quantise_a_addr, quantise_b_addr, code_index;
  logic signed [15:0] code;
  logic [$clog2(QUANTISE_BLOCKS)-1:0] code_block;
  logic [5:0] code_shift, quantise_max_shift, input_max_shift, inner_max_shift;

  etch_quantise #(
      .AW(AW), .HEAD_DIM(HEAD_DIM), .BLOCKS(QUANTISE_BLOCKS)
  ) quantise (
      .clk, .rst(reset), .start(starts[4]), .src(step_a), .src_b(step_b), .n(step_n), .is_product,
      .format(code_format), .per_head(is_per_head), .done(quantise_done), .a_addr(quantise_a_addr),
      .a_data, .b_addr(quantise_b_addr), .b_data, .sigmoid_addr, .sigmoid_pair, .code_valid, .code,
      .code_index, .code_block, .code_shift, .code_last, .max_shift(quantise_max_shift)
  );

  always_ff @(posedge clk) begin
    if (quantise_done && code_target == 3'd0) input_max_shift <= quantise_max_shift;
    if (quantise_done && code_target == 3'd1) inner_max_shift <= quantise_max_shift;
  end

  logic to_input;
  logic [AW-1:0] input_addr, input_base;
  logic [9:0] shift_addr, shift_base;
  logic signed [15:0] input_code;
  logic [5:0] input_shift;

  assign to_input = code_target == 3'd0 || code_target == 3'd1;
  assign input_base = code_target == 3'd1 ? AW'(INPUT_WORDS) : '0;
  assign shift_base = code_target == 3'd1 ? 10'(INPUT_BLOCKS) : '0;

  etch_ram #(
      .WIDTH(16), .DEPTH(CODE_WORDS), .AW($clog2(CODE_WORDS))
  ) input_codes (
      .clk, .w_en(code_valid && to_input),
      .w_addr($clog2(CODE_WORDS)'(input_base + code_index)), .w_data(code),
      .r_addr($clog2(CODE_WORDS)'(input_addr)), .r_data(input_code)
  );

  etch_ram #(
      .WIDTH(6), .DEPTH(CODE_WORDS / 32), .AW($clog2(CODE_WORDS / 32))
  ) input_shifts (
      .clk, .w_en(code_valid && to_input && code_last),
      .w_addr($clog2(CODE_WORDS / 32)'(shift_base + 10'(code_block))), .w_data(code_shift),
      .r_addr($clog2(CODE_WORDS / 32)'(shift_addr)), .r_data(input_shift)
  );

  // The base.
  logic base_done, base_w_en, logit_valid, drain_hold;
  logic [31:0] base_code_addr, base_param_addr, base_row_addr;
  logic [AW-1:0] base_input_addr, base_w_addr, logit_id;
  logic [9:0] base_shift_addr;
  logic signed [31:0] base_w_data, logit;

  etch_base #(
      .AW(AW), .LANES(LANES)
  ) base (
      .clk, .rst(reset), .start(starts[5]), .code_base(step_x), .param_base(step_y),
      .row_base(step_z), .rows(step_n), .groups(step_groups), .w6(is_w6), .a16(is_a16),
      .point32(is_product), .max_shift(input_max_shift), .dst(step_d), .to_logits,
      .done(base_done), .levels, .code_addr(base_code_addr), .code_word,
      .param_addr(base_param_addr), .param_word, .row_addr(base_row_addr), .row_scale,
      .input_addr(base_input_addr), .input_code, .shift_addr(base_shift_addr), .input_shift,
      .w_en(base_w_en), .w_addr(base_w_addr), .w_data(base_w_data), .drain_hold, .logit_valid,
      .logit_id, .logit
  );

  // Adapters.
  logic adapter_done, adapter_w_en;
  logic [AW-1:0] adapter_input_addr, adapter_a_addr, adapter_w_addr;
  logic [9:0] adapter_shift_addr;
  logic signed [31:0] adapter_w_data;

  if (RANK > 0) begin : gen_adapter
    logic [31:0] adapter_code_addr, adapter_row_addr;
    logic [255:0] adapter_word;
    logic [23:0] adapter_scale;
    logic [AW-1:0] unit_input_addr;
    logic [9:0] unit_shift_addr;

    etch_adapter_memory #(
        .WORDS(ADAPTER_WORDS), .ROWS(ADAPTER_ROWS)
    ) memory (
        .clk, .w_en(load_valid && load_target), .w_addr(load_address), .w_data(load_data),
        .code_addr(adapter_code_addr), .code_word(adapter_word), .row_addr(adapter_row_addr),
        .row_scale(adapter_scale)
    );

    etch_adapter #(
        .AW(AW)
    ) unit (
        .clk, .rst(reset), .start(starts[6]), .code_base(slot_word + step_x),
        .row_base(slot_row + step_z), .rows(step_n), .groups(step_groups), .a16(is_a16),
        .point32(is_product), .max_shift(from_inner ? inner_max_shift : input_max_shift),
        .dst(step_d), .add(is_add), .weight(adapter_weight), .done(adapter_done),
        .code_addr(adapter_code_addr), .code_word(adapter_word), .row_addr(adapter_row_addr),
        .row_scale(adapter_scale), .input_addr(unit_input_addr), .input_code,
        .shift_addr(unit_shift_addr), .input_shift, .a_addr(adapter_a_addr), .a_data,
        .w_en(adapter_w_en), .w_addr(adapter_w_addr), .w_data(adapter_w_data)
    );

    // While it works, the base does not read.
    logic working;
    always_ff @(posedge clk) begin
      if (starts[6]) working <= 1'b1;
      else if (adapter_done || reset) working <= 1'b0;
    end
    assign adapter_input_addr =
        working ? unit_input_addr + (from_inner ? AW'(INPUT_WORDS) : '0) : '0;
    assign adapter_shift_addr =
        working ? unit_shift_addr + (from_inner ? 10'(INPUT_BLOCKS) : '0) : '0;
  end else begin : gen_no_adapter
    assign adapter_done = 1'b0;
    assign adapter_w_en = 1'b0;
    assign adapter_input_addr = '0;
    assign adapter_a_addr = '0;
    assign adapter_w_addr = '0;
    assign adapter_shift_addr = '0;
    assign adapter_w_data = '0;
    logic unused_without_adapter;
    assign unused_without_adapter = &{1'b0, adapter_weight, load_address, load_data, load_target,
                                      from_inner, is_add, slot_word, slot_row, inner_max_shift};
  end

  // Rotation.
  logic rope_done, rope_w_en;
  logic [AW-1:0] rope_a_addr, rope_b_addr, rope_w_addr;
  logic signed [31:0] rope_w_data;

  etch_rope #(
      .AW(AW), .HEAD_DIM(HEAD_DIM), .HW(24), .LW(16)
  ) rope (
      .clk, .rst(reset), .start_angles(starts[2]), .position(17'(position_now)), .start(starts[7]),
      .src(step_a), .heads(step_n), .done(rope_done), .high_addr, .high_data, .low_addr, .low_data,
      .a_addr(rope_a_addr), .a_data, .b_addr(rope_b_addr), .b_data, .w_en(rope_w_en),
      .w_addr(rope_w_addr), .w_data(rope_w_data)
  );

  // Attention.
  logic attention_done, attention_w_en;
  logic [AW-1:0] attention_w_addr;
  logic signed [31:0] attention_w_data;
  logic [5:0] attention_exp2_addr, sampler_exp2_addr;
  logic [RW-1:0] layer_row;

  assign layer_row = session_row + RW'(step_x);

  etch_attention #(
      .AW(AW), .N_HEADS(N_HEADS), .N_KV_HEADS(N_KV_HEADS), .HEAD_DIM(HEAD_DIM), .ROWS(ROWS),
      .RW(RW), .CONTEXT(CONTEXT)
  ) attention (
      .clk, .rst(reset), .load_valid(code_valid && !to_input), .load_kind(2'(code_target - 3'd2)),
      .load_code(code), .load_index(code_index), .load_last(code_last), .load_shift(code_shift),
      .load_row(layer_row + RW'(position_now)), .start(starts[8]), .row_base(layer_row),
      .position(17'(position_now)), .dst(step_d), .scale_mantissa(score_mantissa),
      .scale_exponent(score_exponent), .done(attention_done), .exp2_addr(attention_exp2_addr),
      .exp2_pair, .w_en(attention_w_en), .w_addr(attention_w_addr), .w_data(attention_w_data)
  );

  // Residual stream.
  logic residual_done, residual_w_en;
  logic [AW-1:0] residual_a_addr, residual_b_addr, residual_w_addr;
  logic signed [31:0] residual_w_data;

  etch_residual #(
      .AW(AW)
  ) residual (
      .clk, .rst(reset), .start(starts[9]), .src(step_a), .src_b(step_b), .n(step_n),
      .done(residual_done), .a_addr(residual_a_addr), .a_data, .b_addr(residual_b_addr), .b_data,
      .w_en(residual_w_en), .w_addr(residual_w_addr), .w_data(residual_w_data)
  );

  // Sampler.
  logic sampler_done;

  etch_sampler #(
      .ID_BITS(ID_BITS)
  ) sampler (
      .clk, .rst(reset), .clear(starts[1]), .logit_valid, .logit, .logit_id(ID_BITS'(logit_id)),
      .start(starts[10]), .inverse_temperature, .top_k, .top_p, .min_p, .seed,
      .step(first_step + 64'(n_generated)), .stream, .done(sampler_done), .token(sampled),
      .exp2_addr(sampler_exp2_addr), .exp2_pair
  );

  // Results: logits as they come, then the token. The base gives no more logits than the queue, which
  // holds what is already on its way, can take.
  localparam int QUEUE = 16;
  logic [32:0] queue[0:QUEUE-1];
  logic [3:0] queue_in, queue_out;
  logic [4:0] queued;
  logic take_logit, take_token, give;

  assign take_logit = logit_valid && send_logits;
  assign token_ready = queued < 5'd15 && !take_logit;
  assign take_token = token_valid && token_ready;
  assign give = result_valid && result_ready;
  assign drain_hold = to_logits && send_logits && queued > 5'd8;
  assign result_valid = queued != 5'd0;
  assign result_is_logit = queue[queue_out][32];
  assign result_data = queue[queue_out][31:0];
  assign result_last = !result_is_logit;

  always_ff @(posedge clk) begin
    if (take_logit) queue[queue_in] <= {1'b1, logit};
    else if (take_token) queue[queue_in] <= {1'b0, 32'(sampled)};
    if (take_logit || take_token) queue_in <= queue_in + 4'd1;
    if (give) queue_out <= queue_out + 4'd1;
    queued <= queued + 5'(take_logit || take_token) - 5'(give);
    if (reset) begin
      queue_in <= '0;
      queue_out <= '0;
      queued <= '0;
    end
  end

  // Bits that no step and no address of this shape has.
  logic unused;
  assign unused = &{1'b0, position, prompt_length, prompt_addr, step, starts, input_addr, shift_addr,
                    logit_id};

  // What units say to what they share.
  always_comb begin
    unit_done = embed_done || norm_done || quantise_done || base_done || adapter_done || rope_done ||
        attention_done || residual_done || sampler_done;
    a_addr = norm_a_addr | quantise_a_addr | adapter_a_addr | rope_a_addr | residual_a_addr;
    b_addr = quantise_b_addr | rope_b_addr | residual_b_addr;
    w_en = embed_w_en || norm_w_en || base_w_en || adapter_w_en || rope_w_en || attention_w_en ||
        residual_w_en;
    w_addr = embed_w_addr | norm_w_addr | base_w_addr | adapter_w_addr | rope_w_addr |
        attention_w_addr | residual_w_addr;
    w_data = embed_w_data | norm_w_data | base_w_data | adapter_w_data | rope_w_data |
        attention_w_data | residual_w_data;
    code_addr = embed_code_addr | base_code_addr;
    param_addr = embed_param_addr | base_param_addr;
    row_addr = embed_row_addr | base_row_addr;
    input_addr = base_input_addr | adapter_input_addr;
    shift_addr = base_shift_addr | adapter_shift_addr;
    exp2_addr = attention_exp2_addr | sampler_exp2_addr;
  end
endmodule
