#include "serve/request.h"

#include <gtest/gtest.h>

namespace etch::serve {
namespace {

// The error of a body, "" when it is fine.
std::string ChatError(std::string_view body, ErrorCode* code = nullptr) {
  const auto request = ParseChatRequest(body);
  if (!request && code != nullptr) {
    *code = request.error().code;
  }
  return request ? "" : request.error().message;
}

std::string CompletionError(std::string_view body) {
  const auto request = ParseCompletionRequest(body);
  return request ? "" : request.error().message;
}

std::string WithField(std::string_view field) {
  return R"({"messages":[{"role":"user","content":"hi"}],)" + std::string(field) + "}";
}

TEST(ChatRequest, ReadsEveryField) {
  const auto request = ParseChatRequest(
      R"({"model":"acme","messages":[{"role":"system","content":"s"},
          {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
          {"role":"assistant","content":null}],
          "temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"seed":7,"max_tokens":5,"n":3,
          "stop":["x","y"],"stream":true,"stream_options":{"include_usage":true},
          "logprobs":true,"top_logprobs":4,"user":"u","unknown":[1]})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->model, "acme");
  ASSERT_EQ(request->messages.size(), 3U);
  EXPECT_EQ(request->messages[1].content, "ab");
  EXPECT_EQ(request->messages[2].content, "");
  EXPECT_EQ(request->sampling.temperature, 0.5);
  EXPECT_EQ(request->sampling.top_p, 0.9);
  EXPECT_EQ(request->sampling.top_k, 40);
  EXPECT_EQ(request->sampling.min_p, 0.1);
  EXPECT_TRUE(request->has_seed);
  EXPECT_EQ(request->sampling.seed, 7U);
  EXPECT_EQ(request->max_tokens, 5);
  EXPECT_EQ(request->choices, 3);
  EXPECT_EQ(request->stop, (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(request->stream && request->include_usage && request->logprobs);
  EXPECT_EQ(request->top_logprobs, 4);
}

TEST(ChatRequest, ReadsToolsBiasPenaltiesAndAdapters) {
  const auto request = ParseChatRequest(
      R"({"messages":[{"role":"user","content":"hi"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
            "function":{"name":"add","arguments":"{\"a\":1}"}}]},
          {"role":"tool","tool_call_id":"1","content":"2"}],
          "tools":[{"type":"function","function":{"name":"add"}}],"tool_choice":"auto",
          "logit_bias":{"7":-100},"presence_penalty":0.5,"frequency_penalty":-1,
          "lora":[{"id":1,"scale":0.25},{"id":0}],"strict":true,"ignore_eos":true})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->tool_names, std::vector<std::string>{"add"});
  EXPECT_EQ(request->tools_json, R"([{"function":{"name":"add"},"type":"function"}])");
  EXPECT_EQ(request->messages[1].extra_json,
            R"({"tool_calls":[{"function":{"arguments":{"a":1},"name":"add"},"id":"1",)"
            R"("type":"function"}]})");
  EXPECT_EQ(request->messages[2].extra_json, R"({"tool_call_id":"1"})");
  ASSERT_EQ(request->changes.bias.size(), 1U);
  EXPECT_EQ(request->changes.bias[0], (std::pair<int32_t, int32_t>(7, -100 * 65536)));
  EXPECT_EQ(request->changes.presence, 32768);
  EXPECT_EQ(request->changes.frequency, -65536);
  ASSERT_TRUE(request->lora && request->lora->size() == 2);
  EXPECT_EQ((*request->lora)[0].scale, 0.25);
  EXPECT_TRUE(request->ignore_eos);
  const auto silent =
      ParseChatRequest(WithField(R"("tools":[{"type":"function","function":{"name":"x"}}],)"
                                 R"("tool_choice":"none")"));
  ASSERT_TRUE(silent);
  EXPECT_TRUE(silent->tool_names.empty() && silent->tools_json.empty());
}

TEST(ChatRequest, DefaultsAreTheApis) {
  const auto request = ParseChatRequest(WithField(R"("model":null)"));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->model, "");
  EXPECT_EQ(request->sampling.temperature, 1.0);
  EXPECT_EQ(request->choices, 1);
  EXPECT_FALSE(request->max_tokens.has_value() || request->has_seed || request->stream);
}

