import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compileGraph } from '../../src/runtime/compiled.ts'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkOp, expectClose, integers, property, seeds, uniform } from './check.ts'
import { get, nd } from './reference.ts'

describe('rotary', () => {
  it("turns pairs of features by their position's angle, halves or neighbours, all of the head or its start", () =>
    property(
      fc.record({
        batch: fc.integer({ min: 1, max: 2 }),
        nHeads: fc.integer({ min: 1, max: 3 }),
        seq: fc.integer({ min: 1, max: 3 }),
        half: fc.constantFrom(2, 4),
        // Where only the start of a head turns, kernels want heads in steps of eight.
        partial: fc.boolean(),
        interleaved: fc.boolean(),
        seed: seeds,
      }),
      ({ batch, nHeads, seq, half, partial, interleaved, seed }) => {
        const positions = 7
        const shape = [batch, nHeads, seq, partial ? 16 : 2 * half]
        const angles = uniform([positions, half], seed, -3, 3).data as Float32Array
        const table = (f: (angle: number) => number) =>
          t.constant({ dtype: 'float32', shape: [positions, half], data: angles.map(f) })
        return checkGradient({
          inputs: { x: uniform(shape, seed), ids: integers([batch, seq], seed, 0, positions - 1) },
          fn: ({ x, ids }) => ({ y: t.rotary(x, ids, table(Math.cos), table(Math.sin), interleaved) }),
          reference: ({ x, ids }) => ({
            y: nd(shape, ([b, h, s, f]) => {
              if (f >= 2 * half) return get(x, [b, h, s, f])
              const pair = interleaved ? f >> 1 : f % half
              const second = interleaved ? f % 2 === 1 : f >= half
              const angle = angles[get(ids, [b, s]) * half + pair]
              const other = interleaved ? f ^ 1 : (f + half) % (2 * half)
              const sign = second ? 1 : -1
              return get(x, [b, h, s, f]) * Math.cos(angle) + sign * get(x, [b, h, s, other]) * Math.sin(angle)
            }),
          }),
          named: { x: [1, 3] },
        })
      },
      16,
    ))

  it('refuses tables that do not fit in one sentence', () => {
    const [x, ids] = [t.input('x', [1, 2, 3, 8]), t.input('ids', [1, 3], 'int32')]
    const table = t.input('table', [9, 5])
    expect(() => t.rotary(x, ids, table, table)).toThrow(
      'rotary: needs x [batch, nHeads, seq, headDim], positions [batch, seq] and tables [positions, rotaryDim / 2], got [1, 2, 3, 8], [1, 3], [9, 5], [9, 5]',
    )
  })
})

describe('masks and counts', () => {
  it('causalMask shows each position itself and those before, at most a window of them', () =>
    property(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 4 })), ([length, window]) =>
      checkOp({
        inputs: { x: uniform([length], 1) },
        fn: ({ x }) => ({ mask: t.causalMask(x.shape[0], window) }),
        reference: () => ({
          mask: nd([length, length], ([i, j]) => +(j <= i && (window === 0 || j > i - window))),
        }),
      }),
    ))

  it('countTo makes a dimension out of a number in the graph, which shapes may then use', async () => {
    const limit = t.input('limit', [1], 'int32')
    const numbers = t.countTo(limit, 'many')
    const table = t.broadcastTo(t.expandDims(numbers, 1), [numbers.shape[0], 2])
    const flat = table.reshape([t.mulDims(numbers.shape[0], 2)])
    const compiled = await compileGraph({ inputs: [limit], outputs: { numbers, flat } })
    for (const many of [1, 5]) {
      const got = await compiled.run({ limit: t.tensorData('int32', [1], [many]) })
      expectClose(
        got.numbers,
        nd([many], ([i]) => i),
        0,
      )
      expectClose(
        got.flat,
        nd([2 * many], ([i]) => i >> 1),
        0,
      )
    }
    compiled.release()
  })
})

describe('cachedAttention', () => {
  it('has no gradient, and says so', () => {
    const x = t.input('x', [1, 1, 8])
    const past = t.input('past', [1, 1, 4, 8])
    const count = t.input('count', [1], 'int32')
    const { output } = t.cachedAttention(
      { query: x, key: x, value: x, pastKey: past, pastValue: past, lastPosition: count, totalLength: count },
      { nHeads: 1, nKvHeads: 1, scale: 1 },
    )
    expect(() => t.grad(output.sum(), [x])).toThrow('cachedAttention: no gradient flows through a cache')
  })
})
