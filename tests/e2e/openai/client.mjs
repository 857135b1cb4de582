// OpenAI's client against a running Etch: node client.mjs URL KEY. Exits with 1 at the first thing that is not as the
// API promises.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const settings = { messages, max_tokens: 24, temperature: 0 };

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["tiny", "acme", "bistro"]);
console.log("models:", models.join(", "));

// The base and two adapters, two requests at a time.
const answer = async (model) => {
  const reply = await client.chat.completions.create({ model, ...settings });
  assert.equal(reply.object, "chat.completion");
  assert.equal(reply.model, model);
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
  assert.ok(["stop", "length"].includes(reply.choices[0].finish_reason));
  return reply.choices[0].message.content;
};
const [base] = await Promise.all([answer("tiny"), answer("tiny")]);
const [acme, bistro] = await Promise.all([answer("acme"), answer("bistro")]);
assert.equal(new Set([base, acme, bistro]).size, 3);
console.log("answers:", JSON.stringify({ base, acme, bistro }));

// Streaming gives the same text, and usage when asked.
const streamed = async (model) => {
  let text = "";
  let usage = null;
  const stream = await client.chat.completions.create({
    model, ...settings, stream: true, stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(usage.completion_tokens > 0);
  return text;
};
const [acmeStreamed, bistroStreamed] = await Promise.all([streamed("acme"), streamed("bistro")]);
assert.equal(acmeStreamed, acme);
assert.equal(bistroStreamed, bistro);
console.log("streams: equal to the whole answers");

// Sampling: one seed, one text; several choices; log-probabilities.
const sample = (seed) =>
  client.chat.completions.create({ model: "acme", ...settings, temperature: 1, top_p: 0.95, seed, n: 2,
    logprobs: true, top_logprobs: 3 });
const [first, second] = await Promise.all([sample(5), sample(5)]);
assert.deepEqual(first.choices, second.choices);
assert.equal(first.choices.length, 2);
assert.equal(first.choices[0].logprobs.content[0].top_logprobs.length, 3);

const completion = await client.completions.create({ model: "tiny", prompt: "Hello", max_tokens: 5 });
assert.equal(completion.object, "text_completion");

// Responses: whole and streamed.
const asked = { model: "acme", input: "Hello", max_output_tokens: 24, temperature: 0 };
const response = await client.responses.create(asked);
assert.equal(response.output_text, acme);
assert.ok(response.usage.output_tokens > 0);
let delta = "";
let end = null;
for await (const event of await client.responses.create({ ...asked, stream: true })) {
  if (event.type === "response.output_text.delta") delta += event.delta;
  end = event;
}
assert.equal(delta, acme);
assert.ok(["response.completed", "response.incomplete"].includes(end.type));
assert.equal(end.response.output[0].content[0].text, acme);
console.log("responses: equal to the chat's answers");

// Errors arrive as the client's own classes.
await assert.rejects(answer("nobody"), OpenAI.NotFoundError);
await assert.rejects(
  client.chat.completions.create({ model: "tiny", messages, temperature: 1e9 }), OpenAI.BadRequestError);
await assert.rejects(
  new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 }).models.list(), OpenAI.AuthenticationError);
console.log("errors: as promised");
