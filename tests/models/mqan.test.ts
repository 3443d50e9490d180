import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { loadModel } from '../../src/load/load.ts'
import { Mqan, MqanConfig } from '../../src/models/mqan.ts'
import { traceModel } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { grad, sizeOf, type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { fractions } from '../tensor/check.ts'

const SETTINGS: Partial<MqanConfig> = {
  ...{
    vocabSize: 14,
    generativeVocabSize: 9,
    extraWords: 3,
    dEmbedding: 5,
    dModel: 8,
    dInner: 6,
    nHeads: 2,
    nLayers: 2,
  },
  ...{ dropout: 0, maxAnswer: 4 },
}
const model = new Mqan(SETTINGS)

/** Two examples of different lengths; 14 to 16 are words that an example alone has. */
const CONTEXTS = [
  [3, 9, 14, 4, 12, 3],
  [5, 16, 10, 0, 0, 0],
]
const QUESTIONS = [
  [6, 7, 13, 0],
  [8, 6, 11, 15],
]
const LABELS = [
  [14, 4, 1, -100],
  [11, 16, 5, 1],
]
const rows = (ids: readonly (readonly number[])[]): TensorData =>
  tensorData('int32', [ids.length, ids[0].length], ids.flat())

function drawn(seed = 5): Map<string, TensorData> {
  const draw = fractions(seed)
  return new Map(
    [...traceModel(model).parameters.values()].map(({ name, shape }) => [
      name,
      tensorData(
        'float32',
        shape,
        Array.from({ length: sizeOf(shape) }, () => 1.6 * (draw() - 0.5)),
      ),
    ]),
  )
}

async function run(weights: Map<string, TensorData>, contexts = CONTEXTS, questions = QUESTIONS, labels = LABELS) {
  const fed = { contextIds: rows(contexts), questionIds: rows(questions), labels: rows(labels) }
  const program = await compile(
    trace((scope, inputs) => model.forward(scope, inputs as never), fed),
    weights,
  )
  const results = await program(fed)
  program.release()
  return results as Record<string, TensorData>
}

/**
 * The paper's equations and the released code's training, in loops over one example at a time, without its padding: what
 * `Mqan` computes for all at once.
 */
class Plain {
  constructor(private readonly weights: ReadonlyMap<string, TensorData>) {}

  private matrix(name: string): number[][] {
    const { shape, data } = this.weights.get(name) as TensorData
    const columns = shape[1] ?? 1
    return Array.from({ length: shape[0] }, (_, i) =>
      Array.from({ length: columns }, (_, j) => Number(data[i * columns + j])),
    )
  }

  private vector = (name: string): number[] => Array.from((this.weights.get(name) as TensorData).data, Number)

  private linear(name: string, x: number[]): number[] {
    const bias = this.weights.has(`${name}.bias`) ? this.vector(`${name}.bias`) : undefined
    return this.matrix(`${name}.weight`).map((row, i) => dot(row, x) + (bias?.[i] ?? 0))
  }

  private norm(name: string, x: number[]): number[] {
    const mean = sum(x) / x.length
    const variance = sum(x.map((v) => (v - mean) ** 2)) / x.length
    const [gain, shift] = [this.vector(`${name}.weight`), this.vector(`${name}.bias`)]
    return x.map((v, i) => ((v - mean) / Math.sqrt(variance + 1e-6)) * gain[i] + shift[i])
  }

  private lstmStep(name: string, suffix: string, x: number[], h: number[], c: number[]): { h: number[]; c: number[] } {
    const [wIh, wHh] = [this.matrix(`${name}.weight_ih${suffix}`), this.matrix(`${name}.weight_hh${suffix}`)]
    const [bIh, bHh] = [this.vector(`${name}.bias_ih${suffix}`), this.vector(`${name}.bias_hh${suffix}`)]
    const gate = (k: number) => dot(wIh[k], x) + bIh[k] + dot(wHh[k], h) + bHh[k]
    const width = h.length
    const cell = h.map((_, k) => sigmoid(gate(width + k)) * c[k] + sigmoid(gate(k)) * Math.tanh(gate(2 * width + k)))
    return { h: cell.map((v, k) => sigmoid(gate(3 * width + k)) * Math.tanh(v)), c: cell }
  }

  private biLstm(name: string, xs: number[][], width: number) {
    const half = new Array<number>(width / 2).fill(0)
    const read = (suffix: string, order: number[]) => {
      let state = { h: half, c: half }
      const outputs: number[][] = []
      for (const i of order) {
        state = this.lstmStep(name, suffix, xs[i], state.h, state.c)
        outputs[i] = state.h
      }
      return { outputs, ...state }
    }
    const order = [...xs.keys()]
    const [forward, backward] = [read('_l0', order), read('_l0_reverse', order.reverse())]
    return {
      outputs: xs.map((_, i) => [...forward.outputs[i], ...backward.outputs[i]]),
      h: [...forward.h, ...backward.h],
      c: [...forward.c, ...backward.c],
    }
  }

  private multiHead(name: string, xs: number[][], ys: number[][], causal: boolean): number[][] {
    const { nHeads, dModel } = model.config
    const [q, k, v] = [xs, ys, ys].map((side, i) => side.map((x) => this.linear(`${name}.${['wq', 'wk', 'wv'][i]}`, x)))
    const width = dModel / nHeads
    return xs.map((_, i) => {
      const heads = Array.from({ length: nHeads }, (_, head) => {
        const part = (x: number[]) => x.slice(head * width, (head + 1) * width)
        const seen = causal ? ys.slice(0, i + 1) : ys
        const shares = softmax(seen.map((_, j) => dot(part(q[i]), part(k[j])) / Math.sqrt(dModel)))
        return weighted(shares, v.slice(0, seen.length).map(part))
      })
      return this.linear(`${name}.wo`, heads.flat())
    })
  }

  private residual(name: string, xs: number[][], added: number[][]): number[][] {
    return xs.map((x, i) => this.norm(`${name}.layernorm`, plus(x, added[i])))
  }

  private feedForward(name: string, xs: number[][]): number[][] {
    const hidden = xs.map((x) => this.linear(`${name}.feedforward`, x).map((v) => Math.max(0, v)))
    return this.residual(
      name,
      xs,
      hidden.map((x) => this.linear(`${name}.linear`, x)),
    )
  }

  private words(ids: number[], side: string): number[][] {
    const table = this.matrix('embeddings.weight')
    return ids.map((id) => this.linear(`${side}.projection`, table[id < 14 ? id : 2]))
  }

  /** The distribution over 14 + 3 words at each place of the answer. */
  answer(contextIds: number[], questionIds: number[], answerIds: number[]): number[][] {
    const { dModel, nLayers } = model.config
    const [contextWords, questionWords] = [contextIds, questionIds].map((ids) => this.words(ids, 'encoder_embeddings'))
    const alone = (xs: number[][]) => this.biLstm('bilstm_before_coattention', xs, dModel).outputs
    const [contextAlone, questionAlone] = [alone(contextWords), alone(questionWords)]

    const sentinels = this.matrix('coattention.embed_sentinel.weight')
    const c = [sentinels[0], ...contextAlone]
    const q = [sentinels[1], ...questionAlone].map((x) => this.linear('coattention.proj', x).map(Math.tanh))
    const toQuestion = c.map((word) => softmax(q.map((other) => dot(word, other))))
    const toContext = q.map((word) => softmax(c.map((other) => dot(word, other))))
    const questionSums = toQuestion.map((shares) => weighted(shares, q))
    const contextSums = toContext.map((shares) => weighted(shares, c))
    const aligned = c.map((_, i) => [...weighted(toQuestion[i], contextSums), ...questionSums[i]]).slice(1)
    const alignedQuestion = q.map((_, i) => [...weighted(toContext[i], questionSums), ...contextSums[i]]).slice(1)

    const compress = (side: string, parts: number[][][]) => {
      const joined = parts[0].map((_, i) => parts.flatMap((part) => part[i]))
      let xs = this.biLstm(`${side}_bilstm_after_coattention`, joined, dModel).outputs
      const layers: number[][][] = []
      for (let i = 0; i < nLayers; i++) {
        const name = `self_attentive_encoder_${side}.layers.${i}`
        xs = this.residual(`${name}.selfattn`, xs, this.multiHead(`${name}.selfattn`, xs, xs, false))
        xs = this.feedForward(`${name}.feedforward`, xs)
        layers.push(xs)
      }
      return { ...this.biLstm(`bilstm_${side}`, xs, dModel), layers }
    }
    const context = compress('context', [aligned, contextAlone, contextWords])
    const question = compress('question', [alignedQuestion, questionAlone, questionWords])

    let xs = this.words(answerIds, 'decoder_embeddings').map((x, pos) =>
      x.map((v, k) => {
        const angle = pos / 10000 ** ((2 * Math.floor(k / 2)) / dModel)
        return v + (k % 2 === 0 ? Math.sin(angle) : Math.cos(angle))
      }),
    )
    for (let i = 0; i < nLayers; i++) {
      const name = `self_attentive_decoder.layers.${i}`
      xs = this.residual(`${name}.selfattn`, xs, this.multiHead(`${name}.selfattn`, xs, xs, true))
      xs = this.residual(`${name}.attention`, xs, this.multiHead(`${name}.attention`, xs, context.layers[i], false))
      xs = this.feedForward(`${name}.feedforward`, xs)
    }
    let state = { h: context.h, c: context.c }
    let fed = new Array<number>(dModel).fill(0)
    const name = 'dual_ptr_rnn_decoder'
    return xs.map((x) => {
      const input = [...x, ...fed]
      state = this.lstmStep(`${name}.rnn`, '_l0', input, state.h, state.c)
      const point = (side: string, words: number[][]) => {
        const query = this.linear(`${name}.${side}_attn.linear_in`, state.h)
        const shares = softmax(words.map((word) => dot(query, word)))
        const output = this.linear(`${name}.${side}_attn.linear_out`, [...state.h, ...weighted(shares, words)]).map(
          Math.tanh,
        )
        return { shares, output }
      }
      const [toContext, toQuestion] = [point('context', context.outputs), point('question', question.outputs)]
      fed = toContext.output
      const switched = (which: string, output: number[]) =>
        sigmoid(this.linear(`${name}.${which}`, [...state.h, ...output, ...input])[0])
      const gamma = switched('vocab_pointer_switch', toContext.output)
      const lambda = switched('context_question_switch', toQuestion.output)
      const p = new Array<number>(17).fill(0)
      softmax(this.linear('out', fed)).forEach((share, id) => {
        p[id] += gamma * share
      })
      contextIds.forEach((id, i) => {
        p[id] += (1 - gamma) * lambda * toContext.shares[i]
      })
      questionIds.forEach((id, i) => {
        p[id] += (1 - gamma) * (1 - lambda) * toQuestion.shares[i]
      })
      return p
    })
  }
}

const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
const dot = (a: number[], b: number[]): number => sum(a.map((v, i) => v * b[i]))
const plus = (a: number[], b: number[]): number[] => a.map((v, i) => v + b[i])
const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v))
const softmax = (scores: number[]): number[] => {
  const powers = scores.map((score) => Math.exp(score))
  return powers.map((power) => power / sum(powers))
}
const weighted = (shares: number[], vectors: number[][]): number[] =>
  vectors[0].map((_, k) => sum(vectors.map((vector, i) => shares[i] * vector[k])))

