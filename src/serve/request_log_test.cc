#include "serve/request_log.h"

#include <gtest/gtest.h>

namespace etch::serve {
namespace {

constexpr const char* kTraceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

RequestLog Example() {
  RequestLog log;
  log.time_ms = 1795651200123;
  log.request_id = "abc";
  log.method = "POST";
  log.path = "/v1/completions";
  log.status = 200;
  log.tenant = "acme";
  log.adapter = "two words";
  log.prompt_tokens = 3;
  log.first_token_s = 0.0015;
  log.duration_s = 0.25;
  return log;
}

TEST(RequestLog, JsonIsOneLine) {
  EXPECT_EQ(FormatLog(Example(), LogFormat::kJson),
            R"({"time":"2026-11-26T00:00:00.123Z","request_id":"abc","method":"POST",)"
            R"("path":"/v1/completions","status":200,"tenant":"acme","adapter":"two words",)"
            R"("prompt_tokens":3,"completion_tokens":0,"ttft_ms":1.5,"duration_ms":250.0})");
  RequestLog hostile = Example();
  hostile.path = "/\n\xff\"";
  const std::string line = FormatLog(hostile, LogFormat::kJson);
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_NE(line.find("\\n\xEF\xBF\xBD\\\""), std::string::npos) << line;
}

TEST(RequestLog, TextIsOneLineOfPairs) {
  EXPECT_EQ(FormatLog(Example(), LogFormat::kText),
            "time=2026-11-26T00:00:00.123Z request_id=abc method=POST path=/v1/completions "
            "status=200 tenant=acme adapter=\"two words\" prompt_tokens=3 completion_tokens=0 "
            "ttft_ms=1.5 duration_ms=250.0");
  RequestLog hostile = Example();
  hostile.path = "/ status=200\r\ntime=";
  EXPECT_NE(FormatLog(hostile, LogFormat::kText).find("path=\"/ status=200  time=\""),
            std::string::npos);
}

TEST(RequestLog, ATraceIsPassedOn) {
  const std::optional<Trace> trace = ParseTraceparent(kTraceparent);
  ASSERT_TRUE(trace);
  EXPECT_EQ(trace->parent_id, "b7ad6b7169203331");
  EXPECT_EQ(trace->span_id.size(), 16U);
  EXPECT_EQ(trace->Header(), "00-0af7651916cd43dd8448eb211c80319c-" + trace->span_id + "-01");
  EXPECT_NE(trace->span_id, ParseTraceparent(kTraceparent)->span_id);
  RequestLog log = Example();
  log.trace = trace;
  EXPECT_NE(FormatLog(log, LogFormat::kJson)
                .find(R"("trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":")" +
                      trace->span_id + R"(","parent_span_id":"b7ad6b7169203331")"),
            std::string::npos);
}

TEST(RequestLog, WhatIsNoTraceIsNone) {
  const std::string good = kTraceparent;
  EXPECT_TRUE(ParseTraceparent("01" + good.substr(2) + "-more"));
  for (const std::string& bad :
       {std::string(), good + "-more", "ff" + good.substr(2), good.substr(0, 54), good + "0",
        "00-" + std::string(32, '0') + good.substr(35),
        "00-" + std::string(32, 'A') + good.substr(35),
        good.substr(0, 36) + std::string(16, '0') + good.substr(52), std::string(55, '-')}) {
    EXPECT_FALSE(ParseTraceparent(bad)) << bad;
  }
}

TEST(RequestLog, AnIdOfTheClientIsKeptWhenItIsSane) {
  for (const std::string& id :
       {std::string("a"), std::string("a-b_c.d:e/f+g="), std::string(128, 'x')}) {
    EXPECT_EQ(RequestId(id), id);
  }
  for (const std::string& id : {std::string(), std::string("a b"), std::string("a\r\nb: c"),
                                std::string(129, 'x'), std::string("ä"), std::string("a\"b")}) {
    const std::string ours = RequestId(id);
    EXPECT_EQ(ours.size(), 4U + 32U);
    EXPECT_TRUE(ours.starts_with("req_"));
  }
  EXPECT_NE(RequestId(""), RequestId(""));
}

}  // namespace
}  // namespace etch::serve
