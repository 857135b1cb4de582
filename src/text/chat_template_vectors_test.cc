// The engine against texts that others made: Jinja2 itself (tests/golden/chat_template, written by
// its make_expected.py), llama.cpp, huggingface.js, Ollama and Meta's documentation.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "support/data.h"
#include "text/chat_template.h"

namespace etch::text {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

std::string ReadText(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Json ReadJsonFile(const fs::path& path) { return Json::parse(ReadText(path)); }

fs::path GoldenFolder() { return test::SourceFolder() / "tests" / "golden" / "chat_template"; }

constexpr int64_t kVectorClock = 1'752'148'800;  // 2025-07-10 12:00, the clock of the vectors

Result<std::string> RenderSource(const std::string& source, Json context) {
  context["strftime_now_seconds"] = kVectorClock;
  ETCH_ASSIGN_OR_RETURN(const ChatTemplate parsed, ChatTemplate::Parse(source));
  return parsed.Render(context.dump());
}

// Compares with an expectation of make_expected.py: a text, a digest or an error.
void ExpectLike(const Json& expected, const Result<std::string>& actual) {
  if (expected.contains("error")) {
    EXPECT_FALSE(actual.has_value()) << "Jinja2 fails with: " << expected["error"] << "\n"
                                     << actual.value_or("");
    return;
  }
  ASSERT_TRUE(actual.has_value()) << actual.error().message;
  if (expected.is_string()) {
    EXPECT_EQ(*actual, expected.get<std::string>());
    return;
  }
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : *actual) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
  }
  EXPECT_EQ(actual->size(), expected["bytes"].get<size_t>()) << *actual;
  EXPECT_EQ(fmt::format("{:016x}", hash), expected["fnv1a"].get<std::string>()) << *actual;
}

TEST(ChatTemplateVectors, EveryFeatureRendersAsInJinja2) {
  const Json features = ReadJsonFile(GoldenFolder() / "features.json");
  const Json expected = ReadJsonFile(GoldenFolder() / "expected_by_jinja2.json")["features"];
  ASSERT_GE(features["templates"].size(), 80u);
  for (const std::string source : features["templates"]) {
    SCOPED_TRACE(source);
    ExpectLike(expected.at(source), RenderSource(source, features["context"]));
  }
}

TEST(ChatTemplateVectors, PublishedTemplatesRenderAsInJinja2) {
  ETCH_DATA_OR_SKIP(folder, "templates/jinja");
  // A generator has no form in Python's JSON; here filters give lists, so this one renders.
  const std::set<std::string> generators = {"llama-cpp-deepseek-r1.jinja/tools",
                                            "llama-cpp-deepseek-r1.jinja/calls"};
  // All the combinations of template and conversation that Jinja2 and this engine refuse, and why.
  const std::map<std::string, std::string> refused = {
      {"CohereForAI-c4ai-command-r-plus-tool_use.jinja/tools", "no attribute 'description'"},
      {"Kimi-K2-Instruct.jinja/calls", "list.append would change a value"},
      {"Kimi-K2-Thinking.jinja/calls", "list.append would change a value"},
      {"fireworks-ai-llama-3-firefunction-v2.jinja/plain", "'functions' is undefined"},
      {"fireworks-ai-llama-3-firefunction-v2.jinja/closed", "'functions' is undefined"},
      {"fireworks-ai-llama-3-firefunction-v2.jinja/tools", "'functions' is undefined"},
      {"fireworks-ai-llama-3-firefunction-v2.jinja/calls", "'functions' is undefined"},
      {"google-gemma-2-2b-it.jinja/plain", "says: System role not supported"},
      {"google-gemma-2-2b-it.jinja/tools", "says: System role not supported"},
      {"google-gemma-2-2b-it.jinja/calls", "says: Conversation roles must alternate"},
      {"meetkai-functionary-medium-v3.2.jinja/calls", "types for +: 'str' and 'dict'"}};
  const Json contexts = ReadJsonFile(GoldenFolder() / "contexts.json");
  const Json expected = ReadJsonFile(GoldenFolder() / "expected_by_jinja2.json")["models"];
  size_t rendered = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") {
      continue;
    }
    const std::string name = entry.path().filename();
    for (const auto& [conversation, context] : contexts.items()) {
      const std::string id = name + "/" + conversation;
      SCOPED_TRACE(id);
      const Result<std::string> text = RenderSource(ReadText(entry.path()), context);
      if (generators.contains(id)) {
        EXPECT_TRUE(text.has_value()) << text.error().message;
        continue;
      }
      ExpectLike(expected.at(name).at(conversation), text);
      rendered += text.has_value() ? 1 : 0;
      ASSERT_EQ(text.has_value(), !refused.contains(id)) << (text ? "" : text.error().message);
      if (!text) {
        EXPECT_NE(text.error().message.find(refused.at(id)), std::string::npos)
            << text.error().message;
      }
    }
  }
  EXPECT_EQ(rendered, expected.size() * contexts.size() - refused.size() - generators.size());
}

