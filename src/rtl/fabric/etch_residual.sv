// a[i] = sat(a[i] + b[i]): the residual stream takes what a layer adds (contract, section 13).
//
// cycles = n + 2
module etch_residual #(
    parameter int AW = 12
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic                 start,
    input  logic [AW-1:0]        src,
    input  logic [AW-1:0]        src_b,
    input  logic [AW-1:0]        n,
    output logic                 done,
    output logic [AW-1:0]        a_addr,
    input  logic signed [31:0]   a_data,
    output logic [AW-1:0]        b_addr,
    input  logic signed [31:0]   b_data,
    output logic                 w_en,
    output logic [AW-1:0]        w_addr,
    output logic signed [31:0]   w_data
);
  `include "etch_math.svh"

  logic reading;
  logic [AW-1:0] index;
  // The element whose words arrive in this cycle.
  logic arriving;
  logic [AW-1:0] arrived;

  always_comb begin
    a_addr = reading ? src + index : '0;
    b_addr = reading ? src_b + index : '0;
    w_en = arriving;
    w_addr = arriving ? src + arrived : '0;
    w_data = arriving ? saturate(64'(a_data) + 64'(b_data)) : '0;
  end

  always_ff @(posedge clk) begin
    arriving <= reading;
    arrived <= index;
    done <= arriving && !reading;
    if (start) begin
      reading <= 1'b1;
      index <= '0;
    end else if (reading) begin
      index <= index + 1'b1;
      if (index + 1'b1 == n) reading <= 1'b0;
    end
    if (rst) begin
      reading <= 1'b0;
      arriving <= 1'b0;
      done <= 1'b0;
    end
  end
endmodule
