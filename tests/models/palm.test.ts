import { describe, expect, it } from 'vitest'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { PALM_SIZES, Palm, PalmConfig, palmLoss } from '../../src/models/palm.ts'
import { GrowingCache } from '../../src/nn/kv-cache.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { grad, meanOf, type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'
import { PARITY_TOLERANCE } from '../parity/parity.ts'
import { uniform } from '../tensor/check.ts'

const SIZES = { vocabSize: 11, maxPositions: 20, dModel: 12, nLayers: 2, nHeads: 3, headDim: 6, dInner: 20 }
const IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5]

type Matrix = number[][]

/** The paper's equations in plain loops over numbers: one sequence, logits of every position. */
function palmByHand(model: Palm, weights: ReadonlyMap<string, TensorData>, ids: readonly number[]): Matrix {
  const { dModel, nLayers, nHeads, nKvHeads, headDim, layerNormEpsilon, ropeTheta, parallel } = model.config
  const weight = (name: string) => {
    const { data, shape } = weights.get(name) as TensorData
    return { at: (i: number, j = 0) => Number(data[shape.length === 1 ? i : i * shape[1] + j]), shape }
  }
  const times = (name: string, x: readonly number[]): number[] => {
    const w = weight(`${name}.weight`)
    return Array.from({ length: w.shape[0] }, (_, i) => x.reduce((sum, value, j) => sum + w.at(i, j) * value, 0))
  }
  const norm = (name: string, x: readonly number[]): number[] => {
    const mean = x.reduce((a, b) => a + b) / dModel
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / dModel
    return x.map(
      (value, i) => ((value - mean) / Math.sqrt(variance + layerNormEpsilon)) * weight(`${name}.weight`).at(i),
    )
  }
  /** Features i and i + headDim / 2 of a head turn by position · θ^(−2i / headDim). */
  const turn = (head: readonly number[], position: number): number[] => {
    const half = headDim / 2
    return head.map((value, i) => {
      const angle = position * ropeTheta ** (-(2 * (i % half)) / headDim)
      const other = i < half ? -head[i + half] : head[i - half]
      return value * Math.cos(angle) + other * Math.sin(angle)
    })
  }
  const headOf = (x: readonly number[], h: number) => x.slice(h * headDim, (h + 1) * headDim)
  const attend = (name: string, xs: Matrix): Matrix => {
    const [queries, keys, values] = ['q_proj', 'k_proj', 'v_proj'].map((part) =>
      xs.map((x) => times(`${name}.${part}`, x)),
    )
    return xs.map((_, t) => {
      const heads = Array.from({ length: nHeads }, (_, h) => {
        const shared = Math.floor(h / (nHeads / nKvHeads))
        const query = turn(headOf(queries[t], h), t)
        const scores = keys.slice(0, t + 1).map((key, s) => {
          const turned = turn(headOf(key, shared), s)
          return Math.exp(query.reduce((sum, value, i) => sum + value * turned[i], 0) / Math.sqrt(headDim))
        })
        const total = scores.reduce((a, b) => a + b)
        return Array.from({ length: headDim }, (_, i) =>
          scores.reduce((sum, score, s) => sum + (score / total) * headOf(values[s], shared)[i], 0),
        )
      })
      return times(`${name}.o_proj`, heads.flat())
    })
  }
  const swish = (value: number) => value / (1 + Math.exp(-value))
  const mlp = (name: string, x: readonly number[]): number[] => {
    const [gate, up] = [times(`${name}.gate_proj`, x), times(`${name}.up_proj`, x)]
    return times(
      `${name}.down_proj`,
      gate.map((value, i) => swish(value) * up[i]),
    )
  }

  const table = weight('model.embed_tokens.weight')
  const row = (id: number) => Array.from({ length: dModel }, (_, j) => table.at(id, j))
  let xs = ids.map(row)
  for (let layer = 0; layer < nLayers; layer++) {
    const at = `model.layers.${layer}`
    const normalized = xs.map((x) => norm(`${at}.input_layernorm`, x))
    const attended = attend(`${at}.self_attn`, normalized)
    xs = xs.map((x, t) => {
      const h = x.map((value, i) => value + attended[t][i])
      const read = parallel ? normalized[t] : norm(`${at}.post_attention_layernorm`, h)
      const fed = mlp(`${at}.mlp`, read)
      return h.map((value, i) => value + fed[i])
    })
  }
  return xs.map((x) => {
    const last = norm('model.norm', x)
    return Array.from({ length: model.vocabSize }, (_, id) =>
      row(id).reduce((sum, value, j) => sum + (value * last[j]) / Math.sqrt(dModel), 0),
    )
  })
}

