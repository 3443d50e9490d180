import fc from 'fast-check'
import onnxProto from 'onnx-proto'
import { describe, expect, it } from 'vitest'
import { compileGraph, jit } from '../../src/runtime/compiled.ts'
import * as t from '../../src/tensor/index.ts'
import { checkGradient, checkSecondGradient, expectClose, property, seeds, uniform } from './check.ts'
import { map, type Nd, nd, product, total, zip } from './reference.ts'

type Tensors = Record<string, t.Tensor>

const SHAPE = [2, 3]
const run = (feeds: Record<string, t.TensorData>, fn: (inputs: Tensors) => Tensors) => jit(fn)(feeds)
const exactly = (value: t.TensorData): Nd => ({
  shape: value.shape,
  data: Float64Array.from(value.data as Float32Array),
})

/** How many nodes of each operator a graph is lowered to. */
async function countNodes(inputs: t.Tensor[], outputs: Tensors): Promise<Record<string, number>> {
  const compiled = await compileGraph({ inputs, outputs })
  const { graph } = onnxProto.onnx.ModelProto.decode(compiled.toOnnx())
  compiled.release()
  const counts: Record<string, number> = {}
  for (const { opType } of graph?.node ?? []) counts[`${opType}`] = (counts[`${opType}`] ?? 0) + 1
  return counts
}

/** A program over a growing list of values: each step applies an op to two earlier ones, so values are shared. */
const STEPS: Record<string, [(a: t.Tensor, b: t.Tensor) => t.Tensor, (a: Nd, b: Nd) => Nd]> = {
  add: [(a, b) => a.add(b), (a, b) => zip(a, b, (x, y) => x + y)],
  mul: [(a, b) => a.mul(b), (a, b) => zip(a, b, (x, y) => x * y)],
  sub: [(a, b) => a.sub(b), (a, b) => zip(a, b, (x, y) => x - y)],
  tanh: [(a) => a.tanh(), (a) => map(a, Math.tanh)],
  sin: [(a) => t.sin(a), (a) => map(a, Math.sin)],
  centre: [
    (a, b) => a.sub(b.mean({ axis: 1, keepDims: true })),
    (a, b) => nd(SHAPE, ([i, j]) => a.data[3 * i + j] - total([...b.data.slice(3 * i, 3 * i + 3)]) / 3),
  ],
  halves: [
    (a, b) => {
      const [p, q, r] = t.split(a, 3, 1)
      return t.concat([r, p.mul(q), b.slice({ axis: 1, start: 1, end: 2 })], 1)
    },
    (a, b) => nd(SHAPE, ([i, j]) => [a.data[3 * i + 2], a.data[3 * i] * a.data[3 * i + 1], b.data[3 * i + 1]][j]),
  ],
  gram: [
    (a, b) => t.matmul(t.matmul(a, b, { transposeB: true }), b),
    (a, b) =>
      product(
        product(
          a,
          nd([3, 2], ([i, j]) => b.data[3 * j + i]),
        ),
        b,
      ),
  ],
}

const programs = fc.array(fc.tuple(fc.constantFrom(...Object.keys(STEPS)), fc.nat(), fc.nat()), {
  minLength: 2,
  maxLength: 8,
})

const execute = <V>(program: [string, number, number][], start: V[], step: (op: string, a: V, b: V) => V): V[] => {
  const values = [...start]
  for (const [op, i, j] of program) values.push(step(op, values[i % values.length], values[j % values.length]))
  return values
}

