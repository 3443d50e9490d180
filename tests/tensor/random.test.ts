import { describe, expect, it } from 'vitest'
import { compileGraph } from '../../src/runtime/compiled.ts'
import { RandomFeeds } from '../../src/runtime/random-feeds.ts'
import * as t from '../../src/tensor/index.ts'
import './check.ts'

const LENGTH = 2 ** 14

/** Everything that one block draws. */
function draws(): RandomFeeds {
  const random = new t.RandomStreams()
  random.uniform([LENGTH])
  random.normal([LENGTH])
  random.bernoulli(0.3, [LENGTH])
  random.uniform([2, 3])
  return new RandomFeeds(random.draws)
}

const filled = (seed: number, step: number): Float32Array[] => {
  const feeds = draws()
  feeds.fill(seed, step)
  return Object.values(feeds.feeds).map(({ data }) => Float32Array.from(data as Float32Array))
}

const meanOf = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0) / values.length
const moment = (values: Float32Array, order: number) => meanOf(Array.from(values, (v) => v ** order))

describe('random draws', () => {
  it('are the same for the same seed and step, whatever was drawn before', () => {
    const feeds = draws()
    for (const step of [0, 1, 2, 7]) feeds.fill(5, step)
    expect(Object.values(feeds.feeds).map(({ data }) => data)).toEqual(filled(5, 7))
  })

  it('differ between seeds, steps and draws', () => {
    const firsts = [filled(5, 7), filled(5, 8), filled(6, 7)].flatMap(([uniform, , , small]) => [uniform[0], small[0]])
    expect(new Set(firsts).size).toBe(firsts.length)
  })

  it('have the moments of their distributions', () => {
    const [uniform, normal, bernoulli] = filled(1, 2)
    // Five standard errors of that many draws.
    const close = (got: number, want: number, variance: number) =>
      expect(Math.abs(got - want)).toBeLessThan(5 * Math.sqrt(variance / LENGTH))
    close(moment(uniform, 1), 1 / 2, 1 / 12)
    close(moment(uniform, 2), 1 / 3, 4 / 45)
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(0)
    expect(Math.max(...uniform)).toBeLessThan(1)
    close(moment(normal, 1), 0, 1)
    close(moment(normal, 2), 1, 2)
    close(moment(normal, 3), 0, 15)
    close(moment(normal, 4), 3, 96)
    close(moment(bernoulli, 1), 0.3, 0.21)
    expect(new Set(bernoulli)).toEqual(new Set([0, 1]))
    const neighbours = Float32Array.from(normal.subarray(1), (v, i) => v * normal[i])
    close(moment(neighbours, 1), 0, 1)
  })

  it('are numbered in the order of drawing, and drawn again after a rewind', () => {
    const random = new t.RandomStreams()
    const first = random.uniform([2])
    const mark = random.mark()
    const [second, third] = [random.normal([3]), random.bernoulli(0.5, [3])]
    random.rewind(mark)
    expect([random.normal([3]), random.bernoulli(0.5, [3])]).toEqual([second, third])
    expect(random.draws.map(({ leaf }) => leaf)).toEqual([first, second, third])
    random.uniform([1])
    expect(random.draws.map(({ leaf }) => (leaf.node.attributes as { name: string }).name)).toEqual([
      'random.uniform.0',
      'random.normal.1',
      'random.bernoulli.2',
      'random.uniform.3',
    ])
  })

  it('refuse a second trace that draws something else, and shapes that nobody can fill', () => {
    const random = new t.RandomStreams()
    random.uniform([2])
    random.rewind(0)
    expect(() => random.uniform([3])).toThrow('random draw 0 was uniform [2] and is uniform [3] when traced again')
    expect(() => random.rewind(5)).toThrow('rewind: 5 is not a mark among 1 draws')
    expect(() => random.bernoulli(1.5, [1])).toThrow('bernoulli: the probability must lie between 0 and 1, got 1.5')
    const open = new t.RandomStreams()
    open.uniform([t.symbol('batch')])
    expect(() => new RandomFeeds(open.draws)).toThrow('random numbers need a static shape, got [batch]')
  })
})

describe('dropout', () => {
  it('keeps the mean, drops at its rate, and sends the gradient through what was kept, scaled alike', async () => {
    const random = new t.RandomStreams()
    const x = t.input('x', [LENGTH])
    const y = t.dropout(x, 0.25, random)
    const [dx] = t.grad(y.sum(), [x])
    const feeds = new RandomFeeds(random.draws)
    const compiled = await compileGraph({ inputs: [x, ...feeds.leaves], outputs: { y, dx } })
    feeds.fill(3, 4)
    const ones = t.tensorData('float32', [LENGTH], new Float32Array(LENGTH).fill(1))
    const got = await compiled.run({ x: ones, ...feeds.feeds })
    compiled.release()
    const values = got.y.data as Float32Array
    const kept = Math.fround(1 / 0.75)
    expect(new Set(values)).toEqual(new Set([0, kept]))
    expect(Math.abs(meanOf(values) - 1)).toBeLessThan(5 * Math.sqrt(0.25 / 0.75 / LENGTH))
    expect(got.dx.data).toEqual(values)
  })

  it('of nothing is the input itself, and of everything is refused', () => {
    const [random, x] = [new t.RandomStreams(), t.input('x', [3])]
    expect(t.dropout(x, 0, random)).toBe(x)
    expect(random.draws).toEqual([])
    expect(() => t.dropout(x, 1, random)).toThrow('dropout: the rate must be at least 0 and below 1, got 1')
  })

  it('in a checkpointed block drops the same elements when the block is computed again', async () => {
    const random = new t.RandomStreams()
    const x = t.input('x', [64])
    const start = random.mark()
    const block = (y: t.Tensor) => {
      random.rewind(start)
      return t.dropout(y.mul(y), 0.5, random).tanh()
    }
    const plain = t.grad(block(x).sum(), [x])[0]
    const again = t.grad(t.recompute(block, x).sum(), [x])[0]
    const feeds = new RandomFeeds(random.draws)
    expect(feeds.leaves.length).toBe(1)
    const compiled = await compileGraph({ inputs: [x, ...feeds.leaves], outputs: { plain, again } })
    feeds.fill(1, 1)
    const value = t.tensorData(
      'float32',
      [64],
      Float32Array.from({ length: 64 }, (_, i) => i / 32 - 1),
    )
    const got = await compiled.run({ x: value, ...feeds.feeds })
    compiled.release()
    expect(got.again.data).toEqual(got.plain.data)
    expect(Array.from(got.plain.data as Float32Array).filter((v) => v === 0).length).toBeGreaterThan(15)
  })
})