describe('MQAN', () => {
  const shifted = LABELS.map((labels) => [0, ...labels.slice(0, -1).map((id) => (id === -100 ? 0 : id))])

  it('computes what loops over each example alone do', async () => {
    const weights = drawn()
    const { probabilities, loss } = await run(weights)
    const plain = new Plain(weights)
    let [total, count] = [0, 0]
    for (const [i, context] of CONTEXTS.entries()) {
      const words = (ids: number[]) => ids.filter((id) => id !== 0)
      const expected = plain.answer(words(context), words(QUESTIONS[i]), shifted[i])
      for (const [t, row] of expected.entries()) {
        const got = Array.from(probabilities.data.subarray((4 * i + t) * 17, (4 * i + t + 1) * 17) as Float32Array)
        expect(sum(got)).toBeCloseTo(1, 5)
        for (const [id, p] of row.entries()) expect(got[id]).toBeCloseTo(p, 5)
        if (LABELS[i][t] === -100) continue
        total -= Math.log(row[LABELS[i][t]])
        count++
      }
    }
    expect(Number(loss.data[0])).toBeCloseTo(total / count, 4)
  })

  it('has gradients of its loss for every parameter, equal to finite differences', async () => {
    const weights = drawn(9)
    const fed = { contextIds: rows(CONTEXTS), questionIds: rows(QUESTIONS), labels: rows(LABELS) }
    const traced = trace((scope, inputs) => ({ loss: model.forward(scope, inputs as never).loss as Tensor }), fed)
    const names = [...traced.parameters.keys()]
    const tensors = grad(
      traced.outputs.loss,
      [...traced.parameters.values()].map(({ tensor }) => tensor),
    )
    const outputs = Object.fromEntries(names.map((name, i) => [name, tensors[i]]))
    const gradients = (await (await compile({ ...traced, outputs }, weights))(fed)) as Record<string, TensorData>
    const live = { liveWeights: () => Object.fromEntries(weights) }
    const lossOf = await compile(traced, live)
    const draw = fractions(3)
    for (const name of names) {
      const { data } = weights.get(name) as TensorData
      const at = Math.floor(draw() * data.length)
      const kept = Number(data[at])
      const losses: number[] = []
      for (const step of [0.01, -0.01]) {
        data[at] = kept + step
        losses.push(Number((await lossOf(fed)).loss.data[0]))
      }
      data[at] = kept
      const difference = (losses[0] - losses[1]) / 0.02
      // Of fp32, and of what a step of 0.01 leaves out.
      const error = Math.abs(Number(gradients[name].data[at]) - difference)
      expect(error).toBeLessThan(0.01 * Math.max(0.5, Math.abs(difference)))
    }
  })

  it('reads texts whose lengths are known only when the graph runs as it reads them in training', async () => {
    const weights = drawn(2)
    const { probabilities } = await run(weights)
    const traced = trace((scope, inputs) => ({ probabilities: model.forward(scope, inputs as never).probabilities }), {
      contextIds: int32('batch', 'contextSeq'),
      questionIds: int32('batch', 'questionSeq'),
      answerIds: int32('batch', 4),
    })
    const program = await compile(traced, weights)
    const fed = { contextIds: rows(CONTEXTS), questionIds: rows(QUESTIONS), answerIds: rows(shifted) }
    const named = (await program(fed)).probabilities
    for (let i = 0; i < probabilities.data.length; i++) {
      expect(named.data[i]).toBeCloseTo(Number(probabilities.data[i]), 5)
    }
  })

  it('does not see words of the answer that come later', async () => {
    const weights = drawn()
    const { probabilities: a } = await run(weights)
    const { probabilities: b } = await run(weights, CONTEXTS, QUESTIONS, [
      [14, 4, 5, -100],
      [11, 16, 6, 7],
    ])
    for (const example of [0, 1]) {
      for (let i = 0; i < 3 * 17; i++) expect(b.data[4 * 17 * example + i]).toBe(a.data[4 * 17 * example + i])
    }
    expect(Array.from(a.data as Float32Array)).not.toEqual(Array.from(b.data as Float32Array))
  })

  it('learns to copy words that no vocabulary has, is saved, and loaded the same', async () => {
    const trainer = await Trainer.create({
      objective: (scope, { contextIds, questionIds, labels }) => ({
        loss: model.forward(scope, { contextIds, questionIds, labels }).loss as Tensor,
      }),
      inputs: { contextIds: int32(2, 6), questionIds: int32(2, 4), labels: int32(2, 4) },
      learningRate: constantSchedule(1e-2),
      weightDecay: 0,
    })
    const batch = {
      contextIds: Int32Array.from(CONTEXTS.flat()),
      questionIds: Int32Array.from(QUESTIONS.flat()),
      labels: Int32Array.from(LABELS.flat()),
    }
    let loss = Number.POSITIVE_INFINITY
    for (let step = 0; step < 80; step++) loss = (await trainer.train(batch)).loss
    expect(loss).toBeLessThan(0.1)
    const folder = mkdtempSync(join(tmpdir(), 'jackdaw-mqan-'))
    try {
      await saveModel(folder, { model, weights: trainer })
      const loaded = await loadModel(folder)
      expect(loaded.model.toConfig()).toEqual(model.toConfig())
      const { probabilities } = await run(loaded.weights as Map<string, TensorData>)
      expect(Number(probabilities.data[14])).toBeGreaterThan(0.8)
    } finally {
      rmSync(folder, { recursive: true })
    }
  }, 30_000)

  it('says what does not fit', () => {
    expect(() => new Mqan({ dModel: 10, nHeads: 2 })).toThrow(
      'MQAN: dimension: must divide into 2 heads and two directions',
    )
    expect(() => MqanConfig.read({ vocab_size: 5, max_generative_vocab: 6 })).toThrow(
      'max_generative_vocab: cannot be more',
    )
  })
})
