import { describe, expect, it } from 'vitest'
import { blankText } from '../../src/data/blanks.ts'
import { GLM, type GLMConfig } from '../../src/models/glm.ts'
import { type InputSpecs, int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { crossEntropySum, grad, sizeOf, type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { fractions } from '../tensor/check.ts'

const TINY: Partial<GLMConfig> = { vocabSize: 11, maxPositions: 9, dModel: 6, nLayers: 2, nHeads: 2 }

/** Weights that matter, by name. */
function drawn(model: GLM, seed = 3): Map<string, { shape: readonly number[]; data: Float32Array; dtype: 'float32' }> {
  const draw = fractions(seed)
  const { parameters } = trace((scope, { inputIds }) => model.forward(scope, { inputIds }), { inputIds: int32(1, 2) })
  return new Map(
    [...parameters.values()].map(({ name, shape }) => {
      const around = /norm.weight$/.test(name) ? 1 : 0
      const data = Float32Array.from({ length: sizeOf(shape) }, () => around + draw() - 0.5)
      return [name, { dtype: 'float32', shape, data }]
    }),
  )
}

type Weights = ReturnType<typeof drawn>

interface Row {
  readonly inputIds: readonly number[]
  readonly positionIds: readonly [readonly number[], readonly number[]]
  readonly shiftLabels: readonly number[]
  readonly sep: number
}

/** The paper's computation, one number at a time: logits of one text. */
function glmLoops(c: GLMConfig, weights: Weights, { inputIds, positionIds, sep }: Row): number[][] {
  const weight = (name: string): Float32Array => (weights.get(`glm.${name}`) as { data: Float32Array }).data
  const d = c.dModel
  const times = (x: number[], name: string, out: number): number[] =>
    Array.from({ length: out }, (_, o) => {
      let sum = weight(`${name}.bias`)[o]
      for (let i = 0; i < x.length; i++) sum += x[i] * weight(`${name}.weight`)[o * x.length + i]
      return sum
    })
  const norm = (x: number[], name: string): number[] => {
    const mean = x.reduce((a, b) => a + b) / d
    const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / d
    return x.map((value, i) => {
      const standard = (value - mean) / Math.sqrt(variance + c.layerNormEpsilon)
      return standard * weight(`${name}.weight`)[i] + weight(`${name}.bias`)[i]
    })
  }
  const gelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)))
  let stream = inputIds.map((id, t) =>
    Array.from(
      { length: d },
      (_, i) =>
        weight('word_embeddings.weight')[id * d + i] +
        weight('transformer.position_embeddings.weight')[positionIds[0][t] * d + i] +
        weight('transformer.block_position_embeddings.weight')[positionIds[1][t] * d + i],
    ),
  )
  for (let layer = 0; layer < c.nLayers; layer++) {
    const at = `transformer.layers.${layer}`
    const mixed = stream.map((x) => times(norm(x, `${at}.input_layernorm`), `${at}.attention.query_key_value`, 3 * d))
    const headDim = d / c.nHeads
    stream = stream.map((x, i) => {
      const attended: number[] = []
      for (let head = 0; head < c.nHeads; head++) {
        const part = (t: number, which: number) =>
          mixed[t].slice(which * d + head * headDim, which * d + (head + 1) * headDim)
        const query = part(i, 0)
        // A sees A; B sees A, itself, and what is before it in B.
        const seen = inputIds.map((_, j) => j).filter((j) => (i < sep ? j < sep : j <= i))
        const scores = seen.map((j) => part(j, 1).reduce((sum, k, n) => sum + k * query[n], 0) / Math.sqrt(headDim))
        const exps = scores.map((score) => Math.exp(score - Math.max(...scores)))
        const total = exps.reduce((a, b) => a + b)
        for (let n = 0; n < headDim; n++) {
          attended.push(seen.reduce((sum, j, s) => sum + (exps[s] / total) * part(j, 2)[n], 0))
        }
      }
      return times(attended, `${at}.attention.dense`, d).map((value, n) => x[n] + value)
    })
    stream = stream.map((x) => {
      const wide = times(norm(x, `${at}.post_attention_layernorm`), `${at}.mlp.dense_h_to_4h`, 4 * d).map(gelu)
      return times(wide, `${at}.mlp.dense_4h_to_h`, d).map((value, n) => x[n] + value)
    })
  }
  return stream.map((x) => {
    const last = norm(x, 'transformer.final_layernorm')
    return Array.from({ length: c.vocabSize }, (_, word) =>
      last.reduce((sum, value, i) => sum + value * weight('word_embeddings.weight')[word * d + i], 0),
    )
  })
}