TEST(ChatTemplateVectors, LlamaCpp) {
  ETCH_DATA_OR_SKIP(path, "templates/llamacpp_chat_template_vectors.json");
  const Json vectors = ReadJsonFile(path);
  // Templates without a system role: llama.cpp puts that message into the user's, the template
  // does not, so the expected text is that of the joined messages.
  const std::set<std::string> joined = {"Phi-3-mini", "Phi-3-medium",
                                        "yandex/YandexGPT-5-Lite-8B-instruct"};
  // Its expected text is of llama.cpp's own formatter; the template refuses a system message.
  const std::string refuses =
      "mistralai/Mistral-7B-Instruct-v0.2 (NOTE: Old pre-v1 without a system prompt)";
  ASSERT_EQ(vectors["cases"].size(), 24u);
  for (const Json& vector : vectors["cases"]) {
    const std::string name = vector["name"];
    SCOPED_TRACE(name);
    Json messages = vectors["messages"];
    if (joined.contains(name)) {
      const std::string system = messages[0]["content"];
      messages.erase(0);
      messages[0]["content"] = system + "\n" + messages[0]["content"].get<std::string>();
    }
    for (const Json& extra : vector.value("extra_messages", Json::array())) {
      messages.push_back(extra);
    }
    const Result<std::string> text =
        RenderSource(vector["template_str"], {{"messages", messages},
                                              {"add_generation_prompt", true},
                                              {"bos_token", vector.value("bos_token", "")},
                                              {"eos_token", vector.value("eos_token", "")}});
    if (name == refuses) {
      ASSERT_FALSE(text.has_value());
      EXPECT_NE(text.error().message.find("Conversation roles must alternate"), std::string::npos);
      continue;
    }
    ASSERT_TRUE(text.has_value()) << text.error().message;
    const std::string jinja = vector.value("expected_output_jinja", "");
    EXPECT_EQ(*text, jinja.empty() ? vector["expected_output"].get<std::string>() : jinja);
  }
}

// The vectors of huggingface.js are of its JavaScript engine, which prints true for True and JSON
// for lists; where it and Jinja2 disagree, Jinja2 decides, but for these:
void ExpectHuggingFaceJs(const fs::path& path, const char* source_key, const char* context_key) {
  // Python's generators have no length and its str.replace no keywords (before 3.13).
  const std::set<std::string> as_in_javascript = {"FILTER_OPERATOR_4", "FILTER_OPERATOR_5",
                                                  "FILTER_OPERATOR_12", "REPLACE"};
  const Json python = ReadJsonFile(GoldenFolder() / "expected_by_jinja2.json")["huggingface_js"];
  const Json vectors = ReadJsonFile(path);
  ASSERT_GE(vectors["cases"].size(), 40u);
  for (const Json& vector : vectors["cases"]) {
    const std::string name = vector["name"];
    SCOPED_TRACE(name);
    const bool differs = python.contains(name) && !as_in_javascript.contains(name);
    ExpectLike(differs ? python[name] : vector["expected"],
               RenderSource(vector[source_key], vector[context_key]));
  }
}

TEST(ChatTemplateVectors, HuggingFaceJsUnit) {
  ETCH_DATA_OR_SKIP(path, "templates/hfjs_jinja_unit_vectors.json");
  ExpectHuggingFaceJs(path, "template", "context");
}

TEST(ChatTemplateVectors, HuggingFaceJsEndToEnd) {
  ETCH_DATA_OR_SKIP(path, "templates/hfjs_jinja_e2e_vectors.json");
  ExpectHuggingFaceJs(path, "chat_template", "data");
}

