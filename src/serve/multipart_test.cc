#include "serve/multipart.h"

#include <gtest/gtest.h>

namespace etch::serve {
namespace {

constexpr const char* kType = "multipart/form-data; boundary=\"x y\"";

std::string FormError(std::string_view type, std::string_view body) {
  const auto parts = ParseForm(type, body);
  return parts ? "" : parts.error().message;
}

TEST(Form, PartsAreAsTheyWereSent) {
  const std::string body =
      "--x y\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nacme\r\n"
      "--x y\r\ncontent-disposition: form-data; filename=\"a;\\\"b\"; name=file\r\n"
      "Content-Type: application/octet-stream\r\n\r\n\r\n--x\r\n\r\n--x y--\r\n";
  const auto parts = ParseForm(kType, body);
  ASSERT_TRUE(parts) << parts.error().message;
  ASSERT_EQ(parts->size(), 2U);
  EXPECT_EQ((*parts)[0].name, "name");
  EXPECT_EQ((*parts)[0].content, "acme");
  EXPECT_EQ((*parts)[1].name, "file");
  EXPECT_EQ((*parts)[1].file_name, "a;\"b");
  EXPECT_EQ((*parts)[1].content, "\r\n--x\r\n");
  EXPECT_TRUE(ParseForm(kType, "--x y--")->empty());
}

TEST(Form, WhatIsBrokenIsSaid) {
  EXPECT_NE(FormError("application/json", "{}"), "");
  EXPECT_NE(FormError("multipart/form-data", "--x--"), "");
  EXPECT_NE(FormError("multipart/form-data; boundary=" + std::string(71, 'a'), "--a--"), "");
  for (const char* body :
       {"", "--x", "--x yz", "--x y\r\n", "--x y\r\nA: b\r\n\r\nc", "--x y\r\n\r\n\r\n--x y--",
        "--x y\r\nContent-Disposition: form-data\r\n\r\nc\r\n--x y--"}) {
    EXPECT_NE(FormError(kType, body), "") << body;
  }
  std::string many;
  for (int part = 0; part < 20; ++part) {
    many += "--x y\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n";
  }
  EXPECT_NE(FormError(kType, many + "--x y--").find("more than 16"), std::string::npos);
}

}  // namespace
}  // namespace etch::serve
