// The host's port: registers over AXI4-Lite, a stream of data to the chip and one of results
// (docs/chip.md, "Host port").
//
// A write waits until the word last taken from the stream has gone to its memory, and the stream
// waits for the write: both take effect in the order in which the host sees them accepted.
// A run lasts from the cycle of `go` to the one with `finished` or `abort_run`; CYCLES is the
// distance of the two.
module etch_host #(
    parameter int VERSION = 1,
    parameter int DIM = 64,
    parameter int LAYERS = 2,
    parameter int HEADS = 4,
    parameter int KV_HEADS = 2,
    parameter int VOCABULARY = 256,
    parameter int CONTEXT = 128,
    parameter int LANES = 16,
    parameter int SESSIONS = 1,
    parameter int ADAPTER_SLOTS = 1,
    parameter int ADAPTER_WORDS = 1024,    // of all slots
    parameter int PROMPT_WORDS = CONTEXT,
    parameter int DEPTH = 4                // results that wait for the host
) (
    input  logic               clk,
    input  logic               rst,
    // AXI4-Lite.
    input  logic               awvalid,
    output logic               awready,
    input  logic [11:0]        awaddr,
    input  logic               wvalid,
    output logic               wready,
    input  logic [31:0]        wdata,
    input  logic [3:0]         wstrb,
    output logic               bvalid,
    input  logic               bready,
    output logic [1:0]         bresp,
    input  logic               arvalid,
    output logic               arready,
    input  logic [11:0]        araddr,
    output logic               rvalid,
    input  logic               rready,
    output logic [31:0]        rdata,
    output logic [1:0]         rresp,
    // AXI4-Stream: data to the chip. Bursts mean nothing to it.
    input  logic               s_tvalid,
    output logic               s_tready,
    input  logic [31:0]        s_tdata,
    input  logic               s_tlast,
    // AXI4-Stream: results. m_tuser: 0 a token, 1 a logit.
    output logic               m_tvalid,
    input  logic               m_tready,
    output logic [31:0]        m_tdata,
    output logic [0:0]         m_tuser,
    output logic               m_tlast,
    // The chip.
    output logic               go,
    output logic               abort_run,
    input  logic               busy,
    input  logic               finished,
    input  logic [31:0]        position_next,
    output logic [31:0]        session,
    output logic [31:0]        position,
    output logic [31:0]        prompt_length,
    output logic [31:0]        max_tokens,
    output logic               send_logits,
    output logic               use_adapter,
    output logic [31:0]        adapter,
    output logic signed [31:0] adapter_weight,
    output logic [31:0]        end_token,
    output logic [23:0]        inverse_temperature,
    output logic [3:0]         top_k,
    output logic [16:0]        top_p,
    output logic [16:0]        min_p,
    output logic [63:0]        seed,
    output logic [63:0]        step,
    output logic [31:0]        stream,
    input  logic               result_valid,
    output logic               result_ready,
    input  logic [31:0]        result_data,
    input  logic               result_is_logit,
    input  logic               result_last,
    output logic               load_valid,
    input  logic               load_ready,
    output logic               load_target,
    output logic [31:0]        load_address,
    output logic [31:0]        load_data
);
  localparam logic [11:0] ID = 12'h000;
  localparam logic [11:0] VERSION_REGISTER = 12'h004;
  localparam logic [11:0] CONTROL = 12'h008;
  localparam logic [11:0] STATUS = 12'h00c;
  localparam logic [11:0] ERROR = 12'h010;
  localparam logic [11:0] SESSION = 12'h020;
  localparam logic [11:0] POSITION = 12'h024;
  localparam logic [11:0] PROMPT_LENGTH = 12'h028;
  localparam logic [11:0] MAX_TOKENS = 12'h02c;
  localparam logic [11:0] FLAGS = 12'h030;
  localparam logic [11:0] ADAPTER = 12'h034;
  localparam logic [11:0] ADAPTER_WEIGHT = 12'h038;
  localparam logic [11:0] END_TOKEN = 12'h03c;
  localparam logic [11:0] INVERSE_TEMPERATURE = 12'h040;
  localparam logic [11:0] TOP_K = 12'h044;
  localparam logic [11:0] TOP_P = 12'h048;
  localparam logic [11:0] MIN_P = 12'h04c;
  localparam logic [11:0] SEED_LOW = 12'h050;
  localparam logic [11:0] SEED_HIGH = 12'h054;
  localparam logic [11:0] STEP_LOW = 12'h058;
  localparam logic [11:0] STEP_HIGH = 12'h05c;
  localparam logic [11:0] STREAM = 12'h060;
  localparam logic [11:0] LOAD_TARGET = 12'h070;
  localparam logic [11:0] LOAD_ADDRESS = 12'h074;
  localparam logic [11:0] CYCLES_LOW = 12'h080;
  localparam logic [11:0] CYCLES_HIGH = 12'h084;
  localparam logic [11:0] TOKENS = 12'h088;
  localparam logic [11:0] POSITION_NEXT = 12'h08c;
  localparam logic [11:0] SHAPE = 12'h090;  // ten registers

  localparam logic [3:0] NONE = 4'd0;
  localparam logic [3:0] START_WHILE_BUSY = 4'd1;
  localparam logic [3:0] WRITE_WHILE_BUSY = 4'd2;
  localparam logic [3:0] NO_SUCH_REGISTER = 4'd3;
  localparam logic [3:0] BAD_PROMPT = 4'd4;
  localparam logic [3:0] BAD_POSITION = 4'd5;
  localparam logic [3:0] BAD_ADAPTER = 4'd6;
  localparam logic [3:0] BAD_ADAPTER_ADDRESS = 4'd7;
  localparam logic [3:0] BAD_SAMPLING = 4'd8;
  localparam logic [3:0] BAD_SESSION = 4'd9;

  localparam logic [1:0] OKAY = 2'b00;
  localparam logic [1:0] SLVERR = 2'b10;

  logic unused_tlast;
  assign unused_tlast = s_tlast;

  // Registers wider than the chip's settings, so that a start can refuse what does not fit.
  logic [31:0] inverse_temperature_register, top_k_register, top_p_register, min_p_register;
  logic [31:0] load_target_register, load_address_register;
  logic [3:0]  error;
  logic [63:0] cycles;
  logic [31:0] tokens;
  logic        running, working;
  logic        stale;  // a result of an aborted run is offered and must not be taken back
  logic        take;  // a word comes from the stream
  logic [3:0]  take_error;

  assign inverse_temperature = inverse_temperature_register[23:0];
  assign top_k = top_k_register[3:0];
  assign top_p = top_p_register[16:0];
  assign min_p = min_p_register[16:0];
  assign working = running || busy || stale;

  // Writes: address and data are held until both are there.
  logic        has_address, has_data, write;
  logic [11:0] address;
  logic [31:0] data;
  logic [3:0]  strobes;
  logic        asks_start, asks_stop, asks_clear;
  logic        known, refused, start, stop, clear_error;
  logic [3:0]  write_error, start_error;

  assign {asks_clear, asks_stop, asks_start} = data[2:0];
  assign awready = !has_address;
  assign wready = !has_data;
  assign write = has_address && has_data && !bvalid && !load_valid;

  // What a start asks for, against the shape.
  logic [33:0] end_of_run;
  always_comb begin
    // The last token generated takes no position. A run without any still takes its prompt's.
    end_of_run = 34'(position) + 34'(prompt_length) +
                 (max_tokens == '0 ? 34'd0 : 34'(max_tokens) - 34'd1);
    start_error = NONE;
    if (write) begin
      if (working) start_error = START_WHILE_BUSY;
      else if (session >= 32'(SESSIONS)) start_error = BAD_SESSION;
      else if (prompt_length == '0 || prompt_length > 32'(CONTEXT)) start_error = BAD_PROMPT;
      else if (end_of_run > 34'(CONTEXT)) start_error = BAD_POSITION;
      else if (use_adapter && 33'(adapter) + 33'd1 > 33'(ADAPTER_SLOTS)) start_error = BAD_ADAPTER;
      else if (top_k_register == '0 || top_k_register > 32'd8 || top_p_register == '0 ||
               top_p_register > 32'd65536 || min_p_register > 32'd65535 ||
               inverse_temperature_register >= 32'h1000000)
        start_error = BAD_SAMPLING;
    end
  end

  always_comb begin
    case (address)
      CONTROL, SESSION, POSITION, PROMPT_LENGTH, MAX_TOKENS, FLAGS, ADAPTER, ADAPTER_WEIGHT,
      END_TOKEN, INVERSE_TEMPERATURE, TOP_K, TOP_P, MIN_P, SEED_LOW, SEED_HIGH, STEP_LOW, STEP_HIGH,
      STREAM, LOAD_TARGET, LOAD_ADDRESS:
      known = 1'b1;
      default: known = 1'b0;
    endcase
    start = 1'b0;
    stop = 1'b0;
    clear_error = 1'b0;
    write_error = NONE;
    if (!known) begin
      write_error = NO_SUCH_REGISTER;
    end else if (strobes == 4'hf) begin
      if (address == CONTROL) begin
        stop = write && asks_stop;
        clear_error = write && asks_clear;
        start = write && asks_start && !asks_stop && start_error == NONE;
        if (asks_start && !asks_stop) write_error = start_error;
      end else if (working) begin
        write_error = WRITE_WHILE_BUSY;
      end
    end
    refused = write_error != NONE || strobes != 4'hf;
  end

  always_ff @(posedge clk) begin
    if (awvalid && awready) begin
      has_address <= 1'b1;
      address <= awaddr;
    end
    if (wvalid && wready) begin
      has_data <= 1'b1;
      data <= wdata;
      strobes <= wstrb;
    end
    if (bvalid && bready) bvalid <= 1'b0;
    if (write) begin
      has_address <= 1'b0;
      has_data <= 1'b0;
      bvalid <= 1'b1;
      bresp <= refused ? SLVERR : OKAY;
      if (!refused) begin
        case (address)
          SESSION: session <= data;
          POSITION: position <= data;
          PROMPT_LENGTH: prompt_length <= data;
          MAX_TOKENS: max_tokens <= data;
          FLAGS: {use_adapter, send_logits} <= data[1:0];
          ADAPTER: adapter <= data;
          ADAPTER_WEIGHT: adapter_weight <= data;
          END_TOKEN: end_token <= data;
          INVERSE_TEMPERATURE: inverse_temperature_register <= data;
          TOP_K: top_k_register <= data;
          TOP_P: top_p_register <= data;
          MIN_P: min_p_register <= data;
          SEED_LOW: seed[31:0] <= data;
          SEED_HIGH: seed[63:32] <= data;
          STEP_LOW: step[31:0] <= data;
          STEP_HIGH: step[63:32] <= data;
          STREAM: stream <= data;
          LOAD_TARGET: load_target_register <= data;
          LOAD_ADDRESS: load_address_register <= data;
          default: ;
        endcase
      end
    end
    if (take) load_address_register <= load_address_register + 32'd1;
    if (rst) begin
      has_address <= 1'b0;
      has_data <= 1'b0;
      bvalid <= 1'b0;
      session <= '0;
      position <= '0;
      prompt_length <= '0;
      max_tokens <= '0;
      {use_adapter, send_logits} <= '0;
      adapter <= '0;
      adapter_weight <= 32'd65536;
      end_token <= '1;
      inverse_temperature_register <= '0;
      top_k_register <= 32'd1;
      top_p_register <= 32'd65536;
      min_p_register <= '0;
      seed <= '0;
      step <= '0;
      stream <= '0;
      load_target_register <= '0;
      load_address_register <= '0;
    end
  end

  // Reads.
  logic        read, readable;
  logic [31:0] value;
  logic [31:0] seed_low, seed_high, step_low, step_high, cycles_low, cycles_high;

  assign {seed_high, seed_low} = seed;
  assign {step_high, step_low} = step;
  assign {cycles_high, cycles_low} = cycles;
  assign arready = !rvalid;
  assign read = arvalid && arready;

  always_comb begin
    readable = 1'b1;
    value = '0;
    if (read) begin
      case (araddr)
        ID: value = 32'h45544348;
        VERSION_REGISTER: value = 32'(VERSION);
        CONTROL: value = '0;
        STATUS: value = {29'd0, stale || (result_valid && !result_ready), error != NONE, working};
        ERROR: value = 32'(error);
        SESSION: value = session;
        POSITION: value = position;
        PROMPT_LENGTH: value = prompt_length;
        MAX_TOKENS: value = max_tokens;
        FLAGS: value = {30'd0, use_adapter, send_logits};
        ADAPTER: value = adapter;
        ADAPTER_WEIGHT: value = adapter_weight;
        END_TOKEN: value = end_token;
        INVERSE_TEMPERATURE: value = inverse_temperature_register;
        TOP_K: value = top_k_register;
        TOP_P: value = top_p_register;
        MIN_P: value = min_p_register;
        SEED_LOW: value = seed_low;
        SEED_HIGH: value = seed_high;
        STEP_LOW: value = step_low;
        STEP_HIGH: value = step_high;
        STREAM: value = stream;
        LOAD_TARGET: value = load_target_register;
        LOAD_ADDRESS: value = load_address_register;
        CYCLES_LOW: value = cycles_low;
        CYCLES_HIGH: value = cycles_high;
        TOKENS: value = tokens;
        POSITION_NEXT: value = position_next;
        SHAPE: value = 32'(DIM);
        SHAPE + 12'h004: value = 32'(LAYERS);
        SHAPE + 12'h008: value = 32'(HEADS);
        SHAPE + 12'h00c: value = 32'(KV_HEADS);
        SHAPE + 12'h010: value = 32'(VOCABULARY);
        SHAPE + 12'h014: value = 32'(CONTEXT);
        SHAPE + 12'h018: value = 32'(LANES);
        SHAPE + 12'h01c: value = 32'(SESSIONS);
        SHAPE + 12'h020: value = 32'(ADAPTER_SLOTS);
        SHAPE + 12'h024: value = 32'(ADAPTER_WORDS);
        default: readable = 1'b0;
      endcase
    end
  end

  always_ff @(posedge clk) begin
    if (rvalid && rready) rvalid <= 1'b0;
    if (read) begin
      rvalid <= 1'b1;
      rdata <= value;
      rresp <= readable ? OKAY : SLVERR;
    end
    if (rst) rvalid <= 1'b0;
  end

  // Data to the chip.
  assign s_tready = !working && !(has_address && has_data) && (!load_valid || load_ready);
  assign take = s_tvalid && s_tready;

  always_comb begin
    take_error = NONE;
    if (load_target_register == '0) begin
      if (load_address_register >= 32'(PROMPT_WORDS) || s_tdata >= 32'(VOCABULARY))
        take_error = BAD_PROMPT;
    end else if (load_target_register != 32'd1 ||
                 33'(load_address_register) + 33'd1 > 33'(ADAPTER_WORDS)) begin
      take_error = BAD_ADAPTER_ADDRESS;
    end
  end

  always_ff @(posedge clk) begin
    if (load_ready) load_valid <= 1'b0;
    if (take) begin
      load_valid <= take_error == NONE;
      load_target <= load_target_register[0];
      load_address <= load_address_register;
      load_data <= s_tdata;
    end
    if (rst) load_valid <= 1'b0;
  end

  // The run, and the first error.
  always_ff @(posedge clk) begin
    go <= start;
    abort_run <= stop;
    if (finished || abort_run) running <= 1'b0;
    if (go) cycles <= '0;
    else if (running) cycles <= cycles + 64'd1;
    if (go) tokens <= '0;
    else if (result_valid && result_ready && !result_is_logit) tokens <= tokens + 32'd1;
    if (start) running <= 1'b1;
    if (clear_error) error <= NONE;
    if (error == NONE || clear_error) begin
      if (write && write_error != NONE) error <= write_error;
      else if (take && take_error != NONE) error <= take_error;
      else if (read && !readable) error <= NO_SUCH_REGISTER;
    end
    if (rst) begin
      go <= 1'b0;
      abort_run <= 1'b0;
      running <= 1'b0;
      cycles <= '0;
      tokens <= '0;
      error <= NONE;
    end
  end

  // Results: a ring of DEPTH words. An abort leaves only what the stream offers.
  localparam int PW = DEPTH > 1 ? $clog2(DEPTH) : 1;
  localparam int CW = $clog2(DEPTH + 1);

  logic [33:0]   results[0:DEPTH-1];
  logic [PW-1:0] first, second, next;
  logic [CW-1:0] waiting;
  logic          put, got, stays;

  assign result_ready = waiting != CW'(DEPTH);
  assign m_tvalid = waiting != '0;
  assign {m_tlast, m_tuser, m_tdata} = results[first];
  assign put = result_valid && result_ready;
  assign got = m_tvalid && m_tready;
  assign stays = m_tvalid && !m_tready;
  assign second = first == PW'(DEPTH - 1) ? '0 : first + 1'b1;

  always_ff @(posedge clk) begin
    if (put) begin
      results[next] <= {result_last, result_is_logit, result_data};
      next <= next == PW'(DEPTH - 1) ? '0 : next + 1'b1;
    end
    if (got) first <= second;
    if (put != got) waiting <= put ? waiting + 1'b1 : waiting - 1'b1;
    if (got) stale <= 1'b0;
    if (abort_run) begin
      if (!stays) first <= second;
      next <= second;
      waiting <= CW'(stays);
      stale <= stays;
    end
    if (rst) begin
      stale <= 1'b0;
      first <= '0;
      next <= '0;
      waiting <= '0;
    end
  end
endmodule
