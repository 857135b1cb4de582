#!/usr/bin/env node
// Stock llama.cpp, measured: node llama_cpp.mjs MODEL.gguf [options], prints one JSON object with
// the fields of `etch bench --json`.
//
//   --threads N        default 2
//   --adapter FILE     LoRA adapter in GGUF; repeat it for a batch whose first sequences have one
//                      each
//   --prompt N         tokens of the prefill, default 512; 0: none
//   --batch N          sequences decoded together, default 16; 0: none
//   --context N        decode at this context too; filled by a prefill, so slow for large models
//   --seconds S        time for each figure of decoding, default 6; at least two steps are taken
//   --only LIST        of prefill, decode, batch, adapter, adapters; default all
//
// llama.cpp comes prebuilt inside of node-llama-cpp's package for Linux. Its JavaScript layer is not
// used: it samples, queues and splits batches on its own, where this wants to time llama_decode and
// nothing else. The native module underneath (AddonModel, AddonContext) has calls that map to
// llama.cpp's own, one to one; it is pinned in package-lock.json because it is not a public
// interface.
//
// What is timed is llama_decode with the logits of one token a sequence, without sampling. Token ids
// are fixed in advance. The first step of each figure is not counted; tokens_per_s is that of the
// median step, best_tokens_per_s of the shortest.

import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { parseArgs } from "node:util";
import { getBinsDir } from "@node-llama-cpp/linux-x64";

const FIGURES = ["prefill", "decode", "batch", "adapter", "adapters"];
const ROOM = 128; // tokens that a sequence may decode before it starts anew

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "2" },
    adapter: { type: "string", multiple: true, default: [] },
    prompt: { type: "string", default: "512" },
    batch: { type: "string", default: "16" },
    context: { type: "string", default: "0" },
    seconds: { type: "string", default: "6" },
    only: { type: "string", default: FIGURES.join(",") },
  },
});

function fail(message) {
  process.stderr.write(`llama_cpp: ${message}\n`);
  process.exit(1);
}

function number(name, lowest) {
  const value = Number(options[name]);
  if (!Number.isFinite(value) || value < lowest) {
    fail(`--${name} ${options[name]} is no number from ${lowest} on`);
  }
  return value;
}

const threads = number("threads", 1);
const promptTokens = number("prompt", 0);
const batchSize = number("batch", 0);
const contextTokens = number("context", 0);
const seconds = number("seconds", 0);
const wanted = new Set(options.only.split(","));
for (const name of wanted) {
  if (!FIGURES.includes(name)) fail(`--only: no figure "${name}"; there are ${FIGURES.join(", ")}`);
}
if (positionals.length !== 1) fail("give one MODEL.gguf");
for (const file of [...positionals, ...options.adapter]) {
  if (!fs.existsSync(file)) fail(`${file}: no such file`);
}

const now = () => Number(process.hrtime.bigint()) / 1e9;

// llama.cpp's log, kept for a failure.
const log = [];

async function openAddon() {
  const { binsDir, packageVersion } = getBinsDir();
  const folder = path.join(binsDir, "linux-x64");
  const addon = createRequire(import.meta.url)(path.join(folder, "llama-addon.node"));
  addon.setLogger((_level, text) => log.push(text));
  addon.loadBackends(folder); // picks the kernels of this processor
  await addon.init();
  const metadata = JSON.parse(
    fs.readFileSync(path.join(folder, "_nlcBuildMetadata.json"), "utf8"));
  return { addon, packageVersion, release: metadata.buildOptions.llamaCpp.release };
}

const { addon, packageVersion, release } = await openAddon();

// Any token that is no control token; the same at every place of every run.
const tokenAt = (sequence, position) => 300 + ((sequence * 7919 + position * 104729) % 200);

async function openContext(model, sequences, tokensEach, batch) {
  const context = new addon.AddonContext(model, {
    contextSize: sequences * tokensEach,
    batchSize: batch,
    sequences,
    threads,
  });
  if (!(await context.init())) throw new Error("no context");
  return context;
}

// Evaluates `pieces` of { sequence, position, tokens } as one batch; the last token of each gives
// logits. Returns where they are.
async function evaluate(context, pieces) {
  context.initBatch(pieces.reduce((sum, piece) => sum + piece.tokens.length, 0));
  const places = pieces.map(({ sequence, position, tokens }) =>
    context.addToBatch(sequence, position, tokens, Uint32Array.of(tokens.length - 1))[0]);
  await context.decodeBatch();
  return places;
}

function promptOf(sequence, position, count) {
  const tokens = Uint32Array.from({ length: count }, (_, index) =>
    tokenAt(sequence, position + index));
  return { sequence, position, tokens };
}

// Calls `step(index)` until the time is up, twice at least; the first call is not counted.
async function timeSteps(tokensEach, step) {
  await step(0);
  const times = [];
  const begin = now();
  while (times.length < 2 || now() - begin < seconds) {
    const start = now();
    await step(times.length + 1);
    times.push(now() - start);
  }
  times.sort((left, right) => left - right);
  return {
    tokens_per_s: tokensEach / times[Math.floor(times.length / 2)],
    best_tokens_per_s: tokensEach / times[0],
    steps: times.length,
  };
}

