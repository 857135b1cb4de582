// Work memory: 32-bit words, two read ports and one write port. What is read appears a cycle after
// its address; a word that is written in that cycle is read as it was.
module etch_work_memory #(
    parameter int DEPTH = 1024,
    parameter int AW = 12
) (
    input  logic               clk,
    input  logic [AW-1:0]      a_addr,
    output logic signed [31:0] a_data,
    input  logic [AW-1:0]      b_addr,
    output logic signed [31:0] b_data,
    input  logic               w_en,
    input  logic [AW-1:0]      w_addr,
    input  logic signed [31:0] w_data
);
  localparam int BITS = $clog2(DEPTH);

  logic [31:0] words[0:DEPTH-1];
  logic unused;

  assign unused = &{1'b0, a_addr, b_addr, w_addr};

  always_ff @(posedge clk) begin
    if (w_en) words[w_addr[BITS-1:0]] <= w_data;
    a_data <= words[a_addr[BITS-1:0]];
    b_data <= words[b_addr[BITS-1:0]];
  end
endmodule