describe('grad', () => {
  it('is right for programs whose values are used many times over', () =>
    property(
      fc.tuple(programs, seeds),
      ([program, seed]) =>
        checkSecondGradient({
          inputs: { a: uniform(SHAPE, seed, -1, 1), b: uniform(SHAPE, seed + 1, -1, 1) },
          fn: ({ a, b }) => {
            const values = execute(program, [a, b], (op, x, y) => STEPS[op][0](x, y).tanh())
            return { last: values[values.length - 1], before: values[values.length - 2].mul(1) }
          },
          reference: ({ a, b }) => {
            const values = execute(program, [a, b], (op, x, y) => map(STEPS[op][1](x, y), Math.tanh))
            return { last: values[values.length - 1], before: values[values.length - 2] }
          },
          tolerance: 1e-4,
          named: { a: [1], b: [1] },
        }),
      40,
    ))

  it('is linear in the function', () =>
    property(
      fc.tuple(seeds, fc.integer({ min: -3, max: 3 }), fc.integer({ min: -3, max: 3 })),
      async ([seed, p, q]) => {
        const feeds = { x: uniform(SHAPE, seed) }
        const got = await run(feeds, ({ x }) => {
          const [f, g] = [t.sin(x).sum(), x.mul(x).mul(x).mean()]
          const [df, dg] = [t.grad(f, [x])[0], t.grad(g, [x])[0]]
          const [together] = t.grad(f.mul(p).add(g.mul(q)), [x])
          return { together, apart: df.mul(p).add(dg.mul(q)) }
        })
        expectClose(got.together, exactly(got.apart), 1e-6)
      },
    ))

  it("is zero for what the output does not depend on, in that tensor's shape", async () => {
    const got = await run(
      { x: uniform(SHAPE, 1), y: uniform([4], 2), i: t.tensorData('int32', [1], [1]) },
      (inputs) => {
        const { x, y, i } = inputs
        const [unused, throughSteps, throughIntegers] = [
          t.grad(x.sum(), [y])[0],
          t.grad(t.floor(y).add(t.sign(y)).sum(), [y])[0],
          t.grad(t.gather(y, i).cast('int32').cast('float32').sum(), [y])[0],
        ]
        return { unused, throughSteps, throughIntegers }
      },
    )
    for (const zeros of Object.values(got))
      expectClose(
        zeros,
        nd([4], () => 0),
        0,
      )
  })

  it('stops at what is between, too: by an inner tensor and by what it is made of', () =>
    checkOpOf(
      { x: uniform(SHAPE, 3) },
      ({ x }) => {
        const inner = x.mul(x)
        const outer = t.sin(inner).sum()
        const [byInner, byX] = t.grad(outer, [inner, x])
        return { byInner, byX }
      },
      ({ x }) => ({
        byInner: map(x, (v) => Math.cos(v * v)),
        byX: map(x, (v) => 2 * v * Math.cos(v * v)),
      }),
    ))

  it('starts from a seed where one is given, and asks for one where the output is no scalar', async () => {
    await checkOpOf(
      { x: uniform(SHAPE, 3), s: uniform(SHAPE, 4) },
      ({ x, s }) => ({ dx: t.grad(t.sin(x), [x], s)[0] }),
      ({ x, s }) => ({ dx: zip(x, s, (v, w) => Math.cos(v) * w) }),
    )
    const x = t.input('x', SHAPE)
    expect(() => t.grad(x, [x])).toThrow('grad: the output must be a scalar, got [2, 3]; sum it, or give a seed')
    expect(() => t.grad(x.mul(2), [x], t.input('s', [3, 2]))).toThrow(
      'grad: the seed must be float32 [2, 3] like the output, got float32 [3, 2]',
    )
  })

  it('by a constant is refused: nothing could change it', () => {
    const [x, c] = [t.input('x', [2]), t.scalar(3)]
    expect(() => t.grad(x.mul(c).sum(), [c])).toThrow('grad: a constant has no gradient; make it an input')
  })

  it('of the output by itself is one', () =>
    checkOpOf(
      { x: uniform([], 3) },
      ({ x }) => ({ dx: t.grad(x, [x])[0] }),
      () => ({ dx: nd([], () => 1) }),
    ))

  it('of the square of a gradient is what differences say', () =>
    property(seeds, (seed) =>
      checkGradient({
        inputs: { x: uniform(SHAPE, seed, 0.5, 1.5) },
        fn: ({ x }) => {
          const [dx] = t.grad(t.sin(x).mul(x).sum(), [x])
          return { penalty: dx.mul(dx).sum() }
        },
        reference: ({ x }) => ({
          penalty: nd([], () => total([...x.data].map((v) => (Math.cos(v) * v + Math.sin(v)) ** 2))),
        }),
      }),
    ))

  it('goes through a chain of ten thousand ops', async () => {
    const got = await run({ x: t.tensorData('float32', [], [1]) }, ({ x }) => {
      let y = x
      for (let i = 0; i < 10_000; i++) y = y.add(x)
      return { dx: t.grad(y, [x])[0] }
    })
    expect(got.dx.data[0]).toBe(10_001)
  }, 120_000)
})

const checkOpOf = (
  inputs: Record<string, t.TensorData>,
  fn: (inputs: Tensors) => Tensors,
  reference: (inputs: Record<string, Nd>) => Record<string, Nd>,
) => checkGradient({ inputs, fn, reference })

