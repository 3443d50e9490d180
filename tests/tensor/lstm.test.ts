import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { jit } from '../../src/runtime/compiled.ts'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, expectClose, property, seeds, uniform } from './check.ts'
import { get, type Nd, nd } from './reference.ts'

interface Recorded {
  readonly shape: number[]
  readonly data: number[]
}

interface Fixture {
  readonly reverse: boolean
  readonly initial: { h0: Recorded; c0: Recorded } | null
  readonly inputs: Record<string, Recorded>
  readonly outputs: Record<string, Recorded>
  readonly seeds: Record<string, Recorded>
  readonly grads: Record<string, Recorded>
}

/** What PyTorch 2.13 answers; made by tests/parity/lstm.py. */
const fixtures: Fixture[] = JSON.parse(readFileSync(new URL('./fixtures/lstm.json', import.meta.url), 'utf8'))

const feed = ({ shape, data }: Recorded): t.TensorData => t.tensorData('float32', shape, data)
const wanted = ({ shape, data }: Recorded): Nd => ({ shape, data: Float64Array.from(data) })

const run = (inputs: Record<string, t.Tensor>, reverse: boolean) => {
  const { x, wIh, wHh, bIh, bHh, h0, c0 } = inputs
  return t.lstm(x, { wIh, wHh, bIh, bHh }, { reverse, initial: h0 && { h: h0, c: c0 } })
}

describe('lstm', () => {
  it.each(fixtures)('equals PyTorch, reverse $reverse, with its gradients', async ({ reverse, ...recorded }) => {
    const inputs = { ...recorded.inputs, ...(recorded.initial ?? {}) }
    const names = Object.keys(recorded.outputs) as ('outputs' | 'h' | 'c')[]
    const traced = jit((leaves) => {
      const result = run(leaves, reverse)
      const loss = names.map((name) => result[name].mul(leaves[`seed ${name}`]).sum()).reduce((a, b) => a.add(b))
      const grads = t.grad(
        loss,
        Object.keys(inputs).map((name) => leaves[name]),
      )
      const { outputs, h, c } = result
      return { outputs, h, c, ...Object.fromEntries(Object.keys(inputs).map((name, i) => [`grad ${name}`, grads[i]])) }
    })
    const seedFeeds = names.map((name) => [`seed ${name}`, feed(recorded.seeds[name])])
    const feeds = Object.fromEntries([
      ...Object.entries(inputs).map(([name, value]) => [name, feed(value)]),
      ...seedFeeds,
    ])
    const got = await traced(feeds)
    for (const name of names) expectClose(got[name], wanted(recorded.outputs[name]), 1e-6, name)
    for (const [name, value] of Object.entries(recorded.grads)) {
      expectClose(got[`grad ${name}`], wanted(value), 5e-6, `gradient by ${name}`)
    }
  })

  it('runs as one operator where the length is known only by name, with the same answers', async () => {
    for (const { reverse, inputs, initial, outputs } of fixtures) {
      const named = jit(
        (leaves) => {
          const { outputs, h, c } = run(leaves, reverse)
          return { outputs, h, c }
        },
        { shapes: { x: ['batch', 'seq', 3], h0: ['batch', 5], c0: ['batch', 5] } },
      )
      const all = { ...inputs, ...(initial ?? {}) }
      const feeds = Object.fromEntries(Object.entries(all).map(([name, value]) => [name, feed(value)]))
      const got = await named(feeds)
      for (const [name, value] of Object.entries(outputs)) expectClose(got[name], wanted(value), 1e-6, name)
      // The same compiled graph on a shorter sequence of one: the first (or last) outputs do not depend on the rest.
      const [, seq] = inputs.x.shape
      const cut = nd([2, seq - 1, 3], ([b, s, f]) => get(wanted(inputs.x), [b, reverse ? s + 1 : s, f]))
      const shorter = await named({ ...feeds, x: t.tensorData('float32', cut.shape, Array.from(cut.data)) })
      const rest = nd([2, seq - 1, 5], ([b, s, f]) => get(wanted(outputs.outputs), [b, reverse ? s + 1 : s, f]))
      expectClose(shorter.outputs, rest, 1e-6, 'outputs of the shorter sequence')
    }
  })

  it('is the recurrence of its paper over generated sizes', () =>
    property(
      fc.record({
        batch: fc.integer({ min: 1, max: 2 }),
        seq: fc.integer({ min: 1, max: 3 }),
        features: fc.integer({ min: 1, max: 3 }),
        hidden: fc.integer({ min: 1, max: 3 }),
        reverse: fc.boolean(),
        seed: seeds,
      }),
      ({ batch, seq, features, hidden, reverse, seed }) =>
        checkGradient({
          inputs: {
            x: uniform([batch, seq, features], seed),
            wIh: uniform([4 * hidden, features], seed + 1, -1, 1),
            wHh: uniform([4 * hidden, hidden], seed + 2, -1, 1),
            bIh: uniform([4 * hidden], seed + 3, -1, 1),
            bHh: uniform([4 * hidden], seed + 4, -1, 1),
          },
          fn: (inputs) => {
            const { outputs, h, c } = run(inputs, reverse)
            return { outputs, h, c }
          },
          reference: ({ x, wIh, wHh, bIh, bHh }) => {
            const outputs = { shape: [batch, seq, hidden], data: new Float64Array(batch * seq * hidden) }
            const [h, c] = [0, 0].map(() => ({ shape: [batch, hidden], data: new Float64Array(batch * hidden) }))
            const sigmoid = (v: number) => 1 / (1 + Math.exp(-v))
            for (let b = 0; b < batch; b++) {
              for (let step = 0; step < seq; step++) {
                const s = reverse ? seq - 1 - step : step
                const gate = (row: number) => {
                  let sum = bIh.data[row] + bHh.data[row]
                  for (let k = 0; k < features; k++) sum += get(x, [b, s, k]) * get(wIh, [row, k])
                  for (let k = 0; k < hidden; k++) sum += h.data[b * hidden + k] * get(wHh, [row, k])
                  return sum
                }
                const gates = Array.from({ length: 4 * hidden }, (_, row) => gate(row))
                for (let k = 0; k < hidden; k++) {
                  const at = b * hidden + k
                  const kept = sigmoid(gates[hidden + k]) * c.data[at]
                  c.data[at] = kept + sigmoid(gates[k]) * Math.tanh(gates[2 * hidden + k])
                  h.data[at] = sigmoid(gates[3 * hidden + k]) * Math.tanh(c.data[at])
                  outputs.data[(b * seq + s) * hidden + k] = h.data[at]
                }
              }
            }
            return { outputs, h, c }
          },
          named: false,
        }),
      8,
    ))

  it('says which tensor does not fit, and that gradients need a static length', () => {
    const x = t.input('x', [2, 4, 3])
    const weights = {
      wIh: t.input('wIh', [20, 3]),
      wHh: t.input('wHh', [20, 5]),
      bIh: t.input('bIh', [20]),
      bHh: t.input('bHh', [19]),
    }
    expect(() => t.lstm(x, weights)).toThrow('lstm: bHh must be [20], got [19]')
    expect(() => t.lstm(t.input('y', [2, 3]), weights)).toThrow('lstm: needs x [batch, seq, input] and wHh')
    const open = t.input('open', [2, t.symbol('seq'), 3])
    const { h } = t.lstm(open, { ...weights, bHh: weights.bIh })
    expect(() => t.grad(h.sum(), [open])).toThrow('lstm: the gradient needs a static length')
  })
})