TEST(ChatRequest, NamesTheFieldThatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("temperature":"hot")", "temperature"},
      {R"("temperature":-1)", "temperature"},
      {R"("temperature":1e9)", "temperature"},
      {R"("top_p":0)", "top_p"},
      {R"("top_p":1.5)", "top_p"},
      {R"("min_p":1)", "min_p"},
      {R"("top_k":1.5)", "top_k"},
      {R"("top_k":99999999999)", "top_k"},
      {R"("max_tokens":0)", "max_tokens"},
      {R"("max_tokens":-5)", "max_tokens"},
      {R"("max_completion_tokens":18446744073709551615)", "max_completion_tokens"},
      {R"("n":0)", "n is not"},
      {R"("n":17)", "n is not"},
      {R"("seed":1.5)", "seed"},
      {R"("stop":5)", "stop"},
      {R"("stop":["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"])", "stop"},
      {R"("stream":"yes")", "stream"},
      {R"("stream_options":1)", "stream_options"},
      {R"("logprobs":3)", "logprobs"},
      {R"("top_logprobs":21)", "top_logprobs"},
      {R"("model":5)", "model"},
      {R"("tools":[{}])", "tools"},
      {R"("response_format":{"type":1})", "response_format: "},
      {R"("response_format":5)", "response_format: "},
      {R"("response_format":{"type":"structural_tag"})", "structural_tag"},
      {R"("response_format":{"type":"json_schema"})", "response_format: json_schema has no schema"},
      {R"("response_format":{"type":"json_schema","json_schema":{"schema":5}})", "not an object"},
      {R"("guided_regex":5)", "guided_regex: it is not a string"},
      {R"("guided_choice":[])", "guided_choice: "},
      {R"("guided_choice":[5])", "guided_choice: a choice"},
      {R"("structured_outputs":5)", "structured_outputs: "},
      {R"("structured_outputs":{"regex":"a","json":{}})", "more than one"},
      {R"("structured_outputs":{"structural_tag":"a"})", "structural_tag"},
      {R"("grammar":"root ::= \"a\"","guided_regex":"a")", "grammar: guided_regex asks"},
      {R"("tools":5)", "tools"},
      {R"("tool_choice":"required")", "tool_choice"},
      {R"("frequency_penalty":2.5)", "frequency_penalty"},
      {R"("presence_penalty":"x")", "presence_penalty"},
      {R"("repetition_penalty":1.1)", "repetition_penalty"},
      {R"("best_of":3)", "best_of"},
      {R"("lora":5)", "lora"},
      {R"("lora":[{}])", "no id"},
      {R"("lora":[5])", "lora"},
      {R"("lora":[{"id":1},{"id":1}])", "twice"},
      {R"("logit_bias":{"5":1,"05":1})", "logit_bias"},
      {R"("strict":true,"parallel_tool_calls":false)", "parallel_tool_calls"},
      {R"("ignore_eos":1)", "ignore_eos"},
      {R"("logit_bias":5)", "logit_bias"},
      {R"("logit_bias":{"x":1})", "logit_bias"},
      {R"("strict":true,"frobnicate":1)", "frobnicate"},
      {R"("logit_bias":{"5":101})", "logit_bias"}};
  for (const auto& [field, name] : cases) {
    EXPECT_NE(ChatError(WithField(field)).find(name), std::string::npos)
        << field << " → " << ChatError(WithField(field));
  }
}

TEST(ChatRequest, StrictnessOfTheHeaderIsNotTakenBack) {
  EXPECT_FALSE(ParseChatRequest(WithField(R"("frobnicate":1,"strict":false)"), true));
  EXPECT_TRUE(ParseChatRequest(WithField(R"("frobnicate":1,"strict":false)"), false));
  EXPECT_TRUE(ParseCompletionRequest(R"({"prompt":"a","suffix":""})"));
}

