// Block quantisation of a vector or of SwiGLU products (contract, sections 4 and 10), in two passes
// over its n channels: the shift of every block, the codes.
//
// cycles = n + codes + 13, where codes is n with per_head and ceil(n/32) * 32 without
module etch_quantise #(
    parameter int AW = 12,
    parameter int HEAD_DIM = 64,
    // Blocks of the longest vector, two or more.
    parameter int BLOCKS = 896
) (
    input  logic                      clk,
    input  logic                      rst,
    input  logic                      start,
    input  logic [AW-1:0]             src,
    input  logic [AW-1:0]             src_b,
    input  logic                      is_product,
    input  logic [AW-1:0]             n,
    input  logic [1:0]                format,
    input  logic                      per_head,
    output logic                      done,
    output logic [AW-1:0]             a_addr,
    input  logic signed [31:0]        a_data,
    output logic [AW-1:0]             b_addr,
    input  logic signed [31:0]        b_data,
    output logic [8:0]                sigmoid_addr,
    input  logic [33:0]               sigmoid_pair,
    output logic                      code_valid,
    output logic signed [15:0]        code,
    output logic [AW-1:0]             code_index,
    output logic [$clog2(BLOCKS)-1:0] code_block,
    output logic [5:0]                code_shift,
    output logic                      code_last,
    output logic [5:0]                max_shift
);
  `include "etch_math.svh"

  localparam int BW = $clog2(BLOCKS);
  localparam int HW = $clog2(HEAD_DIM) + 1;
  localparam logic [HW-1:0] HEAD_END = HW'(HEAD_DIM - 1);

  // t(j) + round((t(j+1) - t(j)) * fraction / 2^12).
  function automatic logic [16:0] interpolated(
      input logic [33:0] pair, input logic [11:0] fraction);
    logic signed [30:0] product;
    product = ($signed({14'd0, pair[33:17]}) - $signed({14'd0, pair[16:0]})) *
        $signed({19'd0, fraction});
    interpolated = pair[16:0] + 17'((product + 31'sd2048) >>> 12);
  endfunction

  // round(gate * sigmoid / 2^16).
  function automatic logic signed [31:0] activated(
      input logic signed [31:0] gate, input logic [16:0] sigmoid);
    activated = 32'((64'(gate) * $signed({47'd0, sigmoid}) + 64'sd32768) >>> 16);
  endfunction

  // max(0, bits(value) - bits(limit)), which is a block's shift or one less.
  function automatic logic [5:0] least_shift(
      input logic [63:0] value, input logic [6:0] limit_bits);
    logic [6:0] width;
    width = bit_width(value);
    least_shift = width > limit_bits ? 6'(width - limit_bits) : 6'd0;
  endfunction

  logic [63:0] limit;
  logic [6:0] limit_bits;
  assign limit = format == 2'd0 ? 64'd127 : format == 2'd1 ? 64'd32639 : 64'd8191;
  assign limit_bits = format == 2'd0 ? 7'd7 : format == 2'd1 ? 7'd15 : 7'd13;

  // The element whose address is out; in pass two elements from n on are padding.
  logic second;
  logic reading;
  logic [AW-1:0] index;
  logic [HW-1:0] head_index;
  logic [4:0] block_index;
  logic [AW-1:0] last_index;
  logic last_of_vector;
  logic last_of_head;
  logic last_of_block;
  logic padding;
  assign last_index = second && !per_head ? AW'(n - 1'b1) | AW'(31) : n - 1'b1;
  assign last_of_vector = index == last_index;
  assign last_of_head = per_head && head_index == HEAD_END;
  assign last_of_block = block_index == 5'd31 || last_of_head || last_of_vector;
  assign a_addr = reading && !padding ? src + index : '0;
  assign b_addr = reading && !padding && is_product ? src_b + index : '0;

  // Bit i of these: of the element whose address was out i cycles ago.
  logic [6:1] live;
  logic [6:1] vector_end;
  logic [6:1] block_end;
  logic [5:1] padded;

  // Cycle 1: the words are here. Cycle 2: the pair of the sigmoid table.
  logic is_low;
  logic is_high;
  logic is_inside;
  assign is_low = a_data <= -32'sd1048576;
  assign is_high = a_data >= 32'sd1048576;
  assign is_inside = live[1] && is_product && !is_low && !is_high;
  assign sigmoid_addr = is_inside ? {~a_data[20], a_data[19:12]} : '0;

  logic signed [31:0] gate_2;
  logic signed [31:0] up_2;
  logic is_high_2;
  logic is_inside_2;
  logic signed [31:0] gate_3;
  logic signed [31:0] up_3;
  logic [16:0] sigmoid_3;
  logic signed [31:0] gate_4;
  logic signed [31:0] up_4;
  logic signed [63:0] value_5;
  logic [63:0] magnitude_6;

  // Pass one, end of a block: the largest magnitude, the shift less one perhaps, the shift.
  logic [63:0] largest;
  logic largest_is_new;
  logic [9:7] ended;
  logic [63:0] largest_8;
  logic [5:0] shift_8;
  logic [5:0] shift_9;
  logic [BW-1:0] w_block;

  // Pass two: the shift of the block.
  logic [BW-1:0] r_block;
  logic [5:0] stored_4;
  logic [5:0] floor_4;
  logic [5:0] shift_5;
  assign floor_4 = max_shift > 6'd15 ? max_shift - 6'd15 : 6'd0;

  etch_ram #(
      .WIDTH(6),
      .DEPTH(BLOCKS),
      .AW(BW)
  ) shifts (
      .clk(clk),
      .w_en(ended[9]),
      .w_addr(w_block),
      .w_data(shift_9),
      .r_addr(r_block),
      .r_data(stored_4)
  );

  // What comes out.
  logic [AW-1:0] out_index;
  logic [BW-1:0] out_block;
  logic signed [15:0] code_6;
  logic [5:0] shift_6;
  assign code_valid = live[6] && second;
  assign code = code_valid ? code_6 : '0;
  assign code_index = code_valid ? out_index : '0;
  assign code_block = code_valid ? out_block : '0;
  assign code_shift = code_valid ? shift_6 : '0;
  assign code_last = code_valid && block_end[6];

  always_ff @(posedge clk) begin
    live <= {live[5:1], reading};
    vector_end <= {vector_end[5:1], reading && last_of_vector};
    block_end <= {block_end[5:1], reading && last_of_block};
    padded <= {padded[4:1], padding};
    ended <= {ended[8:7], block_end[6] && !second};
    done <= vector_end[6] && second;

    if (start) begin
      second <= 1'b0;
      reading <= 1'b1;
      index <= '0;
      head_index <= '0;
      block_index <= '0;
      padding <= 1'b0;
      largest_is_new <= 1'b1;
      w_block <= '0;
      r_block <= '0;
      out_index <= '0;
      out_block <= '0;
      max_shift <= '0;
    end else if (reading) begin
      index <= index + 1'b1;
      head_index <= last_of_head ? '0 : head_index + 1'b1;
      block_index <= last_of_block ? '0 : block_index + 1'b1;
      padding <= padding || index + 1'b1 == n;
      if (last_of_vector) reading <= 1'b0;
    end else if (vector_end[6] && !second) begin
      second <= 1'b1;
      reading <= 1'b1;
      index <= '0;
      head_index <= '0;
      block_index <= '0;
      padding <= 1'b0;
    end

    // Both passes: the value.
    if (live[1]) begin
      gate_2 <= a_data;
      up_2 <= b_data;
      is_high_2 <= is_high;
      is_inside_2 <= is_inside;
    end
    if (live[2]) begin
      gate_3 <= gate_2;
      up_3 <= up_2;
      if (is_product) begin
        sigmoid_3 <= is_inside_2 ? interpolated(sigmoid_pair, gate_2[11:0]) :
            is_high_2 ? 17'd65536 : 17'd0;
      end
    end
    if (live[3]) begin
      gate_4 <= is_product ? activated(gate_3, sigmoid_3) : gate_3;
      up_4 <= up_3;
    end
    if (live[4]) value_5 <= is_product ? 64'(gate_4) * 64'(up_4) : 64'(gate_4);

    // Pass one.
    if (live[5] && !second) magnitude_6 <= value_5[63] ? 64'd0 - value_5 : value_5;
    if (live[6] && !second) begin
      if (largest_is_new || magnitude_6 > largest) largest <= magnitude_6;
      largest_is_new <= block_end[6];
    end
    if (ended[7]) begin
      largest_8 <= largest;
      shift_8 <= least_shift(largest, limit_bits);
    end
    if (ended[8]) begin
      shift_9 <= $unsigned(round_shift(largest_8, shift_8)) > limit ? shift_8 + 1'b1 : shift_8;
    end
    if (ended[9]) begin
      w_block <= w_block + 1'b1;
      if (!per_head && shift_9 > max_shift) max_shift <= shift_9;
    end

    // Pass two.
    if (second) begin
      if (live[3] && block_end[3]) r_block <= r_block + 1'b1;
      if (live[4]) shift_5 <= stored_4 > floor_4 ? stored_4 : floor_4;
      if (live[5]) begin
        code_6 <= padded[5] ? 16'sd0 : 16'(round_shift(value_5, shift_5));
        shift_6 <= shift_5;
      end
      if (live[6]) begin
        out_index <= out_index + 1'b1;
        if (block_end[6]) out_block <= out_block + 1'b1;
      end
    end

    if (rst) begin
      reading <= 1'b0;
      live <= '0;
      vector_end <= '0;
      block_end <= '0;
      ended <= '0;
      done <= 1'b0;
    end
  end
endmodule