describe('customGradient and stopGradient', () => {
  it("put another gradient in place of the ops' own", () =>
    checkCustom(
      (x) => t.customGradient(x.mul(x), [x], (dy) => [dy.mul(100)]),
      (v) => v * v,
      () => 100,
    ))

  it('leave out inputs for which they answer nothing', () =>
    checkCustom(
      (x) => t.customGradient(x.mul(x), [x], () => [undefined]).add(x),
      (v) => v * v + v,
      () => 1,
    ))

  it('stop the gradient and keep the value', () =>
    checkCustom(
      (x) => t.stopGradient(x.mul(x)).mul(x),
      (v) => v ** 3,
      (v) => v * v,
    ))
})

async function checkCustom(
  fn: (x: t.Tensor) => t.Tensor,
  value: (v: number) => number,
  slope: (v: number) => number,
): Promise<void> {
  const feeds = { x: uniform(SHAPE, 6) }
  const got = await run(feeds, ({ x }) => ({ y: fn(x), dx: t.grad(fn(x).sum(), [x])[0] }))
  expectClose(got.y, map(exactly(feeds.x), value), 1e-6)
  expectClose(got.dx, map(exactly(feeds.x), slope), 1e-6)
}

describe('checkpoint', () => {
  const WIDTH = 4
  const mlp = (x: t.Tensor, w: t.Tensor, v: t.Tensor) => t.gelu(x.matmul(w)).matmul(v).add(x)

  it('changes neither values nor gradients, weights captured or passed, nested or not', () =>
    property(
      seeds,
      async (seed) => {
        const feeds = {
          x: uniform([3, WIDTH], seed, -1, 1),
          w: uniform([WIDTH, 8], seed + 1, -1, 1),
          v: uniform([8, WIDTH], seed + 2, -1, 1),
        }
        const got = await run(feeds, ({ x, w, v }) => {
          const twice = (block: (x: t.Tensor) => t.Tensor) => block(block(x)).tanh().sum()
          const variants = {
            plain: twice((y) => mlp(y, w, v)),
            captured: twice((y) => t.recompute((z) => mlp(z, w, v), y)),
            passed: twice((y) => t.recompute(mlp, y, w, v)),
            nested: t.recompute(
              (y) =>
                t
                  .recompute(mlp, t.recompute(mlp, y, w, v), w, v)
                  .tanh()
                  .sum(),
              x,
            ),
          }
          return Object.fromEntries(
            Object.entries(variants).flatMap(([name, loss]) => [
              [`${name} loss`, loss],
              ...t.grad(loss, [x, w, v]).map((g, i): [string, t.Tensor] => [`${name} ${'xwv'[i]}`, g]),
            ]),
          )
        })
        for (const name of ['captured', 'passed', 'nested']) {
          for (const part of ['loss', 'x', 'w', 'v']) {
            expectClose(got[`${name} ${part}`], exactly(got[`plain ${part}`]), 1e-6, `${name} ${part}`)
          }
        }
      },
      4,
    ))

  it("writes the block's products into the graph a second time", async () => {
    const [x, w, v] = [t.input('x', [3, WIDTH]), t.input('w', [WIDTH, 8]), t.input('v', [8, WIDTH])]
    const count = async (block: (x: t.Tensor) => t.Tensor) => {
      const loss = block(block(x)).sum()
      return (await countNodes([x, w, v], { loss, dx: t.grad(loss, [x])[0] })).Gemm
    }
    const plain = await count((y) => mlp(y, w, v))
    // Each block's first product is needed again for GELU's slope; the second is not, for nothing depends on its value.
    expect(await count((y) => t.recompute((z) => mlp(z, w, v), y))).toBe(plain + 2)
  })

  it('needs a fraction of the memory: the runtime does not fold the second computation into the first', async () => {
    const [blocks, depth, elements] = [12, 8, 2 ** 19]
    const peak = async (wrap: (block: (x: t.Tensor) => t.Tensor, x: t.Tensor) => t.Tensor): Promise<number> => {
      const x = t.input('x', [elements])
      const block = (y: t.Tensor) => Array.from({ length: depth }).reduce<t.Tensor>((z) => t.sin(z), y)
      let y = x
      for (let i = 0; i < blocks; i++) y = wrap(block, y)
      const loss = y.mul(y).sum()
      const compiled = await compileGraph({ inputs: [x], outputs: { dx: t.grad(loss, [x])[0] } })
      const feeds = { x: uniform([elements], 1) }
      const before = process.resourceUsage().maxRSS
      await compiled.run(feeds)
      const grown = (process.resourceUsage().maxRSS - before) / 1024
      compiled.release()
      return grown
    }
    const megabyte = (4 * elements) / 2 ** 20
    const kept = await peak((block, x) => t.recompute(block, x))
    const all = await peak((block, x) => block(x))
    // The order matters: peak memory of a process only grows, so the smaller one is measured first.
    expect(kept).toBeLessThan(0.5 * blocks * depth * megabyte)
    expect(kept + all).toBeGreaterThan(0.8 * blocks * depth * megabyte)
  })
})

