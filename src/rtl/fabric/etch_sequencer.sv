// The order of work: for each token of the prompt and then each token that is generated, the steps of
// the program, one unit at a time. The program is mask data (the wiring of the layers); a step is
// 256 bits:
//
//   [4:0] operation      [8] only with an adapter     [9] only where a token is wanted
//   [10] W6   [11] A16   [12] product / point 32      [13] head by head   [15:14] format of codes
//   [18:16] destination of codes: 0 input, 1 adapter input, 2 queries, 3 keys, 4 values
//   [19] results are logits   [20] from the adapter's input   [21] add to what is there
//   [51:32] a   [71:52] b   [91:72] d   [111:92] n   [121:112] groups
//   [159:128] x   [191:160] y   [223:192] z
//
// A step takes 3 cycles more than its unit, a step that is left out 3, the end of the program 3; a
// token 3 more, and one for each token that is handed out.
module etch_sequencer #(
    parameter int ID_BITS = 20,
    parameter int PC_BITS = 12,
    parameter int CONTEXT_BITS = 17
) (
    input  logic                  clk,
    input  logic                  rst,
    input  logic                  go,
    input  logic [CONTEXT_BITS:0] position,
    input  logic [CONTEXT_BITS:0] prompt_length,
    input  logic [31:0]           max_tokens,
    input  logic                  use_adapter,
    input  logic [31:0]           end_token,
    output logic                  busy,
    output logic                  finished,
    output logic [CONTEXT_BITS:0] position_now,
    output logic [31:0]           n_generated,
    output logic [CONTEXT_BITS:0] prompt_addr,
    input  logic [ID_BITS-1:0]    prompt_token,
    output logic [ID_BITS-1:0]    token,
    output logic [PC_BITS-1:0]    step_addr,
    input  logic [255:0]          step_word,
    output logic [255:0]          step,
    output logic [15:0]           starts,  // of the operation's unit
    input  logic                  unit_done,
    input  logic [ID_BITS-1:0]    sampled,
    output logic                  result_valid,
    input  logic                  result_ready
);
  localparam logic [3:0] IDLE = 4'd0, LOAD = 4'd1, TAKE = 4'd2, FETCH = 4'd3, DECODE = 4'd4,
      RUN = 4'd5, WAIT = 4'd6, NEXT = 4'd7, GIVE = 4'd8;

  logic [3:0] state;
  logic [CONTEXT_BITS:0] index;  // of the token in prompt and answer
  logic wanted;                  // the token behind this one
  logic leave_out, is_end, result_last;

  always_comb begin
    leave_out = (step[8] && !use_adapter) || (step[9] && !wanted);
    is_end = step[4:0] == 5'd0;
    prompt_addr = index;
    starts = '0;
    if (state == RUN && !leave_out && !is_end) starts[step[3:0]] = 1'b1;
    result_valid = state == GIVE;
    result_last = 32'(sampled) == end_token || n_generated + 32'd1 == max_tokens;
    busy = state != IDLE;
  end

  always_ff @(posedge clk) begin
    finished <= 1'b0;
    case (state)
      IDLE:
        if (go) begin
          index <= '0;
          position_now <= position;
          n_generated <= '0;
          state <= LOAD;
        end
      LOAD: state <= TAKE;
      TAKE: begin
        token <= index < prompt_length ? prompt_token : sampled;
        wanted <= index + 1'b1 >= prompt_length && max_tokens != 32'd0;
        step_addr <= '0;
        state <= FETCH;
      end
      FETCH: state <= DECODE;
      DECODE: begin
        step <= step_word;
        step_addr <= step_addr + 1'b1;
        state <= RUN;
      end
      RUN: state <= is_end ? NEXT : leave_out ? FETCH : WAIT;
      WAIT: if (unit_done) state <= FETCH;
      NEXT: begin
        index <= index + 1'b1;
        position_now <= position_now + 1'b1;
        if (wanted) state <= GIVE;
        else if (index + 1'b1 == prompt_length) begin
          finished <= 1'b1;
          state <= IDLE;
        end else state <= LOAD;
      end
      GIVE:
        if (result_ready) begin
          n_generated <= n_generated + 32'd1;
          if (result_last) begin
            finished <= 1'b1;
            state <= IDLE;
          end else state <= LOAD;
        end
      default: state <= IDLE;
    endcase
    if (rst) begin
      state <= IDLE;
      finished <= 1'b0;
      position_now <= '0;
      n_generated <= '0;
    end
  end
endmodule
