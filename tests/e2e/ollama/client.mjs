// Ollama's client against a running Etch: node client.mjs URL KEY.

import assert from "node:assert/strict";
import { Ollama } from "ollama";

const [host, key] = process.argv.slice(2);
const ollama = new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });
const messages = [{ role: "user", content: "Hello" }];
const options = { temperature: 0, num_predict: 12 };

const { models } = await ollama.list();
assert.deepEqual(models.map((model) => model.name), ["tiny", "acme", "bistro"]);

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
assert.equal((await ollama.show({ model: "acme" })).details.parent_model, "tiny");
await assert.rejects(ollama.chat({ model: "nobody", messages }), /no model named/);
