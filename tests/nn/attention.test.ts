import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type AttentionOptions, attention } from '../../src/nn/attention.ts'
import { GrowingCache } from '../../src/nn/kv-cache.ts'
import { rotaryTables } from '../../src/nn/positions.ts'
import { compileGraph } from '../../src/runtime/compiled.ts'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkSecondGradient, expectClose, property, seeds, uniform } from '../tensor/check.ts'
import { get, type Nd, nd } from '../tensor/reference.ts'

interface Layout {
  readonly nHeads: number
  readonly nKvHeads: number
  readonly scale: number
  readonly causal: boolean
  readonly window: number
}

/** One query, one head, one key at a time. */
function attentionLoops(q: Nd, k: Nd, v: Nd, layout: Layout, mask?: Nd, bias?: Nd): Nd {
  const { nHeads, nKvHeads, scale, causal, window } = layout
  const [batch, queries, width] = q.shape
  const keys = k.shape[1]
  const headDim = width / nHeads
  return nd([batch, queries, width], ([b, i, f]) => {
    const head = Math.floor(f / headDim)
    const shared = Math.floor(head / (nHeads / nKvHeads)) * headDim
    const scores = Array.from({ length: keys }, (_, j) => {
      const seen = (!causal || (j <= i && (window === 0 || j > i - window))) && (!mask || get(mask, [b, j]) === 1)
      if (!seen) return Number.NEGATIVE_INFINITY
      let score = bias ? get(bias, [b, head, i, j]) : 0
      for (let d = 0; d < headDim; d++) score += scale * get(q, [b, i, head * headDim + d]) * get(k, [b, j, shared + d])
      return score
    })
    const top = Math.max(...scores)
    const weights = scores.map((score) => Math.exp(score - top))
    const sum = weights.reduce((x, y) => x + y)
    return weights.reduce((value, weight, j) => value + (weight / sum) * get(v, [b, j, shared + (f % headDim)]), 0)
  })
}

const layouts = fc
  .record({
    batch: fc.integer({ min: 1, max: 2 }),
    queries: fc.integer({ min: 1, max: 3 }),
    keys: fc.integer({ min: 1, max: 3 }),
    headDim: fc.integer({ min: 1, max: 3 }),
    nKvHeads: fc.integer({ min: 1, max: 2 }),
    group: fc.integer({ min: 1, max: 2 }),
    causal: fc.boolean(),
    window: fc.constantFrom(0, 1, 2),
    masked: fc.boolean(),
    biased: fc.constantFrom('none', 'shared', 'own'),
    seed: seeds,
  })
  .map((layout) => (layout.causal ? { ...layout, keys: layout.queries } : layout))

