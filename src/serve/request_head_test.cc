#include "serve/request_head.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace etch::serve {
namespace {

using testing::HasSubstr;

TEST(RequestHead, EndsAtTheFirstEmptyLine) {
  const std::string head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::string bytes = head + "body\nrest\r\n\r\n";
  EXPECT_EQ(*FindHeadEnd(bytes), head.size());
  for (size_t size = 0; size < head.size(); ++size) {
    EXPECT_EQ(*FindHeadEnd(bytes.substr(0, size)), 0) << size;
    EXPECT_EQ(*FindHeadEnd(bytes, size), head.size()) << "from where the last look ended";
  }
}

TEST(RequestHead, ALineThatEndsInLfAloneIsNoLine) {
  for (const char* bytes :
       {"\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: x\n\r\n", "GET / HTTP/1.1\r\n\n"}) {
    const auto end = FindHeadEnd(bytes);
    ASSERT_FALSE(end) << bytes;
    EXPECT_EQ(end.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(end.error().message, HasSubstr("CR and LF"));
  }
}

TEST(RequestHead, OrdinaryOnesPass) {
  for (const char* head :
       {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
        "POST /v1/completions?x=1 HTTP/1.1\r\nhost:\r\nContent-Length:  12 \r\n\r\n",
        "POST / HTTP/1.1\r\nHOST: a:80\r\ntransfer-encoding: Chunked\t\r\nX_y: a:b "
        "\xC3\xA9\r\n\r\n",
        "M-SEARCH * HTTP/1.1\r\nHost: x\r\nEmpty:\r\n\r\n"}) {
    EXPECT_TRUE(CheckHead(head)) << head;
  }
}

TEST(RequestHead, WhatOthersCouldReadOtherwiseIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"GET / HTTP/1.1", "Host"},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: a", "Host"},
      {"GET / HTTP/1.0\r\nHost: a\r\nHost: a", "Host"},
      {"GET / HTTP/2.0\r\nHost: a", "version"},
      {"GET / http/1.1\r\nHost: a", "version"},
      {"GET / HTTP/1.1 \r\nHost: a", "may not stand"},
      {"GET  HTTP/1.1\r\nHost: a", "first line"},
      {"GET /\r\nHost: a", "first line"},
      {" GET / HTTP/1.1\r\nHost: a", "first line"},
      {"GET /a b HTTP/1.1\r\nHost: a", "may not stand"},
      {"GET /\xC3\xA9 HTTP/1.1\r\nHost: a", "may not stand"},
      {"GET\t/ / HTTP/1.1\r\nHost: a", "may not stand"},
      {"GET / HTTP/1.1\r\nHost: a\r\n b", "folded"},
      {"GET / HTTP/1.1\r\n\tHost: a", "folded"},
      {"GET / HTTP/1.1\r\nHost : a", "colon"},
      {"GET / HTTP/1.1\r\nHost: a\r\nnonsense", "colon"},
      {"GET / HTTP/1.1\r\nHost: a\r\n: b", "colon"},
      {"GET / HTTP/1.1\r\nHost: a\rX: b", "CR stands"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1", "once"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1", "number"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1", "number"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:", "number"},
      {"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", "once"},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
       "once"},
      {"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked", "once"},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked", "not chunked"},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity", "not chunked"},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked", "not chunked"},
      {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:", "not chunked"},
  };
  for (const auto& [head, why] : cases) {
    const Status status = CheckHead(std::string(head) + "\r\n\r\n");
    ASSERT_FALSE(status) << head;
    EXPECT_EQ(status.error().code, ErrorCode::kMalformed);
    EXPECT_THAT(status.error().message, HasSubstr(why)) << head;
  }
}

}  // namespace
}  // namespace etch::serve
