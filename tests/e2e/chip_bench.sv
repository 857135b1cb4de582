// The chip for Icarus Verilog: one run through the host port. Prints what the chip answers.
//
//   +prompt=FILE   tokens of the prompt, hexadecimal, one a line
//   +length=N      of the prompt
//   +tokens=N      to generate
//
//   logit VALUE    results in order
//   token ID
//   cycles N       of the run, as the chip counts them
module chip_bench;
  logic clk, rst;
  logic awvalid, awready, wvalid, wready, bvalid, bready, arvalid, arready, rvalid, rready;
  logic [11:0] awaddr, araddr;
  logic [31:0] wdata, rdata;
  logic [3:0] wstrb;
  logic [1:0] bresp, rresp;
  logic s_tvalid, s_tready, s_tlast, m_tvalid, m_tready, m_tuser, m_tlast;
  logic [31:0] s_tdata, m_tdata;

  etch_top top (
      .clk, .rst, .awvalid, .awready, .awaddr, .wvalid, .wready, .wdata, .wstrb, .bvalid, .bready,
      .bresp, .arvalid, .arready, .araddr, .rvalid, .rready, .rdata, .rresp, .s_tvalid, .s_tready,
      .s_tdata, .s_tlast, .m_tvalid, .m_tready, .m_tdata, .m_tuser, .m_tlast
  );

  localparam logic [11:0] ID = 12'h000;
  localparam logic [11:0] CONTROL = 12'h008;
  localparam logic [11:0] STATUS = 12'h00C;
  localparam logic [11:0] PROMPT_LENGTH = 12'h028;
  localparam logic [11:0] MAX_TOKENS = 12'h02C;
  localparam logic [11:0] FLAGS = 12'h030;
  localparam logic [11:0] CYCLES_LOW = 12'h080;

  // Values change at the falling edge, half a cycle before they are taken.
  initial clk = 1'b0;
  always #5 clk = !clk;

  task automatic fail(input string what);
    $display("failed: %0s", what);
    $finish;
  endtask

  task automatic write(input logic [11:0] address, input logic [31:0] value);
    awvalid = 1'b1;
    awaddr = address;
    wvalid = 1'b1;
    wdata = value;
    bready = 1'b1;
    while (awvalid || wvalid) begin
      logic address_taken, value_taken;
      address_taken = awvalid && awready;
      value_taken = wvalid && wready;
      @(negedge clk);
      if (address_taken) awvalid = 1'b0;
      if (value_taken) wvalid = 1'b0;
    end
    while (bvalid !== 1'b1) @(negedge clk);
    if (bresp != 2'd0) fail("a write is refused");
    @(negedge clk);
    bready = 1'b0;
  endtask

  task automatic read(input logic [11:0] address, output logic [31:0] value);
    arvalid = 1'b1;
    araddr = address;
    rready = 1'b1;
    while (arready !== 1'b1) @(negedge clk);
    @(negedge clk);
    arvalid = 1'b0;
    while (rvalid !== 1'b1) @(negedge clk);
    if (rresp != 2'd0) fail("a read is refused");
    value = rdata;
    @(negedge clk);
    rready = 1'b0;
  endtask

  // The prompt buffer is where the stream goes after a reset.
  task automatic stream(input logic [31:0] value);
    s_tvalid = 1'b1;
    s_tdata = value;
    while (s_tready !== 1'b1) @(negedge clk);
    @(negedge clk);
    s_tvalid = 1'b0;
  endtask

  always @(negedge clk) begin
    if (m_tvalid === 1'b1 && m_tready === 1'b1) begin
      if (m_tuser) $display("logit %0d", $signed(m_tdata));
      else $display("token %0d", m_tdata);
    end
  end

  logic [31:0] prompt[0:1023];
  string path;
  int length, tokens;
  logic [31:0] value;

  initial begin
    if (!$value$plusargs("prompt=%s", path)) fail("no prompt");
    if (!$value$plusargs("length=%d", length)) fail("no length");
    if (!$value$plusargs("tokens=%d", tokens)) fail("no tokens");
    $readmemh(path, prompt, 0, length - 1);
    {awvalid, wvalid, bready, arvalid, rready, s_tvalid, s_tlast} = '0;
    {awaddr, araddr, wdata, s_tdata} = '0;
    wstrb = 4'hf;
    m_tready = 1'b1;
    rst = 1'b1;
    repeat (4) @(negedge clk);
    rst = 1'b0;
    @(negedge clk);
    read(ID, value);
    if (value != 32'h45544348) fail("not this chip");
    for (int index = 0; index < length; index++) stream(prompt[index]);
    write(PROMPT_LENGTH, 32'(length));
    write(MAX_TOKENS, 32'(tokens));
    write(FLAGS, 32'd1);
    write(CONTROL, 32'd1);
    value = 32'd1;
    while (value[0]) begin
      repeat (256) @(negedge clk);
      read(STATUS, value);
    end
    repeat (64) @(negedge clk);
    read(CYCLES_LOW, value);
    $display("cycles %0d", value);
    $finish;
  end
endmodule
