#!/usr/bin/env node
// Greedy text of stock llama.cpp: node greedy.mjs MODEL.gguf --prompt TEXT [options], prints one
// JSON object: {"prompt": [ids], "tokens": [ids], "text": "…", "steps": [{token, gap}]}.
//
//   --tokens N          tokens to generate, default 64; fewer when the model ends its answer
//   --lora FILE[=W]     LoRA adapter in GGUF with a weight; repeat to stack several
//   --follow IDS        do not sample: feed these ids (separated by commas), which another engine
//                       chose, and say at each step which token llama.cpp would have taken and by how
//                       much more likely it is (gap, in nats; 0 where both agree)
//
// The prompt is turned into tokens by llama.cpp, from what the file says about its tokenizer. See
// llama_cpp.mjs about the package and its native module.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { parseArgs } from "node:util";
import { getBinsDir } from "@node-llama-cpp/linux-x64";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prompt: { type: "string" },
    tokens: { type: "string", default: "64" },
    lora: { type: "string", multiple: true, default: [] },
    follow: { type: "string" },
  },
});

function fail(message) {
  process.stderr.write(`greedy: ${message}\n`);
  process.exit(1);
}

if (positionals.length !== 1 || options.prompt === undefined) fail("give MODEL.gguf and --prompt");
const count = Number(options.tokens);
if (!Number.isInteger(count) || count < 1) fail(`--tokens ${options.tokens} is no number above 0`);
const loras = options.lora.map((text) => {
  const [, file, weight] = /^(.*?)(?:=([-\d.]+))?$/.exec(text);
  return { file, weight: weight === undefined ? 1 : Number(weight) };
});
for (const file of [...positionals, ...loras.map(({ file }) => file)]) {
  if (!fs.existsSync(file)) fail(`${file}: no such file`);
}

const log = [];

async function openAddon() {
  const folder = path.join(getBinsDir().binsDir, "linux-x64");
  const addon = createRequire(import.meta.url)(path.join(folder, "llama-addon.node"));
  addon.setLogger((_level, text) => log.push(text));
  addon.loadBackends(folder);
  await addon.init();
  return addon;
}

// Evaluates `tokens` from `position` on; the place of the last one's logits.
async function evaluate(context, position, tokens) {
  context.initBatch(tokens.length);
  const [place] = context.addToBatch(0, position, Uint32Array.from(tokens),
    Uint32Array.of(tokens.length - 1));
  await context.decodeBatch();
  return place;
}

// Probability of each token: a Map.
async function probabilitiesAt(context, sampler, place) {
  const [, flat] = await context.sampleToken(place, sampler, true);
  const found = new Map();
  for (let index = 0; index + 1 < flat.length; index += 2) found.set(flat[index], flat[index + 1]);
  return found;
}

function mostLikely(probabilities) {
  let best = -1;
  for (const [token, probability] of probabilities) {
    if (best < 0 || probability > probabilities.get(best)) best = token;
  }
  return best;
}

async function generate(addon) {
  const model = new addon.AddonModel(positionals[0], { addonExports: addon, gpuLayers: 0 });
  if (!(await model.init())) throw new Error(`${positionals[0]}: not loaded`);
  const adapters = [];
  for (const { file } of loras) {
    const adapter = new addon.AddonModelLora(model, file);
    await model.loadLora(adapter);
    adapters.push(adapter);
  }
  const prompt = Array.from(model.tokenize(options.prompt, false));
  if (model.shouldPrependBosToken()) prompt.unshift(model.tokenBos());
  const follow = options.follow?.split(",").filter(Boolean).map(Number);
  const steps = follow?.length ?? count;
  const context = new addon.AddonContext(model, {
    contextSize: prompt.length + steps + 8, batchSize: prompt.length + 8, sequences: 1, threads: 1,
  });
  if (!(await context.init())) throw new Error("no context");
  if (adapters.length > 0) context.setLoras(adapters, loras.map(({ weight }) => weight));
  const sampler = new addon.AddonSampler(model);
  sampler.applyConfig({ temperature: 0 });
  const result = { prompt, tokens: [], steps: [] };
  let place = await evaluate(context, 0, prompt);
  for (let step = 0; step < steps; ++step) {
    const probabilities = await probabilitiesAt(context, sampler, place);
    const best = mostLikely(probabilities);
    const token = follow?.[step] ?? best;
    const gap = Math.log(probabilities.get(best)) - Math.log(probabilities.get(token) ?? 0);
    result.steps.push({ token: best, gap: Number.isFinite(gap) ? gap : 1e9 });
    if (follow === undefined && model.isEogToken(token)) break;
    result.tokens.push(token);
    place = await evaluate(context, prompt.length + step, [token]);
  }
  result.text = model.detokenize(Uint32Array.from(result.tokens), false);
  return result;
}

try {
  const result = await generate(await openAddon());
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
} catch (error) {
  process.stderr.write(log.slice(-20).join(""));
  fail(error.message);
}