const MODELS: readonly [string, Palm][] = [
  ['PaLM', new Palm(SIZES)],
  ['PaLM with serial blocks', new Palm({ ...SIZES, parallel: false })],
  ['PaLM with two heads of keys', new Palm({ ...SIZES, nHeads: 4, nKvHeads: 2, headDim: 4, ropeTheta: 50 })],
]

describe.each(MODELS)('%s', (_, model) => {
  const weights = drawnWeights(model)

  it('computes what the paper’s equations say, in plain loops', async () => {
    const expected = palmByHand(model, weights, IDS)
    const largest = Math.max(...expected.flat().map(Math.abs))
    for (const [t, logits] of (await fullLogits(model, weights, IDS)).entries()) {
      for (const [i, value] of logits.entries()) {
        expect(Math.abs(value - expected[t][i]) / largest).toBeLessThan(PARITY_TOLERANCE)
      }
    }
  })

  it('answers over a cache as in one pass', async () => {
    const decoder = await CachedDecoder.create(model, weights, { slots: 2 })
    const expected = await fullLogits(model, weights, IDS)
    await decoder.prefill(0, IDS.slice(0, 4), 0)
    for (let t = 4; t < IDS.length; t++) {
      const logits = await decoder.decode([IDS[t]], [t])
      for (const [i, value] of logits.entries()) expect(value).toBeCloseTo(expected[t][i], 3)
    }
    decoder.release()
  })

  it('has no biases, and one table', () => {
    expect([...weights.keys()].filter((name) => name.endsWith('bias'))).toEqual([])
    expect([...weights].filter(([, { shape }]) => shape[0] === SIZES.vocabSize)).toHaveLength(1)
  })

  it('keeps every setting of its configuration', () => {
    expect(PalmConfig.read(model.toConfig())).toEqual(model.config)
  })
})

/** What the cache holds of a layer for a token, without the zeros that kernels want heads widened by. */
function cacheRows(model: Palm): number[] {
  let cache: GrowingCache | undefined
  trace(
    (scope, { inputIds }) => {
      cache = new GrowingCache(1, 1)
      return { logits: model.forward(scope, { inputIds }, { cache }).logits }
    },
    { inputIds: int32(1, 1) },
  )
  const { entries } = cache as GrowingCache
  return entries.map(({ pastKey, pastValue }) =>
    [pastKey, pastValue].reduce((sum, { shape }) => sum + (shape[1] as number) * (shape[3] as number), 0),
  )
}

it('keeps 2 · headDim numbers a layer and token in its cache, however many heads ask', () => {
  for (const nHeads of [1, 4, 16]) {
    expect(cacheRows(new Palm({ ...SIZES, nHeads, headDim: 16 }))).toEqual([32, 32])
  }
  expect(cacheRows(new Palm({ ...SIZES, nHeads: 4, nKvHeads: 4, headDim: 16 }))).toEqual([128, 128])
})

