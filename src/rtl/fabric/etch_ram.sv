// Memory with one write port and one read port; what is read appears a cycle after its address.
// Reading a word in the cycle that writes it gives the old one.
module etch_ram #(
    parameter int WIDTH = 32,
    parameter int DEPTH = 1024,
    parameter int AW = 10
) (
    input  logic             clk,
    input  logic             w_en,
    input  logic [AW-1:0]    w_addr,
    input  logic [WIDTH-1:0] w_data,
    input  logic [AW-1:0]    r_addr,
    output logic [WIDTH-1:0] r_data
);
  logic [WIDTH-1:0] words[0:DEPTH-1];

  always_ff @(posedge clk) begin
    if (w_en) words[w_addr] <= w_data;
    r_data <= words[r_addr];
  end
endmodule
