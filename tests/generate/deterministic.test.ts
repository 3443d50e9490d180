import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CachedDecoder, type Decodable, writerOf } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import type { EngineEvent, EngineRequest } from '../../src/generate/sequence.ts'
import { loadModel } from '../../src/load/load.ts'
import { type Quantization, quantizers } from '../../src/load/quantize.ts'
import { Gemma3 } from '../../src/models/gemma3.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import type { Weights } from '../../src/runtime/compile.ts'
import { drawnWeights } from './tiny.ts'

/**
 * What a deterministic decoder computes for a text depends on the text alone, to the last bit: every comparison here is of
 * floats for equality.
 */

const SLOTS = 4
const VOCABULARY = 61
/** Wide enough for products to be cut into blocks of every size, long enough for a prompt to go in pieces. */
const sizes = { vocabSize: VOCABULARY, maxPositions: 200, dModel: 128, nLayers: 2, nHeads: 4, dInner: 192 }

type Loaded = { model: Decodable; weights: Weights }

/** Draws weights, and stores those that can be in blocks. */
function drawn(model: Decodable, quantization: Quantization | undefined): Loaded {
  const weights: Weights = drawnWeights(model)
  if (!quantization) return { model, weights }
  const traced = trace((scope, { inputIds }) => model.forward(scope, { inputIds }), { inputIds: int32('batch', 'seq') })
  const { logits, lastHiddenState } = traced.outputs
  const made = quantizers(quantization, {
    outputs: [logits, lastHiddenState],
    parameters: [...traced.parameters.values()],
  })
  const blocks = [...made].map(([name, { quantize }]) => {
    const value = weights.get(name)
    if (!value || !('data' in value)) throw new Error(`${name} is no array`)
    return [name, quantize(value)] as const
  })
  expect(blocks.length).toBeGreaterThan(4)
  return { model, weights: new Map([...weights, ...blocks]) }
}

async function fixture(name: string): Promise<Loaded> {
  const { model, weights } = await loadModel(fileURLToPath(new URL(`../parity/${name}`, import.meta.url)))
  return { model: writerOf(model) as Decodable, weights }
}

const llama = () => new Llama({ ...sizes, nKvHeads: 2 })
const MODELS: [string, () => Loaded | Promise<Loaded>][] = [
  ...([undefined, 'q8', 'q4', 'q4s'] as const).flatMap((type): [string, () => Loaded][] => [
    [`LLaMA in ${type ?? 'fp32'}`, () => drawn(llama(), type)],
    [`GPT-2 in ${type ?? 'fp32'}`, () => drawn(new GPT2(sizes), type)],
  ]),
  ['Gemma 3 in q4', () => drawn(new Gemma3({ ...sizes, nKvHeads: 2, headDim: 32, slidingWindow: 6 }), 'q4')],
  ['the fixture qwen3-windows', () => fixture('qwen3-windows')],
  ['the fixture llama', () => fixture('llama')],
  ['the fixture gpt2', () => fixture('gpt2')],
]

async function ask(engine: Engine, request: EngineRequest): Promise<{ ids: number[]; told: EngineEvent[] }> {
  const told: EngineEvent[] = []
  for await (const event of engine.generate({ topLogProbs: 2, ...request })) if (event.type !== 'end') told.push(event)
  return { ids: told.map((event) => (event.type === 'token' ? event.id : -1)), told }
}