describe('z-loss', () => {
  const shape = [2, 3, 5] as const
  const labels = [1, -100, 4, 0, 2, -100]

  it('adds zLoss · log² Z for every token that counts, and its gradient is that of the sum', async () => {
    const zLoss = 0.3
    const traced = trace(
      (_, { logits, shiftLabels }) => {
        const { loss, crossEntropy } = palmLoss(logits, shiftLabels, { zLoss })
        const [dLogits] = grad(loss.sum, [logits])
        return { loss: meanOf(loss), crossEntropy: meanOf(crossEntropy), dLogits: dLogits as Tensor }
      },
      { logits: { dtype: 'float32', shape }, shiftLabels: { dtype: 'int32', shape: [2, 3] } },
    )
    const run = await compile(traced, new Map())
    const logits = uniform(shape, 3, -2, 2)
    const results = await run({ logits, shiftLabels: tensorData('int32', [2, 3], labels) })
    run.release()
    let [plain, squares] = [0, 0]
    labels.forEach((label, row) => {
      const scores = Array.from(logits.data.subarray(row * 5, row * 5 + 5), Number)
      const z = scores.reduce((sum, score) => sum + Math.exp(score), 0)
      for (const [i, score] of scores.entries()) {
        const p = Math.exp(score) / z
        const slope = label < 0 ? 0 : p - Number(i === label) + 2 * zLoss * Math.log(z) * p
        expect(Number(results.dLogits.data[row * 5 + i])).toBeCloseTo(slope, 5)
      }
      if (label < 0) return
      plain += Math.log(z) - scores[label]
      squares += zLoss * Math.log(z) ** 2
    })
    expect(Number(results.crossEntropy.data[0])).toBeCloseTo(plain / 4, 5)
    expect(Number(results.loss.data[0])).toBeCloseTo((plain + squares) / 4, 5)
  })

  it('is part of the model’s loss, and nothing where its factor is 0', async () => {
    const lossOf = async (zLoss: number) => {
      const model = new Palm({ ...SIZES, zLoss })
      const traced = trace((scope, inputs) => ({ loss: model.forward(scope, inputs).loss as Tensor }), {
        inputIds: int32(1, IDS.length),
        labels: int32(1, IDS.length),
      })
      const run = await compile(traced, drawnWeights(model))
      const inputIds = tensorData('int32', [1, IDS.length], IDS)
      const { loss } = await run({ inputIds, labels: inputIds })
      run.release()
      return Number(loss.data[0])
    }
    const [none, some, more] = [await lossOf(0), await lossOf(0.01), await lossOf(0.02)]
    expect(some).toBeGreaterThan(none)
    expect(more - none).toBeCloseTo(2 * (some - none), 4)
  })
})

it('begins with logits of size one, and learns one batch by heart', async () => {
  const model = new Palm({ ...SIZES, vocabSize: 13, dModel: 64 })
  const trainer = await Trainer.create({
    objective: nextTokenObjective(model),
    inputs: { inputIds: int32(2, 6), shiftLabels: int32(2, 6) },
    learningRate: constantSchedule(1e-2),
    weightDecay: 0,
  })
  const logits = (await fullLogits(model, await trainer.weights(), IDS)).flatMap((row) => [...row])
  const size = Math.sqrt(logits.reduce((sum, x) => sum + x * x, 0) / logits.length)
  expect(size).toBeGreaterThan(0.4)
  expect(size).toBeLessThan(2.5)
  const inputIds = Int32Array.of(1, 5, 3, 3, 8, 2, 9, 4, 2, 2, 7, 1)
  const shiftLabels = Int32Array.from(inputIds, (_, i) => (i % 6 === 5 ? -100 : inputIds[i + 1]))
  let loss = Number.POSITIVE_INFINITY
  for (let i = 0; i < 60; i++) loss = (await trainer.train([{ inputIds, shiftLabels }])).loss
  trainer.release()
  expect(loss).toBeLessThan(0.05)
})

it('has the paper’s sizes', () => {
  for (const [name, { nLayers, dModel, nHeads }] of Object.entries(PALM_SIZES)) {
    const headDim = 256
    const perLayer = 2 * dModel * nHeads * headDim + 2 * dModel * headDim + 12 * dModel ** 2
    const billions = (nLayers * perLayer + 256_000 * dModel) / 1e9
    expect(billions / Number.parseFloat(name), name).toBeGreaterThan(0.98)
    expect(billions / Number.parseFloat(name), name).toBeLessThan(1.1)
  }
})