/** −Σ log P(label), over the labels that count. */
function lossLoops(c: GLMConfig, weights: Weights, rows: readonly Row[]): number {
  let [sum, count] = [0, 0]
  for (const row of rows) {
    for (const [t, logits] of glmLoops(c, weights, row).entries()) {
      const label = row.shiftLabels[t]
      if (label < 0) continue
      sum += Math.log(logits.reduce((total, x) => total + Math.exp(x), 0)) - logits[label]
      count++
    }
  }
  return sum / count
}

const TOKENS = { maskIds: { span: 1, sentence: 2, document: 3 }, startId: 4, endId: 5, padId: 0 }

/** x₁ … x₆ with the blanks x₃ and x₅ x₆ of figure 2, the second told first; and a text with one blank. */
const ROWS: Row[] = [
  blankText(
    [6, 7, 8, 9, 10, 6],
    [
      { start: 2, end: 3 },
      { start: 4, end: 6 },
    ],
    'span',
    TOKENS,
    [1, 0],
  ),
  blankText([10, 9, 9, 8, 7, 7, 6, 6], [{ start: 1, end: 4 }], 'sentence', TOKENS),
]

const ints = (shape: number[], values: readonly number[]): TensorData => tensorData('int32', shape, values)

const feedsOf = (rows: readonly Row[]) => ({
  inputIds: ints(
    [rows.length, rows[0].inputIds.length],
    rows.flatMap((row) => row.inputIds),
  ),
  positionIds: ints(
    [rows.length, 2, rows[0].inputIds.length],
    rows.flatMap((row) => row.positionIds.flat()),
  ),
  sep: ints(
    [rows.length],
    rows.map((row) => row.sep),
  ),
  shiftLabels: ints(
    [rows.length, rows[0].inputIds.length],
    rows.flatMap((row) => row.shiftLabels),
  ),
})

async function answer(model: GLM, weights: Weights, rows: readonly Row[]): Promise<number[][][]> {
  const { shiftLabels: _, ...feeds } = feedsOf(rows)
  const specs: InputSpecs = {
    inputIds: int32('batch', 'seq'),
    positionIds: int32('batch', 2, 'seq'),
    sep: int32('batch'),
  }
  const run = await compile(
    trace((scope, inputs) => ({ logits: model.forward(scope, inputs).logits }), specs),
    weights,
  )
  const { logits } = await run(feeds)
  run.release()
  const [batch, seq, vocabSize] = logits.shape
  const row = (b: number, t: number) => {
    const from = (b * seq + t) * vocabSize
    return Array.from(logits.data.slice(from, from + vocabSize), Number)
  }
  return Array.from({ length: batch }, (_, b) => Array.from({ length: seq }, (_, t) => row(b, t)))
}