describe('lowering', () => {
  it('writes equal subgraphs once', async () => {
    const [x, w] = [t.input('x', SHAPE), t.input('w', [3, 3])]
    const counts = await countNodes([x, w], {
      a: x.matmul(w).tanh(),
      b: x.matmul(w).tanh().add(1),
      c: x.matmul(w).tanh().add(1).mul(2),
    })
    expect(counts).toMatchObject({ Gemm: 1, Tanh: 1, Add: 1, Mul: 1 })
  })

  it('leaves out what no output needs', async () => {
    const x = t.input('x', SHAPE)
    const [first] = t.split(x.matmul(x, { transposeB: true }), 2, 1)
    x.exp()
    expect(await countNodes([x], { first })).toEqual({ Gemm: 1, Split: 1 })
  })

  it('gives one value two names, and answers with inputs and constants', async () => {
    const value = uniform(SHAPE, 1)
    const got = await run({ x: value }, ({ x }) => {
      const y = x.mul(2)
      return { y, again: y, same: x.add(0).reshape([6]).reshape(SHAPE), one: t.scalar(1), itself: x }
    })
    expectClose(got.again, exactly(got.y), 0)
    expectClose(got.itself, exactly(value), 0)
    expectClose(got.same, exactly(value), 0)
    expect(got.one.data[0]).toBe(1)
  })

  it('keeps apart names that look like its own', async () => {
    const got = await run(
      { t0: uniform(SHAPE, 1), c1: uniform(SHAPE, 2), t2: uniform(SHAPE, 3) },
      ({ t0, c1, t2 }) => ({
        t1: t0.mul(2).add(c1),
        c0: t2.sub(1).mul(c1).add(t0),
      }),
    )
    const [a, b, c] = [1, 2, 3].map((seed) => exactly(uniform(SHAPE, seed)))
    expectClose(
      got.t1,
      nd(SHAPE, ([i, j]) => 2 * a.data[3 * i + j] + b.data[3 * i + j]),
      1e-6,
    )
    expectClose(
      got.c0,
      nd(SHAPE, ([i, j]) => (c.data[3 * i + j] - 1) * b.data[3 * i + j] + a.data[3 * i + j]),
      1e-6,
    )
  })

  it('refuses two things of one name', async () => {
    const x = t.input('x', SHAPE)
    await expect(compileGraph({ inputs: [x, t.input('x', SHAPE)], outputs: { y: x.mul(2) } })).rejects.toThrow(
      "'x' names two inputs",
    )
  })

  it('serves any length with one compiled graph', async () => {
    let traces = 0
    const model = jit(
      ({ x, w }) => {
        traces++
        const scores = t.softmax(t.matmul(x, x, { transposeB: true }))
        const loss = t.matmul(scores, x).matmul(w).tanh().mean()
        return { loss, dw: t.grad(loss, [w])[0] }
      },
      { shapes: { x: ['batch', 'seq', 3] } },
    )
    const fixed = (feeds: Record<string, t.TensorData>) =>
      run(feeds, ({ x, w }) => {
        const loss = t
          .matmul(t.softmax(t.matmul(x, x, { transposeB: true })), x)
          .matmul(w)
          .tanh()
          .mean()
        return { loss, dw: t.grad(loss, [w])[0] }
      })
    for (const [batch, seq] of [
      [1, 1],
      [2, 5],
      [3, 2],
    ]) {
      const feeds = { x: uniform([batch, seq, 3], seq), w: uniform([3, 2], batch) }
      const [got, want] = [await model(feeds), await fixed(feeds)]
      expectClose(got.loss, exactly(want.loss), 1e-6)
      expectClose(got.dw, exactly(want.dw), 1e-6)
    }
    expect(traces).toBe(1)
  })
})