TEST(ChatRequest, ReadsConstraints) {
  using Kind = ConstraintSpec::Kind;
  const auto read = [](std::string_view field) {
    const auto request = ParseChatRequest(WithField(field));
    EXPECT_TRUE(request) << field << ": " << (request ? "" : request.error().message);
    return request ? request->constraint : std::nullopt;
  };
  EXPECT_FALSE(read(R"("response_format":{"type":"text"})"));
  EXPECT_FALSE(read(R"("response_format":null,"grammar":null)"));
  EXPECT_EQ(read(R"("response_format":{"type":"json_object"})")->kind, Kind::kJsonObject);
  const std::string schema = R"({"type":"integer"})";
  for (const std::string& field :
       {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":)" + schema +
            "}}",
        R"("response_format":{"type":"json_object","schema":)" + schema + "}",
        R"("guided_json":)" + schema, R"("json_schema":)" + schema,
        R"("structured_outputs":{"json":)" + schema + "}",
        std::string(R"("guided_json":"{\"type\":\"integer\"}")")}) {
    const auto spec = read(field);
    ASSERT_TRUE(spec) << field;
    EXPECT_EQ(spec->kind, Kind::kJsonSchema);
    EXPECT_EQ(spec->text, schema);
  }
  EXPECT_EQ(read(R"("guided_regex":"a+")")->text, "a+");
  EXPECT_EQ(read(R"("structured_outputs":{"regex":"a+"})")->kind, Kind::kRegex);
  EXPECT_EQ(read(R"("guided_grammar":"g")")->kind, Kind::kGrammar);
  EXPECT_EQ(read(R"("grammar":"g")")->kind, Kind::kGrammar);
  EXPECT_EQ(read(R"("structured_outputs":{"json_object":true})")->kind, Kind::kJsonObject);
  EXPECT_EQ(read(R"("guided_choice":["a","b"])")->choices, (std::vector<std::string>{"a", "b"}));
}

TEST(ChatRequest, RefusesBrokenMessages) {
  for (const char* body :
       {R"({})", R"({"messages":[]})", R"({"messages":"hi"})", R"({"messages":[5]})",
        R"({"messages":[{"content":"x"}]})", R"({"messages":[{"role":5,"content":"x"}]})",
        R"({"messages":[{"role":"user","content":5}]})",
        R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"}) {
    EXPECT_NE(ChatError(body), "") << body;
  }
}

TEST(ChatRequest, RefusesWhatIsNotJson) {
  for (const std::string& body :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string("{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}"),
        std::string(100000, '['), "{\"a\":" + std::string(70, '[') + std::string(70, ']') + "}"}) {
    ErrorCode code = ErrorCode::kIo;
    EXPECT_NE(ChatError(body, &code), "");
    EXPECT_EQ(code, ErrorCode::kMalformed) << body.substr(0, 40);
  }
  // Brackets inside of a string are no nesting.
  EXPECT_EQ(ChatError(WithField("\"user\":\"" + std::string(200, '[') + "\\\"[\"")), "");
}

TEST(CompletionRequest, TakesTextsAndTokens) {
  const auto text = ParseCompletionRequest(R"({"prompt":"a","logprobs":2})");
  ASSERT_TRUE(text);
  EXPECT_EQ(std::get<std::string>(text->prompts.at(0)), "a");
  EXPECT_EQ(text->max_tokens, 16);
  EXPECT_TRUE(text->logprobs);
  EXPECT_EQ(text->top_logprobs, 2);
  const auto several = ParseCompletionRequest(R"({"prompt":["a","b"]})");
  ASSERT_TRUE(several);
  EXPECT_EQ(several->prompts.size(), 2U);
  const auto tokens = ParseCompletionRequest(R"({"prompt":[1,2]})");
  ASSERT_TRUE(tokens);
  EXPECT_EQ(std::get<1>(tokens->prompts.at(0)), (std::vector<model::TokenId>{1, 2}));
  const auto lists = ParseCompletionRequest(R"({"prompt":[[1],[2,3]]})");
  ASSERT_TRUE(lists);
  EXPECT_EQ(lists->prompts.size(), 2U);
  EXPECT_FALSE(lists->is_chat());
}

TEST(CompletionRequest, RefusesBrokenPrompts) {
  for (const char* body :
       {R"({})", R"({"prompt":5})", R"({"prompt":[1,"a"]})", R"({"prompt":["a",5]})",
        R"({"prompt":[-1]})", R"({"prompt":[1.5]})", R"({"prompt":[[1],["a"]]})",
        R"({"prompt":"a","echo":true})", R"({"prompt":"a","suffix":"b"})"}) {
    EXPECT_NE(CompletionError(body), "") << body;
  }
  std::string many = R"({"n":16,"prompt":["a")";
  for (int index = 0; index < 5; ++index) {
    many += R"(,"a")";
  }
  EXPECT_NE(CompletionError(many + "]}").find("64"), std::string::npos);
}

}  // namespace
}  // namespace etch::serve