describe('GLM', () => {
  const model = new GLM(TINY)
  const weights = drawn(model)

  it('computes what the paper’s equations do, one number at a time', async () => {
    expect(ROWS.map((row) => row.inputIds.length)).toEqual([10, 10])
    const logits = await answer(model, weights, ROWS)
    for (const [b, row] of ROWS.entries()) {
      for (const [t, expected] of glmLoops(model.config, weights, row).entries()) {
        for (const [word, value] of expected.entries()) expect(logits[b][t][word]).toBeCloseTo(value, 5)
      }
    }
  })

  it('has the slope of that computation’s loss as the gradient of every parameter', async () => {
    const feeds = feedsOf(ROWS)
    const traced = trace((scope, inputs) => model.forward(scope, inputs), model.inputs, { given: Object.keys(feeds) })
    const parameters = [...traced.parameters.values()]
    const gradients = grad(
      traced.outputs.loss as Tensor,
      parameters.map(({ tensor }) => tensor),
    )
    const named = parameters.map(({ name }, i) => [name, gradients[i]] as const)
    const run = await compile(
      { ...traced, outputs: { loss: traced.outputs.loss, ...Object.fromEntries(named) } },
      weights,
    )
    const results = (await run(feeds)) as Record<string, TensorData>
    run.release()
    expect(Number(results.loss.data[0])).toBeCloseTo(lossLoops(model.config, weights, ROWS), 5)
    const STEP = 2 ** -10 // which float32 adds without rounding
    for (const { name } of parameters) {
      const { data } = weights.get(name) as { data: Float32Array }
      // Every seventh number, of every parameter.
      for (let i = 0; i < data.length; i += 7) {
        const value = data[i]
        const [before, after] = [-STEP, STEP].map((step) => {
          data[i] = value + step
          return lossLoops(model.config, weights, ROWS)
        })
        data[i] = value
        expect(Number(results[name].data[i]), `${name}[${i}]`).toBeCloseTo((after - before) / (2 * STEP), 4)
      }
    }
  })

  it('reads Part A in both directions, and Part B from left to right', async () => {
    const [before] = await answer(model, weights, [ROWS[0]])
    const changed = async (at: number): Promise<boolean[]> => {
      const inputIds = ROWS[0].inputIds.map((id, t) => (t === at ? (id + 3) % 11 : id))
      const [after] = await answer(model, weights, [{ ...ROWS[0], inputIds }])
      return after.map((logits, t) => `${logits}` !== `${before[t]}`)
    }
    const { length } = ROWS[0].inputIds
    const { sep } = ROWS[0]
    expect(await changed(sep - 1)).toEqual(new Array(length).fill(true))
    const last = length - 2
    expect(await changed(last)).toEqual(Array.from({ length }, (_, t) => t >= last))
  })

  it('has the parameters of the released checkpoints, under their names', () => {
    const names = [...weights.keys()]
    expect(names.filter((name) => !name.includes('layers.'))).toEqual([
      'glm.word_embeddings.weight',
      'glm.transformer.position_embeddings.weight',
      'glm.transformer.block_position_embeddings.weight',
      'glm.transformer.final_layernorm.weight',
      'glm.transformer.final_layernorm.bias',
    ])
    expect(weights.get('glm.transformer.layers.1.attention.query_key_value.weight')?.shape).toEqual([18, 6])
    expect(weights.get('glm.transformer.block_position_embeddings.weight')?.shape).toEqual([10, 6])
    expect(model.toConfig()).toMatchObject({ model_type: 'glm', max_sequence_length: 9, num_layers: 2 })
  })

  it('learns two texts with blanks by heart', async () => {
    const feeds = feedsOf(ROWS)
    const shape = feeds.inputIds.shape
    const trainer = await Trainer.create({
      objective: (scope, { shiftLabels, ...inputs }) => ({
        loss: crossEntropySum(
          new GLM({ ...TINY, dModel: 16, embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }).forward(
            scope,
            inputs,
          ).logits,
          shiftLabels,
        ),
      }),
      inputs: {
        inputIds: int32(...shape),
        positionIds: int32(2, 2, shape[1]),
        sep: int32(2),
        shiftLabels: int32(...shape),
      },
      learningRate: constantSchedule(1e-2),
    })
    const batch = Object.fromEntries(Object.entries(feeds).map(([name, { data }]) => [name, data as Int32Array]))
    let loss = Number.POSITIVE_INFINITY
    for (let step = 0; step < 150; step++) loss = (await trainer.train(batch)).loss
    expect(loss).toBeLessThan(0.05)
    trainer.release()
  })
})
