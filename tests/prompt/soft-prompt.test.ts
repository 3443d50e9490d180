import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { loadModel } from '../../src/load/load.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import { Palm } from '../../src/models/palm.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { languageModelInputs } from '../../src/optim/language-model.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import {
  loadSoftPrompt,
  PrefixTuning,
  PromptTuning,
  readSoftPrompt,
  type SoftPrompt,
  saveSoftPrompt,
} from '../../src/prompt/soft-prompt.ts'
import { compile } from '../../src/runtime/compile.ts'
import { crossEntropy, crossEntropySum, grad, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'
import { PARITY_TOLERANCE } from '../parity/parity.ts'

const PEFT = fileURLToPath(new URL('peft/', import.meta.url))
const PARITY = fileURLToPath(new URL('../parity/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-prompts-'))
afterAll(() => rmSync(folder, { recursive: true }))

const ints = ({ shape, data }: TensorData): TensorData =>
  tensorData('int32', shape, Int32Array.from(data as never, Number))
const numbers = ({ data }: TensorData): Float32Array => data as Float32Array

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  expect(actual.length).toBe(expected.length)
  const largest = Math.max(...Array.from(expected, Math.abs))
  expect(Math.max(...Array.from(actual, (value, i) => Math.abs(value - expected[i]))) / largest).toBeLessThan(
    PARITY_TOLERANCE,
  )
}

async function greedy(decoder: CachedDecoder, prompt: object, maxNewTokens: number): Promise<number[]> {
  const ids: number[] = []
  for await (const event of new Engine(decoder).generate({ ...prompt, maxNewTokens, temperature: 0 })) {
    if (event.type === 'token') ids.push(event.id)
  }
  return ids
}

describe.each(readdirSync(PEFT))('a prompt of PEFT: %s', (name) => {
  const config = JSON.parse(readFileSync(join(PEFT, name, 'adapter_config.json'), 'utf8'))
  const answers = readTensors(join(PEFT, name, 'answers.safetensors'))
  const loaded = async () => {
    const { model, weights } = await loadModel(join(PARITY, config.base_model_name_or_path))
    return { model: model as CausalLm, weights: weights as Map<string, TensorData> }
  }

  it('gives its logits and gradients, padding included', async () => {
    const { model, weights } = await loaded()
    const { prompt, learned } = loadSoftPrompt(join(PEFT, name), model)
    const [inputIds, attentionMask] = [ints(answers.input_ids), ints(answers.attention_mask)]
    const { shape } = inputIds
    const traced = trace(
      (scope, { inputIds, attentionMask, labels }) => {
        const { logits } = prompt.forward(scope, { inputIds, attentionMask })
        const loss = crossEntropy(logits, labels)
        const spec = scope.parameters.get('prompt_embeddings')
        return { logits, loss, gradient: grad(loss, [spec?.tensor as never])[0] }
      },
      { inputIds: int32(...shape), attentionMask: int32(...shape), labels: int32(...shape) },
    )
    // Every token's label is the one after it, where both are tokens.
    const [ids, mask] = [inputIds, attentionMask].map(({ data }) => data as Int32Array)
    const seq = shape[1]
    const labels = Int32Array.from(ids, (_, i) => ((i + 1) % seq === 0 || mask[i + 1] === 0 ? -100 : ids[i + 1]))
    const run = await compile(traced, new Map([...weights, ['prompt_embeddings', learned]]))
    const results = await run({ inputIds, attentionMask, labels: tensorData('int32', shape, labels) })
    run.release()
    const tokens = Array.from(mask, (seen, i) => (seen === 1 ? i : -1)).filter((i) => i >= 0)
    const rows = ({ data }: TensorData): number[] =>
      tokens.flatMap((i) => [...(data as Float32Array).subarray(i * model.vocabSize, (i + 1) * model.vocabSize)])
    expectClose(rows(results.logits), rows(answers.logits))
    // PEFT predicts the text's first token, too: from the last virtual token, where there are such tokens.
    if (answers.grad && prompt.kind === 'PREFIX_TUNING') expectClose(numbers(results.gradient), numbers(answers.grad))
  })

  it('decodes the same tokens in the engine', async () => {
    const { model, weights } = await loaded()
    const { prompt, learned } = loadSoftPrompt(join(PEFT, name), model)
    const decoder = await CachedDecoder.create(model, weights)
    const expected = Array.from(answers.greedy.data as never, Number)
    const written = await greedy(decoder, { ...prompt.promptOf(learned), promptIds: expected.slice(0, 4) }, 8)
    expect([...expected.slice(0, 4), ...written]).toEqual(expected)
    decoder.release()
  })

  it('is written as it was read', async () => {
    const { model } = await loaded()
    const { prompt, learned } = loadSoftPrompt(join(PEFT, name), model)
    const target = join(folder, name)
    await saveSoftPrompt(target, prompt, learned, { base: config.base_model_name_or_path })
    const bytes = (file: string): Buffer => readFileSync(join(file, 'adapter_model.safetensors'))
    expect(bytes(target).equals(bytes(join(PEFT, name)))).toBe(true)
    const ours = JSON.parse(readFileSync(join(target, 'adapter_config.json'), 'utf8'))
    // The network that wrote a projected prefix is gone, so it says that there is none.
    const dropped = ['encoder_hidden_size', 'prefix_projection']
    for (const [key, value] of Object.entries(ours)) {
      if (!dropped.includes(key)) expect([key, value]).toEqual([key, config[key]])
    }
    expect(ours.prefix_projection ?? false).toBe(false)
  })
})

