// OpenAI's client with a key that may have one request at a time: node openai_limits.mjs URL KEY.

import assert from "node:assert/strict";
import OpenAI from "openai";

const [url, apiKey] = process.argv.slice(2);
const several = (maxRetries) => {
  const client = new OpenAI({ baseURL: url + "/v1", apiKey, maxRetries });
  return Promise.allSettled([1, 2, 3].map((seed) => client.completions.create({
    model: "tiny", prompt: "Hello", max_tokens: 450, seed, ignore_eos: true })));
};

const once = await several(0);
const refused = once.filter((result) => result.status === "rejected");
assert.ok(refused.length > 0 && refused.length < 3, `${refused.length} refused`);
for (const { reason } of refused) {
  assert.ok(reason instanceof OpenAI.RateLimitError, reason);
  assert.equal(reason.code, "rate_limit_exceeded");
  assert.ok(Number(reason.headers.get("retry-after")) >= 1);
}
// The client waits as long as it is told, and comes again.
const patient = await several(8);
assert.deepEqual(patient.map((result) => result.status), Array(3).fill("fulfilled"));
