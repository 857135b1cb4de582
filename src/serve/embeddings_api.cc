// An embedding is a request of no answer: each input runs through the scheduler like a prompt, in
// turns and chunks, and what the final norm gives for its last token is its vector. Only that token
// has seen all of the text; a mean over tokens would mix in states that have seen its beginning.
// That is what vLLM and Ollama do for models that were not trained for embeddings.

#include "serve/embeddings_api.h"

#include <openssl/evp.h>

#include <array>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "serve/json_fields.h"
#include "serve/ollama_api.h"

namespace etch::serve {
namespace {

using Out = nlohmann::ordered_json;

enum class Surface { kOpenAi, kOllama, kOllamaOne };

constexpr auto kFields = std::to_array<std::string_view>(
    {"model", "input", "encoding_format", "dimensions", "user", "lora", "strict"});
constexpr auto kOllamaFields = std::to_array<std::string_view>(
    {"model", "input", "prompt", "truncate", "dimensions", "options", "keep_alive", "strict"});

// Numbers of a float's own shortest text: JSON libraries write doubles.
std::string ListOf(std::span<const float> values) {
  std::string list = "[";
  for (const float value : values) {
    fmt::format_to(std::back_inserter(list), "{}{}", list.size() > 1 ? "," : "", value);
  }
  return list + "]";
}

// A body is put together from the texts of its vectors: {"before": …, NAME: […], "behind": …}.
class EmbeddingsFormat : public AnswerFormat {
 public:
  EmbeddingsFormat(Surface surface, bool is_base64) : surface_(surface), is_base64_(is_base64) {}

  std::string_view id_prefix() const override { return "embd-"; }

  std::string Whole(const AnswerView& answer, const std::vector<ChoiceState>& choices) override {
    std::string list;
    for (size_t index = 0; index < choices.size(); ++index) {
      const std::vector<float> values = Normalized(choices[index].hidden);
      const std::string vector =
          is_base64_ ? fmt::format("\"{}\"", Base64(values)) : ListOf(values);
      list += index > 0 ? "," : "";
      list +=
          surface_ == Surface::kOpenAi
              ? fmt::format(R"({{"object":"embedding","index":{},"embedding":{}}})", index, vector)
              : vector;
    }
    const int64_t tokens = answer.usage.prompt_tokens;
    const std::string model = DumpJson(Out(answer.head.model));
    switch (surface_) {
      case Surface::kOpenAi:
        return fmt::format(
            R"({{"object":"list","data":[{}],"model":{},"usage":{{"prompt_tokens":{},)"
            R"("total_tokens":{},"prompt_tokens_details":{{"cached_tokens":{}}}}}}})",
            list, model, tokens, tokens, answer.usage.cached_tokens);
      case Surface::kOllama:
        return fmt::format(
            R"({{"model":{},"embeddings":[{}],"total_duration":{},"load_duration":0,)"
            R"("prompt_eval_count":{}}})",
            model, list, static_cast<int64_t>(answer.timings.last_token_s * 1e9), tokens);
      case Surface::kOllamaOne:
        break;
    }
    return fmt::format(R"({{"embedding":{}}})", list);
  }
  std::string Next(const AnswerView&, const Piece&) override { return ""; }