const sizes = { vocabSize: 40, maxPositions: 48, dModel: 32, nLayers: 2, nHeads: 4, dInner: 48 }
const off = { embeddingDropout: 0.5, attentionDropout: 0.5, residualDropout: 0.5 }
const MODELS: [string, CausalLm][] = [
  ['GPT-2', new GPT2({ ...sizes, ...off })],
  ['LLaMA', new Llama({ ...sizes, nKvHeads: 2 })],
  ['PaLM', new Palm(sizes)],
]
const TEXT = [4, 19, 33, 8, 8, 31, 2, 16, 27, 30]

/** What a model of random weights can be made to say is little: by how many nats the loss falls. */
const KINDS: [string, (model: CausalLm) => SoftPrompt, number][] = [
  ['prompt tuning', (model) => new PromptTuning(model, { virtualTokens: 4 }), 0.1],
  ['prefix tuning', (model) => new PrefixTuning(model, { virtualTokens: 4 }), 0.4],
  ['prefix tuning by a network', (model) => new PrefixTuning(model, { virtualTokens: 4, encoderHidden: 16 }), 0.4],
]

describe.each(MODELS)('%s', (_, model) => {
  const weights = drawnWeights(model)

  it('takes the embeddings of tokens as a prompt for the tokens themselves', async () => {
    const prompt = new PromptTuning(model, { virtualTokens: 3 })
    const learned = prompt.fromVocabulary(weights, TEXT.slice(0, 3))
    const rest = TEXT.slice(3)
    const run = await compile(
      trace((scope, { inputIds }) => prompt.forward(scope, { inputIds }), { inputIds: int32(1, rest.length) }),
      new Map([...weights, ['prompt_embeddings', learned]]),
    )
    const { logits } = await run({ inputIds: tensorData('int32', [1, rest.length], Int32Array.from(rest)) })
    run.release()
    const expected = await fullLogits(model, weights, TEXT)
    expectClose(
      numbers(logits),
      expected.slice(3).flatMap((row) => [...row]),
    )
  })

  describe.each(KINDS)('%s', (_, make, nats) => {
    it('learns with a frozen model, which is the same byte for byte afterwards', async () => {
      const prompt = make(model)
      const trainer = await Trainer.create({
        objective: (scope, { inputIds, shiftLabels }) => ({
          loss: crossEntropySum(prompt.forward(scope, { inputIds }).logits, shiftLabels),
        }),
        inputs: languageModelInputs(1, TEXT.length),
        learningRate: constantSchedule(3e-2),
        weightDecay: 0,
        weights,
        missing: 'init',
      })
      const trained = trainer.layout.trained.map(({ name }) => name)
      expect(trained.every((name) => /^prompt_(embeddings|encoder\.)/.test(name))).toBe(true)
      expect(new Set(trainer.layout.fixed.map(({ name }) => name))).toEqual(new Set(weights.keys()))
      const batch = { inputIds: Int32Array.from(TEXT), shiftLabels: Int32Array.from([...TEXT.slice(1), -100]) }
      const losses: number[] = []
      for (let step = 0; step < 150; step++) losses.push((await trainer.train(batch)).loss)
      expect(losses[149]).toBeLessThan(losses[0] - nats)
      const after = await trainer.weights()
      for (const [name, { data }] of weights) expect([name, after.get(name)?.data]).toEqual([name, data])

      // What is kept is small and enough: the engine answers as the trained graph does.
      const learned = await readSoftPrompt(prompt, trainer)
      const target = join(folder, `${model.constructor.name}-${prompt.kind}-${trained.length}`)
      await saveSoftPrompt(target, prompt, learned)
      const read = loadSoftPrompt(target, model)
      expect(read.learned).toEqual(learned)
      const decoder = await CachedDecoder.create(model, weights)
      const written = await greedy(decoder, { ...read.prompt.promptOf(read.learned), promptIds: TEXT.slice(0, 2) }, 6)
      const ids = [...TEXT.slice(0, 2), ...written]
      const run = await compile(
        trace((scope, { inputIds }) => prompt.forward(scope, { inputIds }), { inputIds: int32(1, ids.length) }),
        trainer,
      )
      const { logits } = await run({ inputIds: tensorData('int32', [1, ids.length], Int32Array.from(ids)) })
      for (const [i, id] of written.entries()) {
        const row = numbers(logits).subarray((i + 1) * model.vocabSize, (i + 2) * model.vocabSize)
        expect(row[id]).toBeCloseTo(Math.max(...row), 3)
      }
      run.release()
      decoder.release()
      trainer.release()
    })
  })
})

