import { fileURLToPath } from 'node:url'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { CachedDecoder, writerOf } from '../../src/generate/decoder.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { loadModel } from '../../src/load/load.ts'
import { forward } from '../../src/load/run.ts'
import { Gemma3 } from '../../src/models/gemma3.ts'
import { Llama } from '../../src/models/llama.ts'
import { Mistral } from '../../src/models/mistral.ts'
import { Qwen3 } from '../../src/models/qwen3.ts'
import '../../src/runtime/node.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { PARITY_TOLERANCE } from '../parity/parity.ts'
import { fractions } from '../tensor/check.ts'
import { drawnWeights, fullLogits as wholeLogits } from './tiny.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`../parity/${name}`, import.meta.url))

const SOURCE = [9, 41, 3, 17, 30, 8, 22, 5]
/** Three texts of different lengths. */
const TEXTS = [
  [4, 19, 33, 8, 8, 41, 2, 16, 27, 30, 11, 45, 7, 7, 20, 38],
  [44, 1, 12, 12, 29, 6, 35],
  [10, 23, 42, 31, 5, 18, 26, 40, 3, 13, 37],
]

const row = (ids: readonly number[]): TensorData => ({
  dtype: 'int32',
  shape: [1, ids.length],
  data: Int32Array.from(ids),
})

/** Logits after every token of a text, by the full forward pass. */
async function fullLogits(name: string, ids: readonly number[]): Promise<Float32Array[]> {
  const checkpoint = openCheckpoint(fixture(name))
  const inputs: Record<string, TensorData> = name.startsWith('t5')
    ? { input_ids: row(SOURCE), decoder_input_ids: row(ids) }
    : { input_ids: row(ids) }
  const { logits } = await forward(checkpoint, inputs)
  checkpoint.close()
  const vocabSize = logits.shape[2]
  return ids.map((_, i) => (logits.data as Float32Array).subarray(i * vocabSize, (i + 1) * vocabSize))
}

async function openDecoder(name: string): Promise<CachedDecoder> {
  const { model, weights } = await loadModel(fixture(name))
  const decoder = await CachedDecoder.create(writerOf(model), weights, { slots: TEXTS.length, capacity: 20 })
  if (name.startsWith('t5')) for (const slot of TEXTS.keys()) await decoder.open(slot, { sourceIds: SOURCE })
  return decoder
}

function expectClose(actual: Float32Array, expected: Float32Array): void {
  const largest = Math.max(...expected.map(Math.abs))
  const difference = Math.max(...actual.map((value, i) => Math.abs(value - expected[i])))
  expect(difference / largest).toBeLessThan(PARITY_TOLERANCE)
}

const MODELS = [
  'gpt1',
  'gpt2',
  'gpt2-scaled-by-layer',
  'gpt-neo',
  'gpt-neo-untied',
  'codegen',
  'codegen-tied',
  'llama',
  'llama-biases-wide-heads',
  'llama-rope-yarn',
  'mistral',
  'mistral-wide-heads',
  'qwen2-windows',
  'qwen3-windows',
  'gemma3',
  'gemma3-pattern',
  't5',
  't5-few-buckets',
]

