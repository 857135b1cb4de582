// OpenAI's client against a running Etch: node openai.mjs URL KEY. Exits with 1 at the first thing
// that is not as the API promises.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [url, apiKey] = process.argv.slice(2);
const baseURL = url + "/v1";
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const settings = { messages, max_tokens: 24, temperature: 0 };
const chat = (fields) => client.chat.completions.create({ ...settings, ...fields });
const said = (reply) => reply.choices[0].message.content;

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["tiny", "acme", "bistro"]);
assert.equal((await client.models.retrieve("acme")).parent, "tiny");

// The base and two adapters, two requests at a time.
const answer = async (model) => {
  const reply = await chat({ model });
  assert.equal(reply.object, "chat.completion");
  assert.equal(reply.model, model);
  assert.equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens);
  assert.ok(["stop", "length"].includes(reply.choices[0].finish_reason));
  return said(reply);
};
const [base] = await Promise.all([answer("tiny"), answer("tiny")]);
const [acme, bistro] = await Promise.all([answer("acme"), answer("bistro")]);
assert.equal(new Set([base, acme, bistro]).size, 3);

// Streaming gives the same text, and usage when asked.
const streamed = async (model) => {
  let text = "";
  let usage = null;
  const stream = await chat({ model, stream: true, stream_options: { include_usage: true } });
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
console.log("chat: streams equal to the whole answers");

// Sampling: one seed, one text; several choices; log-probabilities.
const sample = (seed) =>
  chat({ model: "acme", temperature: 1, top_p: 0.95, seed, n: 2, logprobs: true, top_logprobs: 3 });
const [first, second, third] = await Promise.all([sample(5), sample(5), sample(6)]);
assert.deepEqual(first.choices, second.choices);
assert.notDeepEqual(first.choices, third.choices);
assert.equal(first.choices.length, 2);
assert.notEqual(first.choices[0].message.content, first.choices[1].message.content);
const logprobs = first.choices[0].logprobs.content;
assert.equal(logprobs.length, 24);
assert.ok(logprobs.every((item) => item.top_logprobs.length === 3 && item.logprob <= 0));

// What changes the choice of tokens.
const forced = { logit_bias: { 70: 100 }, max_tokens: 6 };
const repeated = said(await chat(forced));
assert.equal(new Set(repeated).size, 1);
assert.ok(new Set(said(await chat({ logit_bias: { 70: 30 } }))).size === 1);
assert.ok(new Set(said(await chat({ logit_bias: { 70: 30 }, frequency_penalty: 2,
  presence_penalty: 2 }))).size > 1);
const letter = base.trim()[0];
const stopped = await chat({ model: "tiny", stop: [letter] });
assert.ok(!said(stopped).includes(letter));
assert.equal(stopped.choices[0].finish_reason, "stop");

// The second request of a conversation reads only what is new.
const long = { model: "tiny", messages: [{ role: "user", content: "Hello. ".repeat(30) }] };
await chat(long);
const again = (await chat(long)).usage;
assert.ok(again.prompt_tokens_details.cached_tokens >= 16);
assert.ok(again.prompt_tokens_details.cached_tokens < again.prompt_tokens);
console.log("sampling: seed, n, logprobs, bias, penalties, stop; cached tokens");

// Answers held to JSON.
const schema = { type: "object", required: ["ok", "size"], additionalProperties: false,
  properties: { ok: { type: "boolean" }, size: { enum: [1, 2, 3] } } };
const json = { temperature: 1, max_tokens: 200, seed: 1 };
const held = JSON.parse(said(await chat({ ...json,
  response_format: { type: "json_schema", json_schema: { name: "x", strict: true, schema } } })));
assert.equal(typeof held.ok, "boolean");
assert.ok([1, 2, 3].includes(held.size));
const free = await chat({ ...json, response_format: { type: "json_object" } });
if (free.choices[0].finish_reason === "stop") assert.equal(typeof JSON.parse(said(free)), "object");
assert.ok(said(free).trim().startsWith("{"));

// Tools: offered, required, named, hidden; whole and streamed.
const add = { type: "function",
  function: { name: "add", description: "Adds.", parameters: schema } };
const other = { type: "function", function: { name: "wait" } };
const tools = [add, other];
assert.ok((await chat({ tools })).usage.prompt_tokens > (await chat({})).usage.prompt_tokens);
assert.deepEqual((await chat({ tools, tool_choice: "none" })).usage.prompt_tokens,
  (await chat({})).usage.prompt_tokens);
const required = await chat({ ...json, tools, tool_choice: "required" });
assert.equal(required.choices[0].finish_reason, "tool_calls");
assert.equal(required.choices[0].message.content, null);
const [call] = required.choices[0].message.tool_calls;
assert.ok(["add", "wait"].includes(call.function.name));
const named = { ...json, tools, tool_choice: { type: "function", function: { name: "add" } } };
const whole = (await chat(named)).choices[0].message.tool_calls;
assert.equal(whole[0].function.name, "add");
assert.equal(typeof JSON.parse(whole[0].function.arguments).ok, "boolean");
const runner = client.chat.completions.stream({ ...settings, ...named });
const final = (await runner.finalChatCompletion()).choices[0];
assert.equal(final.finish_reason, "tool_calls");
assert.deepEqual(final.message.tool_calls[0].function.arguments, whole[0].function.arguments);
const talk = [...messages, { role: "assistant", content: null, tool_calls: whole },
  { role: "tool", tool_call_id: whole[0].id, content: "3" }];
assert.ok(said(await chat({ messages: talk, tools })).length > 0);
console.log("json and tools: held, called, answered");

// Completions.
const completion = await client.completions.create({ model: "tiny", prompt: "Hello",
  max_tokens: 5 });
assert.equal(completion.object, "text_completion");
let text = "";
for await (const chunk of await client.completions.create({ model: "tiny", prompt: ["Hello", "You"],
  max_tokens: 5, temperature: 0, stream: true })) {
  if (chunk.choices[0].index === 1) text += chunk.choices[0].text;
}
assert.equal(text, (await client.completions.create({ model: "tiny", prompt: "You", max_tokens: 5,
  temperature: 0 })).choices[0].text);

// Embeddings: the client asks for base64 by itself.
const embed = (fields) => client.embeddings.create({ model: "acme", input: "Hello", ...fields });
const floats = await embed({ encoding_format: "float" });
const packed = await embed({});
assert.equal(floats.data[0].embedding.length, 64);
assert.deepEqual(packed.data[0].embedding.map(Math.fround),
  floats.data[0].embedding.map(Math.fround));
const length = Math.hypot(...floats.data[0].embedding);
assert.ok(Math.abs(length - 1) < 1e-6, `${length}`);
const several = await embed({ input: ["Hello", "You"], encoding_format: "float" });
assert.deepEqual(several.data[0].embedding, floats.data[0].embedding);
assert.notDeepEqual(several.data[1].embedding, floats.data[0].embedding);
assert.deepEqual(several.data.map((item) => item.index), [0, 1]);
assert.ok(several.usage.total_tokens > floats.usage.total_tokens);
const ofBase = await embed({ model: "tiny", encoding_format: "float" });
assert.notDeepEqual(ofBase.data[0].embedding, floats.data[0].embedding);
assert.equal((await embed({ dimensions: 64 })).data[0].embedding.length, 64);
await assert.rejects(embed({ dimensions: 32 }), OpenAI.BadRequestError);
await assert.rejects(embed({ input: "" }), OpenAI.BadRequestError);
console.log("completions and embeddings: equal whole, streamed, packed, in lists");

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
const { output } = await client.responses.create({ ...asked, temperature: 1, max_output_tokens: 200,
  tools: [{ type: "function", name: "add", parameters: schema, strict: true }],
  tool_choice: { type: "function", name: "add" } });
assert.deepEqual(output.map((item) => item.type), ["function_call"]);
assert.ok([1, 2, 3].includes(JSON.parse(output[0].arguments).size));
console.log("responses: equal to the chat's answers; calls");

// A stream that is given up frees its place: the server has one.
const stream = await client.chat.completions.create({ ...settings, max_tokens: 400, n: 16,
  temperature: 1, ignore_eos: true, stream: true });
for await (const chunk of stream) {
  assert.ok(chunk.choices.length > 0);
  break;  // the client aborts the request
}
assert.ok(stream.controller.signal.aborted);
const given = new AbortController();
const pending = client.chat.completions.create({ ...settings, n: 16, max_tokens: 400,
  temperature: 1, ignore_eos: true, stream: true }, { signal: given.signal });
for await (const chunk of await pending) {
  assert.ok(chunk.id);
  given.abort();
}
const generated = async () => {
  const headers = { Authorization: "Bearer boss" };
  const metrics = await (await fetch(url + "/metrics", { headers })).text();
  return Number(/^vllm:generation_tokens_total\S* (\d+)/m.exec(metrics)[1]);
};
let health = null;
for (const begin = Date.now(); Date.now() - begin < 10000;) {
  health = await (await fetch(url + "/health")).json();
  if (health.running + health.queue_size === 0) break;
}
assert.equal(health.running + health.queue_size, 0);
assert.ok(await generated() < 16 * 400, "the abandoned answers were finished");

// Errors arrive as the client's own classes.
await assert.rejects(answer("nobody"), OpenAI.NotFoundError);
await assert.rejects(chat({ temperature: 1e9 }), OpenAI.BadRequestError);
await assert.rejects(chat({ tool_choice: "required" }), (error) =>
  error instanceof OpenAI.BadRequestError && error.param === "tool_choice" &&
  error.requestID.length > 0);
const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
console.log("aborts free the place; errors as promised");