std::string SourceNamed(const Json& vectors, std::string_view name) {
  for (const Json& vector : vectors["cases"]) {
    if (vector["name"] == name) {
      return vector["template_str"];
    }
  }
  return {};
}

TEST(ChatTemplateVectors, OllamaRendersTheSameChats) {
  ETCH_DATA_OR_SKIP(folder, "templates/ollama_rendered");
  ETCH_DATA_OR_SKIP(path, "templates/llamacpp_chat_template_vectors.json");
  const Json vectors = ReadJsonFile(path);
  const std::map<std::string, std::string> sources = {
      {"chatml", SourceNamed(vectors, "teknium/OpenHermes-2.5-Mistral-7B")},
      {"llama3-instruct", SourceNamed(vectors, "Llama-3")}};
  const ChatMessage system{"system", "You are a helpful assistant."};
  const ChatMessage user{"user", "Hello, how are you?"};
  const ChatMessage assistant{"assistant", "I'm doing great. How can I help you today?"};
  const ChatMessage second{"user", "I'd like to show off how chat templating works!"};
  const std::map<std::string, std::vector<ChatMessage>> chats = {
      {"user", {user}},
      {"user-assistant-user", {user, assistant, second}},
      {"system-user-assistant-user", {system, user, assistant, second}}};
  for (const auto& [family, source] : sources) {
    const Result<ChatTemplate> parsed = ChatTemplate::Parse(source);
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
    for (const auto& [chat, messages] : chats) {
      EXPECT_EQ(parsed->RenderChat(messages, true, "", "").value_or("?"),
                ReadText(folder / family / chat))
          << family << "/" << chat;
    }
  }
}

TEST(ChatTemplateVectors, MetaDocumentsTheSameText) {
  ETCH_DATA_OR_SKIP(document, "templates/meta/llama3_1_prompt_format.md");
  ETCH_DATA_OR_SKIP(path, "templates/llamacpp_chat_template_vectors.json");
  const Result<ChatTemplate> parsed =
      ChatTemplate::Parse(SourceNamed(ReadJsonFile(path), "Llama-3"));
  ASSERT_TRUE(parsed.has_value());
  const Result<std::string> text =
      parsed->RenderChat({{"system", "You are a helpful assistant"},
                          {"user", "Answer who are you in the form of jeopardy?"}},
                         true, "<|begin_of_text|>", "<|eot_id|>");
  ASSERT_TRUE(text.has_value());
  EXPECT_NE(ReadText(document).find("```\n" + *text), std::string::npos) << *text;
}

// The template of a hostile sample: a field of a JSON file, or the file itself.
std::vector<std::string> SampleTemplates(const fs::path& path) {
  if (path.extension() != ".json") {
    return {ReadText(path)};
  }
  std::vector<std::string> sources;
  const Json config = Json::parse(ReadText(path), nullptr, false);
  for (const char* key : {"chat_template", "custom_chat_template"}) {
    if (config.is_object() && config.contains(key) && config[key].is_string()) {
      sources.push_back(config[key]);
    }
  }
  return sources;
}

TEST(ChatTemplateVectors, HostileSamplesReachNothing) {
  ETCH_DATA_OR_SKIP(archive, "templates/jinja2_security_samples.tar.gz");
  const fs::path folder = test::TemporaryFolder();
  const std::string extract =
      fmt::format("tar -xzf '{}' -C '{}'", archive.string(), folder.string());
  ASSERT_EQ(std::system(extract.c_str()), 0);
  size_t refused = 0;
  size_t rendered = 0;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) {
      continue;
    }
    for (const std::string& source : SampleTemplates(entry.path())) {
      SCOPED_TRACE(entry.path().filename());
      const auto start = std::chrono::steady_clock::now();
      const Result<std::string> text =
          RenderSource(source, {{"messages", Json::array({{{"role", "user"}, {"content", "hi"}}})},
                                {"bos_token", "<s>"}});
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
      const bool attacks = source.find("__") != std::string::npos;
      EXPECT_TRUE(!attacks || !text.has_value()) << *text;
      (text ? rendered : refused) += 1;
    }
  }
  EXPECT_EQ(refused, 28u);
  EXPECT_EQ(rendered, 15u);  // the benign ones
  // What the sample of CVE-2024-34359 would leave behind.
  EXPECT_FALSE(fs::exists(fs::temp_directory_path() / "retr0reg"));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace etch::text
