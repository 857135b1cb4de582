// Ollama's client against a running Etch: node ollama.mjs URL KEY.

import assert from "node:assert/strict";
import { Ollama } from "ollama";

const [host, key] = process.argv.slice(2);
const ollama = new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });
const messages = [{ role: "user", content: "Hello" }];
const options = { temperature: 0, num_predict: 12 };

const { models } = await ollama.list();
assert.deepEqual(models.map((model) => model.name), ["tiny", "acme", "bistro"]);
assert.match((await ollama.version()).version, /^\d+\.\d+/);

const whole = await ollama.chat({ model: "acme", messages, options });
assert.equal(whole.message.role, "assistant");
assert.equal(whole.eval_count, 12);

let text = "";
let last = null;
for await (const part of await ollama.chat({ model: "acme", messages, options, stream: true })) {
  text += part.message.content;
  last = part;
}
assert.equal(text, whole.message.content);
assert.ok(last.done && last.total_duration > 0);

const generated = await ollama.generate({ model: "acme", prompt: "Hello", options });
assert.equal(generated.response, text);
text = "";
for await (const part of await ollama.generate({ model: "acme", prompt: "Hello", options,
  stream: true })) {
  text += part.response;
}
assert.equal(text, generated.response);
const format = { type: "object", properties: { n: { enum: [1, 2] } }, required: ["n"],
  additionalProperties: false };
const held = await ollama.chat({ model: "acme", messages, format,
  options: { num_predict: 200, seed: 1 } });
assert.ok([1, 2].includes(JSON.parse(held.message.content).n));
assert.equal((await ollama.show({ model: "acme:latest" })).details.parent_model, "tiny");

const { embeddings, prompt_eval_count } = await ollama.embed({ model: "acme:latest",
  input: ["Hello", "You"] });
assert.deepEqual(embeddings.map((vector) => vector.length), [64, 64]);
assert.ok(prompt_eval_count > 0);
const { embedding } = await ollama.embeddings({ model: "acme", prompt: "You" });
assert.deepEqual(embedding, embeddings[1]);

await assert.rejects(ollama.chat({ model: "nobody", messages }), /no model named/);
const stream = await ollama.chat({ model: "acme", messages, stream: true,
  options: { ...options, num_predict: 400 } });
await assert.rejects(async () => {
  for await (const part of stream) {
    assert.ok(part.message);
    ollama.abort();
  }
}, { name: "AbortError" });
