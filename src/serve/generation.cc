#include "serve/generation.h"

namespace etch::serve {
namespace {

// State of one choice, shared by its two callbacks (which the scheduler calls one after the other).
struct Choice {
  Choice(const text::Tokenizer& tokenizer, const CompletionRequest& request)
      : output(tokenizer, request.stop, !request.is_chat()) {}

  text::OutputText output;
  std::optional<grammar::Matcher> matcher;
  bool stopped = false;
};

engine::Request MakeRequest(const CompletionRequest& request,
                            const std::shared_ptr<grammar::TokenMasks>& masks, uint64_t seed,
                            int64_t index, const text::Tokenizer& tokenizer,
                            const std::function<void(Piece)>& deliver) {
  engine::Request out;
  numerics::SamplingParams sampling = request.sampling;
  sampling.seed = seed;
  out.sampling = numerics::ToConfig(sampling);
  out.stream = static_cast<uint32_t>(index);
  out.max_tokens = request.max_tokens.value_or(int64_t{1} << 31);
  if (!request.ignore_eos) {
    out.end_tokens = tokenizer.vocabulary().end_of_generation;
  }
  out.changes = request.changes;
  out.hidden = request.embeds;
  out.context = request.context;
  out.client = request.client;
  out.salt = request.client;
  auto choice = std::make_shared<Choice>(tokenizer, request);
  if (masks != nullptr) {
    // Where the text loses the space that SentencePiece puts first, the constraint sees none.
    const model::Vocabulary& vocabulary = tokenizer.vocabulary();
    const bool drops_space = request.is_chat() && vocabulary.add_prefix_space &&
                             vocabulary.kind == model::TokenizerKind::kSentencePiece;
    choice->matcher.emplace(masks, drops_space);
    out.filter.allowed = [choice] { return choice->matcher->Allowed(); };
    out.filter.accept = [choice](engine::TokenId token) { choice->matcher->Accept(token); };
  }
  out.on_token = [choice, index, deliver, logprobs = request.logprobs, top = request.top_logprobs,
                  embeds = request.embeds](const engine::TokenEvent& event) {
    Piece piece;
    piece.choice = index;
    if (embeds) {
      piece.hidden.assign(event.hidden.begin(), event.hidden.end());
      deliver(std::move(piece));
      return false;
    }
    piece.tokens = 1;
    piece.text = choice->output.Push(event.token);
    if (logprobs) {
      piece.details.push_back({event.token, engine::Logprob(event.logits, event.token),
                               engine::TopLogprobs(event.logits, top)});
    }
    deliver(std::move(piece));
    // Nothing but an end may follow: no pass is needed to find it.
    choice->stopped =
        choice->output.stopped() || (choice->matcher && choice->matcher->is_complete());
    return !choice->stopped;
  };
  out.on_finish = [choice, index, deliver](engine::FinishReason reason, const Error* error) {
    Piece piece;
    piece.choice = index;
    piece.text = choice->output.Flush();
    piece.finished = true;
    piece.reason = reason;
    piece.at_stop_string = choice->output.stopped();
    piece.error = error != nullptr ? error->message : "";
    deliver(std::move(piece));
  };
  return out;
}

}  // namespace

Result<Generation> StartGeneration(const CompletionRequest& request,
                                   const std::vector<std::vector<engine::TokenId>>& prompts,
                                   const std::vector<engine::RequestedAdapter>& adapters,
                                   const std::shared_ptr<grammar::TokenMasks>& masks, uint64_t seed,
                                   const text::Tokenizer& tokenizer, engine::Scheduler& scheduler,
                                   const std::function<void(Piece)>& deliver) {
  Generation generation;
  for (const std::vector<engine::TokenId>& prompt : prompts) {
    generation.prompt_tokens += std::ssize(prompt);
    uint64_t leader = 0;
    for (int64_t copy = 0; copy < request.choices; ++copy) {
      engine::Request one =
          MakeRequest(request, masks, seed, generation.choices++, tokenizer, deliver);
      one.prompt = prompt;
      one.leader = leader;
      one.on_start = [deliver, index = generation.choices - 1,
                      first = copy == 0](const engine::RequestStart& start) {
        Piece piece;
        piece.choice = index;
        piece.started = true;
        piece.cached_tokens = first ? start.cached_tokens : 0;
        deliver(std::move(piece));
      };
      one.requested = adapters;
      const Result<uint64_t> id = scheduler.Submit(std::move(one));
      if (!id) {
        for (const uint64_t started : generation.ids) {
          scheduler.Cancel(started);
        }
        return tl::unexpected(id.error());
      }
      generation.ids.push_back(*id);
      leader = leader == 0 ? *id : leader;
    }
  }
  return generation;
}

}  // namespace etch::serve