describe('attention', () => {
  it('is softmax(QKᵀ · scale + bias) V with its gradients: grouped, causal, banded, masked, biased', () =>
    property(
      layouts,
      ({ batch, queries, keys, headDim, nKvHeads, group, causal, window, masked, biased, seed }) => {
        const nHeads = nKvHeads * group
        // The first key always counts: a row with nothing to see has no softmax.
        const mask = Float32Array.from(uniform([batch, keys], seed).data as Float32Array, (v, i) =>
          i % keys === 0 || v > 0 ? 1 : 0,
        )
        const layout = { nHeads, nKvHeads, scale: 0.7, causal, window }
        const banded = causal && window > 0
        return checkGradient({
          inputs: {
            q: uniform([batch, queries, nHeads * headDim], seed),
            k: uniform([batch, keys, nKvHeads * headDim], seed + 1),
            v: uniform([batch, keys, nKvHeads * headDim], seed + 2),
            ...(masked && !banded ? { mask: t.tensorData('int32', [batch, keys], Int32Array.from(mask)) } : {}),
            ...(biased === 'none'
              ? {}
              : {
                  bias: uniform([biased === 'own' ? batch : 1, biased === 'own' ? nHeads : 1, queries, keys], seed + 3),
                }),
          },
          fn: ({ q, k, v, mask, bias }) => ({ y: attention(q, k, v, { ...layout, attentionMask: mask, bias }) }),
          reference: ({ q, k, v, mask, bias }) => ({ y: attentionLoops(q, k, v, layout, mask, bias) }),
          named: { q: [2], k: [2], v: [2], bias: [1] },
        })
      },
      40,
    ))

  it('can be differentiated twice', () =>
    checkSecondGradient({
      inputs: { q: uniform([1, 3, 4], 1), k: uniform([1, 3, 4], 2), v: uniform([1, 3, 4], 3) },
      fn: ({ q, k, v }) => ({ y: attention(q, k, v, { nHeads: 2, causal: true, scale: 0.5 }) }),
      reference: ({ q, k, v }) => ({
        y: attentionLoops(q, k, v, { nHeads: 2, nKvHeads: 2, scale: 0.5, causal: true, window: 0 }),
      }),
      named: { q: [2], k: [2], v: [2] },
    }))

  it.each([128, 150, 200])(
    'gives long causal sequences in blocks what it gives them whole: %i positions',
    async (seq) => {
      const [nHeads, nKvHeads, headDim] = [4, 2, 3]
      const query = uniform([2, seq, nHeads * headDim], 1)
      const [key, value] = [2, 3].map((seed) => uniform([2, seq, nKvHeads * headDim], seed))
      const towards = uniform(query.shape, 4)
      const seen = Int32Array.from({ length: 2 * seq }, (_, i) => (i < seq || i >= seq + 5 || i === seq ? 1 : 0))
      const feeds = { query, key, value, towards, mask: t.tensorData('int32', [2, seq], seen) }
      const leaves = Object.entries(feeds).map(([name, { shape, dtype }]) => t.input(name, shape, dtype))
      const [q, k, v, direction, attentionMask] = leaves
      // A bias of nothing changes no score, and is a reason to attend to everything at once.
      const results = [undefined, t.full([1, 1, 1, 1], 0)].map((bias) => {
        const y = attention(q, k, v, { nHeads, nKvHeads, causal: true, attentionMask, bias })
        const [dq, dk, dv] = t.grad(y.mul(direction).sum(), [q, k, v])
        return { y, dq, dk, dv }
      })
      const [blocks, whole] = await Promise.all(
        results.map(async (outputs) => (await compileGraph({ inputs: leaves, outputs })).run(feeds)),
      )
      for (const name of ['y', 'dq', 'dk', 'dv']) {
        const want = nd(whole[name].shape, () => 0)
        want.data.set(whole[name].data as Float32Array)
        expectClose(blocks[name], want, 1e-6, name)
      }
      const layout = { nHeads, nKvHeads, scale: 1 / Math.sqrt(headDim), causal: true, window: 0 }
      const [wide, tall, deep, mask] = [query, key, value, feeds.mask].map(({ shape, data }) => {
        const array = nd(shape, () => 0)
        array.data.set(Array.from(data as Float32Array))
        return array
      })
      expectClose(blocks.y, attentionLoops(wide, tall, deep, layout, mask), 1e-5)
    },
  )

  it('answers 0 where a query sees nothing but padding, if that is asked for, and no gradient comes back', async () => {
    const inputs = {
      q: uniform([2, 5, 4], 1),
      k: uniform([2, 5, 2], 2),
      v: uniform([2, 5, 2], 3),
      towards: uniform([2, 5, 4], 4),
      mask: t.tensorData('int32', [2, 5], [0, 0, 1, 1, 1, 1, 1, 0, 0, 1]),
    }
    const leaves = Object.entries(inputs).map(([name, { shape, dtype }]) => t.input(name, shape, dtype))
    const [q, k, v, towards, attentionMask] = leaves
    const y = attention(q, k, v, { nHeads: 2, nKvHeads: 1, causal: true, window: 2, attentionMask, zeroBlind: true })
    const [dq, dv] = t.grad(y.mul(towards).sum(), [q, v])
    const run = await compileGraph({ inputs: leaves, outputs: { y, dq, dv } })
    const results = await run.run(inputs)
    const rows = ({ data }: t.TensorData) =>
      Array.from({ length: 10 }, (_, i) => data.slice(i * 4, (i + 1) * 4).some((x) => x !== 0))
    const sees = [false, false, true, true, true, true, true, true, false, true]
    expect(rows(results.y)).toEqual(sees)
    // One key has all of the probability, whatever the query is.
    const chooses = [false, false, false, true, true, false, true, false, false, false]
    expect(rows(results.dq)).toEqual(chooses)
    const padding = [0, 1, 7, 8].map((i) => Array.from(results.dv.data.slice(i * 2, (i + 1) * 2), Number))
    expect(padding).toEqual([0, 1, 7, 8].map(() => [0, 0]))
  })

  it('has no gradient at all for a query that sees one key', async () => {
    const inputs = { q: uniform([3, 5, 6], 1), k: uniform([3, 5, 6], 2), v: uniform([3, 5, 6], 3) }
    const leaves = Object.entries(inputs).map(([name, { shape }]) => t.input(name, shape))
    const [q, k, v] = leaves
    const [dq, dk] = t.grad(attention(q, k, v, { nHeads: 2, causal: true, window: 1 }).mul(v).sum(), [q, k])
    const run = await compileGraph({ inputs: leaves, outputs: { dq, dk } })
    const results = await run.run(inputs)
    for (const { data } of [results.dq, results.dk]) expect(data.every((x) => Number(x) === 0)).toBe(true)
  })

  it('scales by 1 / √headDim and refuses widths that are no heads', () => {
    const [q, k] = [t.input('q', [1, 2, 6]), t.input('k', [1, 2, 4])]
    expect(() => attention(q, k, k, { nHeads: 4 })).toThrow(/^attention: 4 heads over 4 key-value heads need query/)
    expect(() => attention(q, k, k, { nHeads: 3, nKvHeads: 2 })).toThrow('got [1, 2, 6], [1, 2, 4], [1, 2, 4]')
    const longer = t.input('k', [1, 5, 6])
    expect(() => attention(q, longer, longer, { nHeads: 2, causal: true })).toThrow(
      'attention: causal attention needs as many queries as keys, got 2 and 5',
    )
  })
})

