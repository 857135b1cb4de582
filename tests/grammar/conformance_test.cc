// Every instance of the JSON-Schema-Test-Suite (draft 2020-12) whose schema Etch compiles is judged
// as the suite judges it; the schemas that are refused are refused for a keyword of a known list.

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>

#include "grammar/constraint.h"
#include "grammar/machine.h"
#include "grammar/schema_suite.h"
#include "support/data.h"

namespace etch::test {
namespace {

using grammar::ConstraintPtr;

bool Takes(const ConstraintPtr& constraint, const std::string& text) {
  grammar::Machine machine(constraint->program());
  grammar::StateId state = machine.start();
  for (const char byte : text) {
    state = machine.Next(state, static_cast<uint8_t>(byte));
  }
  return machine.accepts(state);
}

struct Judgement {
  int covered_cases = 0;
  int covered_instances = 0;
  int refused_cases = 0;
  int refused_instances = 0;
  int leap_seconds = 0;                // with an offset
  std::map<std::string, int> reasons;  // quoted word of the error → cases
};

std::string Reason(const std::string& message) {
  if (message.find("\\p is not supported") != std::string::npos) {
    return "\\p";
  }
  const size_t begin = message.find('"');
  return begin == std::string::npos
             ? message
             : message.substr(begin + 1, message.find('"', begin + 1) - begin - 1);
}

void Judge(const SuiteCase& suite_case, bool formats, Judgement& judgement) {
  grammar::Limits limits;
  limits.whitespace = 1000;
  limits.free_space = true;
  const auto constraint = grammar::CompileJsonSchema(suite_case.schema, {formats}, limits);
  const bool never = !constraint && constraint.error().code == ErrorCode::kMismatch;
  if (!constraint && !never) {
    EXPECT_EQ(constraint.error().code, ErrorCode::kUnsupported)
        << suite_case.file << ", " << suite_case.description << ": " << constraint.error().message;
    ++judgement.refused_cases;
    judgement.refused_instances += static_cast<int>(suite_case.instances.size());
    ++judgement.reasons[Reason(constraint.error().message)];
    return;
  }
  ++judgement.covered_cases;
  for (const SuiteInstance& instance : suite_case.instances) {
    const size_t leap_second = instance.text.find(":60");
    const bool with_offset = leap_second != std::string::npos &&
                             instance.text.find_first_of("+-", leap_second) != std::string::npos &&
                             instance.text.find("00:00\"") == std::string::npos;
    if (formats && with_offset && instance.valid) {  // docs/structured-output.md: not taken
      EXPECT_FALSE(Takes(*constraint, instance.text)) << instance.text;
      ++judgement.leap_seconds;
      continue;
    }
    ++judgement.covered_instances;
    EXPECT_EQ(!never && Takes(*constraint, instance.text), instance.valid)
        << suite_case.file << ", " << suite_case.description << ", " << instance.description << "\n"
        << suite_case.schema << "\n"
        << instance.text;
  }
}

void Report(const Judgement& judgement) {
  std::cout << judgement.covered_instances << " instances of " << judgement.covered_cases
            << " schemas judged; refused: " << judgement.refused_instances << " of "
            << judgement.refused_cases << "\n";
  for (const auto& [reason, count] : judgement.reasons) {
    std::cout << "  refused for " << reason << ": " << count << "\n";
  }
}

TEST(Conformance, JudgesAsTheSuite) {
  ETCH_DATA_OR_SKIP(archive, "conformance/JSON-Schema-Test-Suite.tar.xz");
  Judgement judgement;
  for (const SuiteCase& suite_case : ReadSuite(archive, TemporaryFolder(), "draft2020-12")) {
    Judge(suite_case, false, judgement);
  }
  Report(judgement);
  // What is covered must not become less.
  EXPECT_GE(judgement.covered_instances, 792);
  EXPECT_LE(judgement.refused_cases, 178);
  const std::set<std::string> known = {"$dynamicRef",
                                       "$dynamicAnchor",
                                       "$id",
                                       "$ref",
                                       "$schema",
                                       "dependentSchemas",
                                       "if",
                                       "maxContains",
                                       "not",
                                       "oneOf",
                                       "then",
                                       "else",
                                       "unevaluatedItems",
                                       "unevaluatedProperties",
                                       "uniqueItems",
                                       "multipleOf",
                                       "\\p"};
  for (const auto& [reason, count] : judgement.reasons) {
    EXPECT_TRUE(known.contains(reason)) << reason;
  }
}

// With formats as assertions: the optional part of the suite.
TEST(Conformance, HoldsTextsToFormats) {
  ETCH_DATA_OR_SKIP(archive, "conformance/JSON-Schema-Test-Suite.tar.xz");
  const std::set<std::string> held = {"date",     "time",         "date-time",
                                      "duration", "ipv4",         "ipv6",
                                      "uuid",     "json-pointer", "relative-json-pointer"};
  Judgement judgement;
  for (const SuiteCase& suite_case :
       ReadSuite(archive, TemporaryFolder(), "draft2020-12/optional/format")) {
    if (held.contains(suite_case.file)) {
      Judge(suite_case, true, judgement);
    }
  }
  Report(judgement);
  EXPECT_GE(judgement.covered_instances, 200);
  EXPECT_TRUE(judgement.reasons.empty());
  EXPECT_LE(judgement.leap_seconds, 8);
}

// JSONTestSuite: files that every parser must take (y_) or refuse (n_).
TEST(Conformance, TakesJsonTexts) {
  ETCH_DATA_OR_SKIP(archive, "conformance/JSONTestSuite_test_parsing.tar.xz");
  const std::filesystem::path folder = TemporaryFolder();
  const std::string command =
      fmt::format("tar -xJf '{}' -C '{}'", archive.string(), folder.string());
  ASSERT_EQ(std::system(command.c_str()), 0);
  grammar::Limits limits;
  limits.whitespace = 1000;
  limits.free_space = true;
  const auto constraint = grammar::CompileJsonValue(limits);
  ASSERT_TRUE(constraint);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "test_parsing")) {
    const std::string name = entry.path().filename().string();
    std::ifstream file(entry.path(), std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const bool must = name.starts_with("y_");
    text.erase(must ? text.find_last_not_of(" \t\r\n") + 1 : text.size());  // nothing may follow
    if (must || name.starts_with("n_")) {
      EXPECT_EQ(Takes(*constraint, text), must) << name;
      ++files;
    }
  }
  EXPECT_GT(files, 250);
}

}  // namespace
}  // namespace etch::test
