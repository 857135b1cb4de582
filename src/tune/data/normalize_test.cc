#include "tune/data/normalize.h"

#include <gtest/gtest.h>

namespace etch::tune {
namespace {

TEST(Normalize, DropsWhatDoesNotMatter) {
  EXPECT_EQ(Normalize("  What IS\n\tit ?  "), "what is it");
  EXPECT_EQ(Normalize("\"Stop!\", he said."), "stop he said");
  EXPECT_EQ(Normalize("Ça va?"), "Ça va");
  EXPECT_EQ(Normalize(""), "");
}

TEST(Normalize, KeepsWhatDoes) {
  EXPECT_NE(Normalize("2+2"), Normalize("2-2"));
  EXPECT_NE(Normalize("3.5 m"), Normalize("35 m"));
  EXPECT_NE(Normalize("we're"), Normalize("were"));
  EXPECT_NE(Normalize("a b"), Normalize("ab"));
}

TEST(NormalizedPrompt, IsAllBeforeTheLastAnswer) {
  Example example;
  example.messages = {{"user", "A?"}, {"assistant", "B."}, {"user", "C?"}, {"assistant", "D."}};
  EXPECT_EQ(NormalizedPrompt(example), "user\na\nassistant\nb\nuser\nc\n");
  EXPECT_EQ(NormalizedAnswer(example), "d");
  example.messages.push_back({"user", "E?"});
  EXPECT_EQ(NormalizedAnswer(example), "d");
}

TEST(NormalizedPrompt, IsTheWholeText) {
  Example example;
  example.text = "Once, upon";
  EXPECT_EQ(NormalizedPrompt(example), "once upon");
  EXPECT_EQ(NormalizedAnswer(example), "");
  example.messages = {{"user", "Alone"}};
  EXPECT_EQ(NormalizedPrompt(example), "user\nalone\n");
  EXPECT_EQ(NormalizedAnswer(example), "");
}

}  // namespace
}  // namespace etch::tune