// Decodes with `count` sequences a batch, after `filled` tokens of context. All run `adapters`.
async function decode(model, count, filled, adapters) {
  const chunk = Math.min(filled, 512);
  const context = await openContext(model, count, filled + ROOM, Math.max(count, chunk));
  if (adapters.length > 0) context.setLoras(adapters, adapters.map(() => 1));
  for (let done = 0; done < filled; done += chunk) {
    for (let sequence = 0; sequence < count; ++sequence) {
      await evaluate(context, [promptOf(sequence, done, Math.min(chunk, filled - done))]);
    }
  }
  const figure = await timeSteps(count, async (index) => {
    const position = filled + (index % ROOM);
    if (index > 0 && position === filled) {
      for (let sequence = 0; sequence < count; ++sequence) {
        context.removeTokenCellsFromSequence(sequence, filled, -1);
      }
    }
    const pieces = Array.from({ length: count }, (_, sequence) => promptOf(sequence, position, 1));
    await evaluate(context, pieces);
  });
  await context.dispose();
  const shared = count > 1 && adapters.length > 0;
  return { context: filled, batch: count, adapters: adapters.length, shared, ...figure };
}

// `count` sequences, the first of them with an adapter of their own each, the others without.
// Adapters belong to a context in llama.cpp and hold for all tokens of a batch, so sequences with
// different adapters cannot share one: its own server decodes them one after another, as here. Each
// adapter has a context of its own, which spares llama.cpp planning its graph anew at every change.
async function decodeMixed(model, count, adapters) {
  const groups = adapters.map(() => ({ sequences: 1 }));
  if (count > adapters.length) groups.push({ sequences: count - adapters.length });
  for (const [index, group] of groups.entries()) {
    group.context = await openContext(model, group.sequences, ROOM, group.sequences);
    if (index < adapters.length) group.context.setLoras([adapters[index]], [1]);
  }
  const figure = await timeSteps(count, async (index) => {
    const position = index % ROOM;
    for (const { context, sequences } of groups) {
      const pieces = [];
      for (let sequence = 0; sequence < sequences; ++sequence) {
        if (index > 0 && position === 0) context.removeTokenCellsFromSequence(sequence, 0, -1);
        pieces.push(promptOf(sequence, position, 1));
      }
      await evaluate(context, pieces);
    }
  });
  for (const { context } of groups) await context.dispose();
  return { context: 0, batch: count, adapters: adapters.length, shared: false, ...figure };
}

// Time of a whole prompt in one batch, logits of its last token. A short one warms up.
async function prefill(model, tokens) {
  const context = await openContext(model, 1, tokens, tokens);
  await evaluate(context, [promptOf(0, 0, Math.min(tokens, 8))]);
  context.disposeSequence(0);
  const start = now();
  await evaluate(context, [promptOf(0, 0, tokens)]);
  const time = now() - start;
  await context.dispose();
  return { tokens, adapters: 0, tokens_per_s: tokens / time };
}

// Random weights may overflow: a softmax that is no number would mean that figures are of NaNs.
async function checkFinite(model) {
  const context = await openContext(model, 1, 32, 16);
  const [place] = await evaluate(context, [promptOf(0, 0, 16)]);
  const sampler = new addon.AddonSampler(model);
  sampler.applyConfig({ temperature: 0 });
  const [, , confidence] = await context.sampleToken(place, sampler, false, true);
  if (!(confidence > 0 && confidence <= 1)) throw new Error("the logits are not finite");
  sampler.dispose();
  await context.dispose();
}

async function measure() {
  const start = now();
  const model = new addon.AddonModel(positionals[0], {
    addonExports: addon,
    gpuLayers: 0,
    useMmap: true,
  });
  if (!(await model.init())) throw new Error(`${positionals[0]}: not loaded`);
  const loadSeconds = now() - start;
  await checkFinite(model);
  const adapters = [];
  for (const file of options.adapter) {
    const adapter = new addon.AddonModelLora(model, file);
    await model.loadLora(adapter);
    adapters.push(adapter);
  }
  const first = adapters.slice(0, 1);
  // Each row is said when it is there, since the slow ones take minutes.
  const add = (rows, row) => {
    rows.push(row);
    process.stderr.write(`llama_cpp: ${JSON.stringify(row)}\n`);
  };
  const result = {
    engine: "llama.cpp",
    version: `${release} (node-llama-cpp ${packageVersion})`,
    system: addon.systemInfo().trim(),
    model: model.getModelDescription(),
    threads,
    decode: [],
    prefill: [],
  };
  if (wanted.has("decode")) {
    add(result.decode, await decode(model, 1, 0, []));
    if (contextTokens > 0) add(result.decode, await decode(model, 1, contextTokens, []));
  }
  if (wanted.has("adapter") && first.length > 0) {
    add(result.decode, await decode(model, 1, 0, first));
  }
  if (wanted.has("batch") && batchSize > 1) {
    add(result.decode, await decode(model, batchSize, 0, []));
    if (first.length > 0) add(result.decode, await decode(model, batchSize, 0, first));
  }
  if (wanted.has("adapters") && batchSize > 1 && adapters.length > 1) {
    add(result.decode, await decodeMixed(model, batchSize, adapters.slice(0, batchSize)));
  }
  if (wanted.has("prefill") && promptTokens > 0) {
    add(result.prefill, await prefill(model, promptTokens));
  }
  result.load_s = loadSeconds;
  result.rss_mb = process.memoryUsage.rss() / 1e6;
  return result;
}

try {
  const result = await measure();
  process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
} catch (error) {
  process.stderr.write(log.slice(-20).join(""));
  fail(error.message);
}