describe.each(MODELS)('%s', (_name, load) => {
  let decoder: CachedDecoder
  let longest: number
  let vocabulary: number

  beforeAll(async () => {
    const { model, weights } = await load()
    decoder = await CachedDecoder.create(model, weights, { slots: SLOTS - 1, deterministic: true })
    // The next even number of slots, and a position less.
    expect([decoder.slots, decoder.capacity]).toEqual([SLOTS, model.maxPositions - 1])
    longest = decoder.capacity
    vocabulary = model.vocabSize
  })
  afterAll(() => decoder.release())

  const text = (length: number, seed = 0) => Array.from({ length }, (_, i) => (i * i * 7 + i * 31 + seed) % vocabulary)

  it('reads a prompt as well in pieces, in any slot', async () => {
    const ids = text(longest)
    const whole = (await decoder.prefill(0, ids, 0)).slice()
    const cached = decoder.getCache(0, longest)
    const cut = fc.array(fc.integer({ min: 1, max: longest - 1 }), { maxLength: 4 })
    await fc.assert(
      fc.asyncProperty(cut, fc.nat(SLOTS - 1), async (cuts, slot) => {
        const bounds = [0, ...new Set(cuts.toSorted((a, b) => a - b)), longest]
        let logits: Float32Array | undefined
        for (let i = 1; i < bounds.length; i++) {
          logits = await decoder.prefill(slot, ids.slice(bounds[i - 1], bounds[i]), bounds[i - 1])
        }
        expect(logits).toEqual(whole)
        expect(decoder.getCache(slot, longest)).toEqual(cached)
      }),
      { numRuns: 8 },
    )
  })

  it('writes a token beside others, of any lengths, as beside any others', async () => {
    const length = Math.floor(longest / 2)
    for (let slot = 0; slot < SLOTS; slot++) await decoder.prefill(slot, text(length, slot === 0 ? 0 : slot), 0)
    const beside = async (tokens: number[], lengths: number[]) =>
      (await decoder.decode([5, ...tokens], [length, ...lengths])).slice(0, vocabulary)
    const one = await beside([1], [3])
    expect(await beside([2], [length])).toEqual(one)
    expect(await beside([2, 3, 4], [length, 1, longest])).toEqual(one)
    expect(await beside([9, 9, 9], [0, 0, 0])).toEqual(one)
    await expect(decoder.decode([1], [length])).rejects.toThrow('not a multiple of 2')
  })

  it('answers the same, cold and repeated, alone and in a crowd, and after answers that begin alike', async () => {
    const start = text(Math.floor(longest / 3))
    const request = fc.record({
      promptIds: fc
        .tuple(fc.nat(start.length), fc.array(fc.nat(vocabulary - 1), { minLength: 1, maxLength: 7 }))
        .map(([shared, own]) => [...start.slice(0, shared), ...own]),
      maxNewTokens: fc.integer({ min: 1, max: 6 }),
      temperature: fc.constantFrom(0, 1),
      seed: fc.nat(1000),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 6 }), async (requests) => {
        const crowd = new Engine(decoder)
        const together = await Promise.all(requests.map((r) => ask(crowd, r)))
        // The next turns of the same conversations: what was written is a prompt now.
        const turns = requests.map((r, i) => ({ ...r, promptIds: [...r.promptIds, ...together[i].ids, 3] }))
        const next = await Promise.all(turns.map((r) => ask(crowd, r)))
        const again = await Promise.all(requests.map((r) => ask(crowd, r)))
        for (const [i, r] of requests.entries()) {
          const cold = await ask(new Engine(decoder), r)
          expect(together[i]).toEqual(cold)
          expect(again[i]).toEqual(cold)
          expect(next[i]).toEqual(await ask(new Engine(decoder), turns[i]))
        }
      }),
      { numRuns: 6 },
    )
  })
})

describe.each(MODELS)('%s, not deterministic', (_name, load) => {
  it('answers a prompt that was asked before as the first time', async () => {
    const { model, weights } = await load()
    const decoder = await CachedDecoder.create(model, weights, { slots: 1 })
    const engine = new Engine(decoder)
    for (const length of [1, 2, 3, 20, 31]) {
      const request = { promptIds: Array.from({ length }, (_, i) => (7 * i + 3) % 40), maxNewTokens: 8, temperature: 0 }
      const first = await ask(engine, request)
      for (let i = 0; i < 2; i++) expect(await ask(engine, request)).toEqual(first)
    }
    decoder.release()
  })
})