describe('attention with a cache', () => {
  const variants: [
    string,
    { headDim: number; nKvHeads: number; window?: number; turn?: 'halves' | 'neighbours' | 'some' },
  ][] = [
    ['plain', { headDim: 8, nKvHeads: 2 }],
    ['grouped, heads of an odd size', { headDim: 5, nKvHeads: 1 }],
    ['with a window', { headDim: 8, nKvHeads: 2, window: 3 }],
    ['turned inside the kernel', { headDim: 16, nKvHeads: 1, turn: 'halves' }],
    ['turned before it, neighbours', { headDim: 8, nKvHeads: 2, turn: 'neighbours' }],
    ['turned before it, in part', { headDim: 16, nKvHeads: 2, turn: 'some' }],
  ]
  it.each(variants)('answers what attention over everything would: %s', async (_name, variant) => {
    const { headDim, nKvHeads, window, turn } = variant
    const [nHeads, batch, length, capacity, prompt] = [2, 1, 7, 10, 3]
    const tables = turn && rotaryTables({ rotaryDim: turn === 'some' ? 8 : headDim, theta: 100, rows: capacity })
    const options: AttentionOptions = {
      nHeads,
      nKvHeads,
      causal: true,
      window,
      rotary: tables && { ...tables, interleaved: turn === 'neighbours' },
    }
    const value = {
      q: uniform([batch, length, nHeads * headDim], 1),
      k: uniform([batch, length, nKvHeads * headDim], 2),
      v: uniform([batch, length, nKvHeads * headDim], 3),
    }
    const leaves = (seq: t.Dim) =>
      Object.entries(value).map(([name, { shape }]) => t.input(name, [batch, seq, shape[2]]))
    const [q, k, v] = leaves(length)
    const whole = await compileGraph({ inputs: [q, k, v], outputs: { y: attention(q, k, v, options) } })
    const want = (await whole.run(value)).y

    const cache = new GrowingCache(batch, t.symbol('seq'))
    const [newQ, newK, newV] = leaves(t.symbol('seq'))
    const y = attention(newQ, newK, newV, { ...options, cache })
    const [{ pastKey, pastValue, presentKey, presentValue }] = cache.entries
    const step = await compileGraph({
      inputs: [newQ, newK, newV, cache.pastLengths, cache.totalLength, pastKey, pastValue],
      outputs: { y, presentKey, presentValue },
    })
    const room = Math.ceil(headDim / 8) * 8
    const store = () => t.tensorData('float32', [batch, nKvHeads, capacity, room])
    const [keys, values] = [store(), store()]
    for (let from = 0; from < length; ) {
      const seq = from === 0 ? prompt : 1
      const part = ({ shape, data }: t.TensorData) =>
        t.tensorData(
          'float32',
          [batch, seq, shape[2]],
          (data as Float32Array).slice(from * shape[2], (from + seq) * shape[2]),
        )
      const out = t.tensorData('float32', [batch, seq, nHeads * headDim])
      const binding = step.bind(
        {
          q: part(value.q),
          k: part(value.k),
          v: part(value.v),
          pastLengths: t.tensorData('int32', [batch], [from]),
          totalLength: t.tensorData('int32', [1], [from + seq]),
          'past.0.key': keys,
          'past.0.value': values,
        },
        { y: out, presentKey: keys, presentValue: values },
      )
      await binding.run()
      binding.release()
      const expected = nd(out.shape, ([, s, f]) => Number(want.data[(from + s) * nHeads * headDim + f]))
      expectClose(out, expected, 1e-5, `positions ${from} to ${from + seq - 1}`)
      from += seq
    }
    whole.release()
    step.release()
  })

  it('serves sequences of different lengths in one batch, each with its bias', async () => {
    const [nHeads, headDim, length, capacity, behind] = [2, 8, 5, 8, 2]
    const width = nHeads * headDim
    const value = {
      q: uniform([2, length, width], 1),
      k: uniform([2, length, width], 2),
      v: uniform([2, length, width], 3),
    }
    const slopes = uniform([1, nHeads, length, length], 4)
    const [q, k, v] = Object.entries(value).map(([name, { shape }]) => t.input(name, shape))
    const bias = t.input('bias', slopes.shape)
    const whole = await compileGraph({
      inputs: [q, k, v, bias],
      outputs: { y: attention(q, k, v, { nHeads, causal: true, bias }) },
    })
    const want = (await whole.run({ ...value, bias: slopes })).y

    const cache = new GrowingCache(2, 1)
    const [newQ, newK, newV] = Object.keys(value).map((name) => t.input(name, [2, 1, width]))
    const row = t.input('bias', [2, nHeads, 1, t.symbol('total')])
    const y = attention(newQ, newK, newV, { nHeads, causal: true, bias: row, cache })
    const [{ pastKey, pastValue, presentKey, presentValue }] = cache.entries
    const step = await compileGraph({
      inputs: [newQ, newK, newV, row, cache.pastLengths, cache.totalLength, pastKey, pastValue],
      outputs: { y, presentKey, presentValue },
    })
    const [keys, values] = [0, 1].map(() => t.tensorData('float32', [2, nHeads, capacity, headDim]))
    for (let now = 0; now < length; now++) {
      // The second sequence lags: until it starts, it writes its first token again and again.
      const at = [now, Math.max(0, now - behind)]
      const total = now + 1
      const part = (x: t.TensorData) =>
        t.tensorData(
          'float32',
          [2, 1, width],
          at.flatMap((s, b) => Array.from({ length: width }, (_, f) => Number(x.data[(b * length + s) * width + f]))),
        )
      const rows = nd([2, nHeads, 1, total], ([b, h, , j]) => Number(slopes.data[(h * length + at[b]) * length + j]))
      const out = t.tensorData('float32', [2, 1, width])
      const binding = step.bind(
        {
          q: part(value.q),
          k: part(value.k),
          v: part(value.v),
          bias: t.tensorData('float32', rows.shape, Array.from(rows.data)),
          pastLengths: t.tensorData('int32', [2], at),
          totalLength: t.tensorData('int32', [1], [total]),
          'past.0.key': keys,
          'past.0.value': values,
        },
        { y: out, presentKey: keys, presentValue: values },
      )
      await binding.run()
      binding.release()
      const expected = nd(out.shape, ([b, , f]) => Number(want.data[(b * length + at[b]) * width + f]))
      expectClose(out, expected, 1e-5, `positions ${at}`)
    }
    whole.release()
    step.release()
  })
})