/** Tiny checkpoints of every other causal model: windows, scaled embeddings, rotated parts of heads, several caches. */
const CHECKPOINTS = readdirSync(PARITY).filter((name) =>
  /^(gpt1|gpt3|codegen|llama|mistral|qwen2|qwen3|gemma3)(-|$)/.test(name),
)

describe.each(CHECKPOINTS)('of tokens’ own embeddings, keys and values, a prompt is the tokens: %s', (name) => {
  const loaded = async () => {
    const { model, weights } = await loadModel(join(PARITY, name))
    return { model: model as CausalLm, weights: weights as Map<string, TensorData> }
  }
  const [HEAD, REST] = [TEXT.slice(0, 4), TEXT.slice(4)]
  const behind = async (prompt: SoftPrompt, learned: TensorData, weights: Map<string, TensorData>) => {
    const run = await compile(
      trace((scope, { inputIds }) => prompt.forward(scope, { inputIds }), { inputIds: int32(1, REST.length) }),
      new Map([...weights, ['prompt_embeddings', learned]]),
    )
    const { logits } = await run({ inputIds: tensorData('int32', [1, REST.length], Int32Array.from(REST)) })
    run.release()
    return numbers(logits)
  }

  it('embeddings', async () => {
    const { model, weights } = await loaded()
    const prompt = new PromptTuning(model, { virtualTokens: HEAD.length })
    const expected = (await fullLogits(model, weights, TEXT)).slice(HEAD.length).flatMap((row) => [...row])
    expectClose(await behind(prompt, prompt.fromVocabulary(weights, HEAD), weights), expected)
  })

  it('keys and values', async () => {
    const { model, weights } = await loaded()
    const prompt = new PrefixTuning(model, { virtualTokens: HEAD.length })
    const decoder = await CachedDecoder.create(model, weights)
    await decoder.prefill(0, HEAD, 0)
    const cache = decoder.getCache(0, HEAD.length)
    decoder.release()
    const { parameters } = trace((scope) => ({ learned: prompt.learned(scope) }), {})
    const shape = parameters.get('prompt_embeddings')?.shape as readonly number[]
    // [virtualTokens, nLayers · 2 · nKvHeads · headDim] of what the cache has as [nKvHeads, virtualTokens, padded headDim].
    const parts = cache.flatMap(({ key, value }) => [key, value])
    const headDim = shape[1] / parts.length / parts[0].shape[0]
    const rows = HEAD.flatMap((_, position) =>
      parts.flatMap(({ shape: [heads, length, width], data }) =>
        Array.from({ length: heads }, (_, head) => {
          const at = (head * length + position) * width
          return [...(data as Float32Array).subarray(at, at + headDim)]
        }).flat(),
      ),
    )
    const learned = tensorData('float32', shape, Float32Array.from(rows))
    const expected = (await fullLogits(model, weights, TEXT)).slice(HEAD.length).flatMap((row) => [...row])
    expectClose(await behind(prompt, learned, weights), expected)
  })
})

describe('a soft prompt', () => {
  const [, model] = MODELS[0]
  it('has a length that the model has room for', () => {
    expect(() => new PromptTuning(model, { virtualTokens: 0 })).toThrow('has 1 to 47 virtual tokens here, got 0')
    expect(() => new PrefixTuning(model, { virtualTokens: 48 })).toThrow('got 48')
  })

  it('of another model, or that is none, is refused with a sentence', async () => {
    const other = new GPT2({ ...sizes, dModel: 64 })
    expect(() => loadSoftPrompt(join(PEFT, 'gpt2-prompt'), other)).toThrow(
      'holds a prompt of [3,12], and this model takes [3,64]',
    )
    const lora = mkdtempSync(join(folder, 'lora-'))
    writeFileSync(join(lora, 'adapter_config.json'), '{"peft_type": "LORA", "num_virtual_tokens": 3}')
    expect(() => loadSoftPrompt(lora, model)).toThrow('is an adapter of type LORA')
    expect(() => new PromptTuning(model, { virtualTokens: 2 }).fromVocabulary(new Map(), 1)).toThrow(
      'lack transformer.wte.weight',
    )
  })

  it('drawn from the vocabulary is made of its rows', () => {
    const weights = drawnWeights(model)
    const learned = new PromptTuning(model, { virtualTokens: 5 }).fromVocabulary(weights, 7)
    const table = numbers(weights.get('transformer.wte.weight') as TensorData)
    const rows = Array.from({ length: 40 }, (_, id) => `${table.subarray(id * 32, (id + 1) * 32)}`)
    for (let i = 0; i < 5; i++) expect(rows).toContain(`${numbers(learned).subarray(i * 32, (i + 1) * 32)}`)
  })
})