describe.each(MODELS)('%s', (name) => {
  it('answers over a cache, at every position, as in one pass over the whole text', async () => {
    const [text] = TEXTS
    const decoder = await openDecoder(name)
    const expected = await fullLogits(name, text)
    expectClose(await decoder.prefill(0, text.slice(0, 1), 0), expected[0])
    for (let i = 1; i < text.length; i++) expectClose(await decoder.decode([text[i]], [i]), expected[i])
    decoder.release()
  })

  it('takes a prompt in pieces of any size', async () => {
    const [text] = TEXTS
    const decoder = await openDecoder(name)
    const expected = await fullLogits(name, text)
    for (const [from, to] of [
      [0, 5],
      [5, 6],
      [6, 13],
      [13, 16],
    ]) {
      expectClose(await decoder.prefill(0, text.slice(from, to), from), expected[to - 1])
    }
    decoder.release()
  })

  it('decodes texts of different lengths side by side', async () => {
    const decoder = await openDecoder(name)
    const steps = 4
    for (const [slot, text] of TEXTS.entries()) await decoder.prefill(slot, text.slice(0, -steps), 0)
    const expected = await Promise.all(TEXTS.map((text) => fullLogits(name, text)))
    for (let step = steps; step > 0; step--) {
      const places = TEXTS.map((text) => text.length - step)
      const logits = await decoder.decode(
        TEXTS.map((text, i) => text[places[i]]),
        places,
      )
      for (const [i, place] of places.entries()) {
        expectClose(logits.subarray(i * decoder.vocabSize, (i + 1) * decoder.vocabSize), expected[i][place])
      }
    }
    decoder.release()
  })

  it('goes on in any slot after sequences were copied, exchanged and put in a new order', async () => {
    const decoder = await openDecoder(name)
    for (const [slot, text] of TEXTS.entries()) await decoder.prefill(slot, text.slice(0, 6), 0)
    decoder.swapSlots(0, 2, 6) // 2 1 0
    decoder.copySlot(2, 1, 6) // 2 0 0
    decoder.reorderSlots([1, 2, 0], 6) // 0 0 2
    const kept = [TEXTS[0], TEXTS[0], TEXTS[2]]
    const logits = await decoder.decode(
      kept.map((text) => text[6]),
      [6, 6, 6],
    )
    for (const [i, text] of kept.entries()) {
      const expected = await fullLogits(name, text.slice(0, 7))
      expectClose(logits.subarray(i * decoder.vocabSize, (i + 1) * decoder.vocabSize), expected[6])
    }
    decoder.release()
  })

  it('does not let future tokens change past logits', async () => {
    const [text] = TEXTS
    const before = await fullLogits(name, text)
    const after = await fullLogits(name, [...text.slice(0, 10), ...text.slice(10).map((id) => (id + 5) % 47)])
    for (let i = 0; i < 10; i++) expect(after[i]).toEqual(before[i])
    expect(after[10]).not.toEqual(before[10])
  })
})

const long = { vocabSize: 50, maxPositions: 512, dModel: 32, nLayers: 2, nHeads: 4, nKvHeads: 2, dInner: 64 }

it.each([
  new Llama(long),
  new Mistral({ ...long, slidingWindow: 130 }),
  new Qwen3({ ...long, headDim: 16, useSlidingWindow: true, slidingWindow: 1, maxWindowLayers: 1 }),
  new Gemma3({ ...long, nLayers: 3, headDim: 16, slidingWindow: 7, windowPattern: 2 }),
])(
  'a prompt of hundreds of tokens leaves the cache, and the logits, as its tokens do one by one: %#',
  async (model) => {
    const draw = fractions(12)
    const weights = drawnWeights(model)
    const decoder = await CachedDecoder.create(model, weights, { slots: 2, capacity: 300 })
    const ids = Array.from({ length: 270 }, () => Math.floor(draw() * 50))
    const expected: Float32Array[] = []
    for (const [i, id] of ids.entries()) expected.push((await decoder.decode([id], [i])).slice())
    for (const length of [128, 129, 256, 270]) {
      expectClose(await decoder.prefill(1, ids.slice(0, length), 0), expected[length - 1])
    }
    expectClose(await decoder.prefill(1, ids.slice(5), 5), expected[269])
    const whole = await wholeLogits(model, weights, ids)
    for (const i of [0, 6, 7, 131, 269]) expectClose(expected[i], whole[i])
    decoder.release()
  },
)

it.each(['llama', 't5'])('lets go of weights that its sessions have copied: %s', async (name) => {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  const create = async (copyWeights: boolean) => {
    const { model, weights } = await loadModel(fixture(name))
    return {
      decoder: await CachedDecoder.create(writerOf(model), weights, { copyWeights }),
      weights: new WeakRef(weights),
    }
  }
  const [copied, kept] = [await create(true), await create(false)]
  await new Promise((resolve) => setTimeout(resolve, 10))
  gc()
  expect(copied.weights.deref()).toBeUndefined()
  if (name === 'llama') expect(kept.weights.deref()).toBeDefined()
  copied.decoder.release()
  kept.decoder.release()
})
