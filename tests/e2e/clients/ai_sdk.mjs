// Vercel's AI SDK against a running Etch: node ai_sdk.mjs URL KEY.

import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { Output, embed, embedMany, generateText, jsonSchema, streamText, tool } from "ai";

const [url, apiKey] = process.argv.slice(2);
const etch = createOpenAICompatible({ name: "etch", baseURL: url + "/v1", apiKey,
  supportsStructuredOutputs: true, includeUsage: true });
const model = etch.chatModel("acme");
const settings = { model, prompt: "Hello", maxOutputTokens: 24, temperature: 0, maxRetries: 0 };

const whole = await generateText(settings);
assert.ok(whole.text.length > 0);
assert.ok(whole.usage.inputTokens > 0 && whole.usage.outputTokens > 0);
const stream = streamText(settings);
let text = "";
for await (const part of stream.textStream) text += part;
assert.equal(text, whole.text);
assert.deepEqual((await stream.usage).outputTokens, whole.usage.outputTokens);
console.log("text: the stream equals the whole answer");

const shape = { type: "object", required: ["city", "days"], additionalProperties: false,
  properties: { city: { enum: ["Rome", "Oslo"] },
    days: { type: "integer", minimum: 1, maximum: 9 } } };
const check = (value) => {
  assert.ok(["Rome", "Oslo"].includes(value.city));
  assert.ok(value.days >= 1 && value.days <= 9);
};
const loose = { ...settings, temperature: 1, maxOutputTokens: 200, seed: 3 };
const output = Output.object({ schema: jsonSchema(shape) });
check((await generateText({ ...loose, output })).output);
const partial = streamText({ ...loose, output });
check(await partial.output);
console.log("objects: as the schema has them");

const calls = [];
const tools = { trip: tool({ description: "Plans.", inputSchema: jsonSchema(shape),
  execute: async (input) => { calls.push(input); return "planned"; } }) };
const called = await generateText({ ...loose, tools, toolChoice: "required" });
check(called.toolCalls[0].input);
assert.equal(called.finishReason, "tool-calls");
assert.equal(called.toolResults[0].output, "planned");
const live = streamText({ ...loose, tools, toolChoice: { type: "tool", toolName: "trip" } });
check((await live.toolCalls)[0].input);
calls.forEach(check);
assert.equal(calls.length, 2);
console.log("tools: called with what they take");

const embedder = etch.embeddingModel("acme");
const { embedding } = await embed({ model: embedder, value: "Hello", maxRetries: 0 });
assert.equal(embedding.length, 64);
const { embeddings, usage } = await embedMany({ model: embedder, values: ["Hello", "You"] });
assert.deepEqual(embeddings[0], embedding);
assert.ok(usage.tokens > 0);

await assert.rejects(generateText({ ...settings, model: etch.chatModel("nobody") }),
  (error) => error.statusCode === 404 && /no model named/.test(error.message));
const controller = new AbortController();
const aborted = streamText({ ...settings, maxOutputTokens: 400, abortSignal: controller.signal,
  providerOptions: { etch: { ignore_eos: true } } });
for await (const part of aborted.textStream) {
  assert.ok(part.length > 0);
  controller.abort();
}
console.log("embeddings, errors, aborts");