 private:
  const Surface surface_;
  const bool is_base64_;
};

// A text or token ids.
Result<Prompt> ReadInput(const Json& json) {
  if (json.is_string()) {
    if (json == "") {
      return Fail(ErrorCode::kInvalidArgument, "input holds an empty text");
    }
    return Prompt(json.get<std::string>());
  }
  std::vector<model::TokenId> tokens;
  for (const Json& item : json) {
    if (!item.is_number_integer() || item.get<int64_t>() < 0 ||
        item.get<int64_t>() > model::kMaxTokenId) {
      return Fail(ErrorCode::kInvalidArgument, "input holds something that is not a token id");
    }
    tokens.push_back(item.get<model::TokenId>());
  }
  if (tokens.empty()) {
    return Fail(ErrorCode::kInvalidArgument, "input holds an empty list");
  }
  return Prompt(std::move(tokens));
}

Result<std::vector<Prompt>> ReadInputs(const Json* input) {
  if (input == nullptr || !(input->is_string() || input->is_array())) {
    return Fail(ErrorCode::kInvalidArgument, "input is neither a string nor a list");
  }
  const bool several = input->is_array() && !input->empty() &&
                       (input->front().is_string() || input->front().is_array());
  if (several && std::ssize(*input) > kMaxInputs) {
    return Fail(ErrorCode::kInvalidArgument, "input has more than {} texts", kMaxInputs);
  }
  std::vector<Prompt> inputs;
  for (const Json& item : several ? *input : Json::array({*input})) {
    if (!item.is_string() && !item.is_array()) {
      return Fail(ErrorCode::kInvalidArgument, "input holds neither a text nor a list of ids");
    }
    ETCH_ASSIGN_OR_RETURN(Prompt read, ReadInput(item));
    inputs.push_back(std::move(read));
  }
  return inputs;
}

// What all three have, from the field `input_name`.
Result<Ask> ReadAsk(const Service& service, const Json& json, const char* input_name,
                    Surface surface) {
  Ask ask;
  const Json* lora = surface == Surface::kOpenAi ? Field(json, "lora") : nullptr;
  ETCH_ASSIGN_OR_RETURN(ask.request,
                        ParseCompletionRequest(DumpJson(Json{{"prompt", "x"},
                                                             {"max_tokens", 1},
                                                             {"temperature", 0},
                                                             {"ignore_eos", true},
                                                             {"lora", lora ? *lora : Json()}})));
  ETCH_TRY(ReadString(json, "model", ask.request.model));
  ETCH_ASSIGN_OR_RETURN(ask.request.prompts, ReadInputs(Field(json, input_name)));
  ask.request.embeds = true;
  const int64_t dim = service.engine.image().config().dim;
  ETCH_ASSIGN_OR_RETURN(const auto dimensions, ReadInteger(json, "dimensions", 1, 1 << 30));
  if (dimensions && *dimensions != dim) {
    return Fail(ErrorCode::kUnsupported,
                "dimensions: the vectors of this model have {} and cannot be cut to {}", dim,
                *dimensions);
  }
  std::string encoding = "float";
  if (surface == Surface::kOpenAi) {
    ETCH_TRY(ReadString(json, "encoding_format", encoding));
  }
  if (encoding != "float" && encoding != "base64") {
    return Fail(ErrorCode::kInvalidArgument, "encoding_format is neither \"float\" nor \"base64\"");
  }
  ask.format = std::make_unique<EmbeddingsFormat>(surface, encoding == "base64");
  return ask;
}

Result<Ask> AskOllama(const Service& service, const RouteRequest& route, bool strict,
                      const char* input_name, Surface surface) {
  ETCH_ASSIGN_OR_RETURN(Json json, ParseObject(route.body));
  ETCH_TRY(CheckFields(json, strict, kOllamaFields));
  ETCH_ASSIGN_OR_RETURN(Ask ask, ReadAsk(service, json, input_name, surface));
  ask.request.model = ModelWithoutTag(service, ask.request.model);
  return ask;
}

}  // namespace

Result<Ask> AskEmbeddings(const Service& service, const RouteRequest& route, bool strict) {
  ETCH_ASSIGN_OR_RETURN(const Json json, ParseObject(route.body));
  ETCH_TRY(CheckFields(json, strict, kFields));
  return ReadAsk(service, json, "input", Surface::kOpenAi);
}

Result<Ask> AskOllamaEmbed(const Service& service, const RouteRequest& route, bool strict) {
  return AskOllama(service, route, strict, "input", Surface::kOllama);
}

Result<Ask> AskOllamaEmbeddings(const Service& service, const RouteRequest& route, bool strict) {
  ETCH_ASSIGN_OR_RETURN(Ask ask, AskOllama(service, route, strict, "prompt", Surface::kOllamaOne));
  if (ask.request.prompts.size() != 1) {
    return Fail(ErrorCode::kInvalidArgument, "prompt is not a text; /api/embed takes several");
  }
  return ask;
}

std::vector<float> Normalized(std::span<const int32_t> hidden) {
  // The squares' halves of 32 bits, added apart: exact for 2^32 values.
  uint64_t high = 0;
  uint64_t low = 0;
  for (const int32_t value : hidden) {
    const auto square = static_cast<uint64_t>(int64_t{value} * value);
    high += square >> 32;
    low += square & UINT32_MAX;
  }
  const double length =
      std::sqrt(std::ldexp(static_cast<double>(high), 32) + static_cast<double>(low));
  std::vector<float> out;
  out.reserve(hidden.size());
  for (const int32_t value : hidden) {
    out.push_back(length > 0.0 ? static_cast<float>(value / length) : 0.0F);
  }
  return out;
}

std::string Base64(std::span<const float> values) {
  std::vector<uint8_t> bytes;
  bytes.reserve(values.size() * 4);
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) {
      bytes.push_back(static_cast<uint8_t>(bits >> shift));
    }
  }
  std::vector<uint8_t> text((bytes.size() + 2) / 3 * 4 + 1);
  const int size = EVP_EncodeBlock(text.data(), bytes.data(), static_cast<int>(bytes.size()));
  return {text.begin(), text.begin() + size};
}

}  // namespace etch::serve
