import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Backend, DeviceTensor } from '../../src/runtime/backend.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { type DType, newArray, sizeOf, type TensorData, tensorData } from '../../src/tensor/data.ts'
import { encodeGraph } from './graphs.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

let backend: Backend
beforeAll(async () => {
  backend = await nodeBackend('cpu')
})

const add = (dtype: DType = 'float32') =>
  encodeGraph({
    nodes: [{ op: 'Add', inputs: ['a', 'b'], outputs: ['sum'] }],
    inputs: [
      { name: 'a', dtype, shape: ['n'] },
      { name: 'b', dtype, shape: ['n'] },
    ],
    outputs: [{ name: 'sum', dtype, shape: ['n'] }],
  })

const bytesOf = ({ data }: TensorData) => Buffer.from(data.buffer, data.byteOffset, data.byteLength)

const floats = (...values: number[]) => tensorData('float32', [values.length], values)

/** `layers` products of [rows, width] by [width, width], each weight 1 / width. */
function chain(layers: number, width: number): Uint8Array {
  const weight = tensorData('float32', [width, width], new Float32Array(width * width).fill(1 / width))
  return encodeGraph({
    nodes: Array.from({ length: layers }, (_, i) => ({
      op: 'MatMul',
      inputs: [i === 0 ? 'x' : `h${i}`, 'weight'],
      outputs: [i === layers - 1 ? 'y' : `h${i + 1}`],
    })),
    inputs: [{ name: 'x', shape: ['rows', width] }],
    outputs: [{ name: 'y', shape: ['rows', width] }],
    constants: { weight },
  })
}

describe('run', () => {
  const dtypes: DType[] = ['float32', 'int32', 'int64', 'uint8', 'bool']
  it.each(dtypes)('hands any %s tensor over and back unchanged, empty and large ones too', async (dtype) => {
    const identity = encodeGraph({
      nodes: [{ op: 'Identity', inputs: ['x'], outputs: ['y'] }],
      inputs: [{ name: 'x', dtype, shape: ['a', 'b'] }],
      outputs: [{ name: 'y', dtype, shape: ['a', 'b'] }],
    })
    const session = await backend.createSession(identity)
    const shapes = fc.oneof(
      fc.tuple(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 5 })),
      fc.constant([300, 301] as [number, number]),
    )
    await fc.assert(
      fc.asyncProperty(shapes, fc.integer({ min: 0, max: 1000 }), async (shape, start) => {
        const data = newArray(dtype, sizeOf(shape))
        for (let i = 0; i < data.length; i++) {
          const value = dtype === 'bool' ? (start + i) % 2 : start + i
          data[i] = dtype === 'int64' ? BigInt(value) : value
        }
        const y = (await session.run({ x: { dtype, shape, data } })).y as TensorData
        expect([y.dtype, y.shape, y.data.constructor]).toEqual([dtype, shape, data.constructor])
        expect(Buffer.compare(bytesOf(y), bytesOf({ dtype, shape, data }))).toBe(0)
      }),
      { numRuns: 30 },
    )
    session.release()
  })

  it('computes only the outputs that are asked for', async () => {
    const model = encodeGraph({
      nodes: [
        { op: 'Neg', inputs: ['x'], outputs: ['minus'] },
        { op: 'Exp', inputs: ['x'], outputs: ['exp'] },
      ],
      inputs: [{ name: 'x', shape: ['n'] }],
      outputs: [
        { name: 'minus', shape: ['n'] },
        { name: 'exp', shape: ['n'] },
      ],
    })
    const session = await backend.createSession(model)
    const results = await session.run({ x: floats(2) }, { outputs: ['minus'] })
    expect(results).toEqual({ minus: floats(-2) })
  })

  it('answers many runs at once on one session, each with its own numbers', async () => {
    const session = await backend.createSession(chain(3, 64))
    const runs = Array.from({ length: 40 }, (_, i) =>
      session.run({ x: tensorData('float32', [2, 64], new Float32Array(128).fill(i)) }),
    )
    for (const [i, { y }] of (await Promise.all(runs)).entries()) {
      for (const value of (y as TensorData).data) expect(value).toBeCloseTo(i, 3)
    }
  })

  it('keeps alive what a run in flight reads, and nobody else refers to', async () => {
    const session = await backend.createSession(chain(30, 512))
    const start = (value: number) =>
      session.run({ x: tensorData('float32', [512, 512], new Float32Array(512 * 512).fill(value)) })
    const runs = [1, 2, 3, 4].map(start)
    const litter: Float32Array[] = []
    for (let i = 0; i < 20; i++) {
      collectGarbage()
      litter.push(new Float32Array(512 * 512).fill(1e9))
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    for (const [i, { y }] of (await Promise.all(runs)).entries()) {
      expect((y as TensorData).data[0]).toBeCloseTo(i + 1, 2)
    }
    expect(litter).toHaveLength(20)
  })

  it('leaves the event loop free', async () => {
    const session = await backend.createSession(chain(60, 512))
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    const started = performance.now()
    await session.run({ x: tensorData('float32', [512, 512]) })
    clearInterval(timer)
    expect(performance.now() - started).toBeGreaterThan(20)
    expect(ticks).toBeGreaterThan(5)
  })

  it('stops when the signal aborts, and rejects with its reason', async () => {
    const session = await backend.createSession(chain(2000, 512))
    const controller = new AbortController()
    const reason = new Error('enough')
    const running = session.run({ x: tensorData('float32', [512, 512]) }, { signal: controller.signal })
    const started = performance.now()
    setTimeout(() => controller.abort(reason), 30)
    await expect(running).rejects.toBe(reason)
    // All 2,000 products take many seconds on any machine this runs on.
    expect(performance.now() - started).toBeLessThan(3000)
    await expect(session.run({ x: tensorData('float32', [1, 512]) }, { signal: controller.signal })).rejects.toBe(
      reason,
    )
    const { y } = await session.run({ x: tensorData('float32', [1, 512]) })
    expect((y as TensorData).shape).toEqual([1, 512])
  })

  it('keeps large outputs alive after the session is gone', async () => {
    const session = await backend.createSession(add())
    const ones = tensorData('float32', [100_000], new Float32Array(100_000).fill(1))
    const { sum } = (await session.run({ a: ones, b: ones })) as Record<string, TensorData>
    session.release()
    collectGarbage()
    const other = await backend.createSession(add())
    await other.run({ a: ones, b: tensorData('float32', [100_000]) })
    expect((sum.data as Float32Array).every((value) => value === 2)).toBe(true)
  })

  it('keeps outputs as device tensors, and takes them back as inputs', async () => {
    const session = await backend.createSession(add())
    let sum: DeviceTensor | TensorData = floats(1, 2)
    for (let i = 0; i < 3; i++) ({ sum } = await session.run({ a: sum, b: floats(10, 20) }, { onDevice: ['sum'] }))
    const device = sum as DeviceTensor
    expect(device.shape).toEqual([2])
    expect(await device.read()).toEqual(floats(31, 62))
    device.release()
    device.release()
    await expect(session.run({ a: device, b: floats(1, 2) })).rejects.toThrow(
      "run: input 'a': the device tensor was released and can no longer be used",
    )
    await expect(device.read()).rejects.toThrow('the device tensor was released')
  })
})

describe('errors are one sentence', () => {
  it.each<[string, Record<string, TensorData>, RegExp]>([
    ['a missing input', { a: floats(1) }, /^run: input 'b' is missing; the graph takes a, b$/],
    ['an unknown input', { a: floats(1), b: floats(1), c: floats(1) }, /^run: there is no input 'c'; there is a, b$/],
    ['another dtype', { a: floats(1), b: tensorData('int32', [1]) }, /int32.*expected.*float/],
    ['shapes that do not fit', { a: floats(1, 2, 3), b: floats(1, 2) }, /^Add node '.*: .*(3 by 2|broadcast)/],
    [
      'a shape unlike the array',
      { a: floats(1), b: { ...floats(1), shape: [2] } },
      /'b': shape \[2\] needs 2 elements/,
    ],
    [
      'an array unlike the dtype',
      { a: floats(1), b: { ...floats(1), dtype: 'uint8' } },
      /uint8 cannot lie in a Float32/,
    ],
  ])('for %s', async (_, feeds, message) => {
    const session = await backend.createSession(add())
    const error: Error = await session.run(feeds).then(
      () => expect.fail('the run succeeded'),
      (reason) => reason,
    )
    expect(error.message).toMatch(message)
    expect(error.message).not.toMatch(/\n|\.cc:|onnxruntime_src/)
  })

  it('for bytes that are no model, whatever they are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        await expect(backend.createSession(bytes)).rejects.toThrow(/^createSession: [^\n]+$/)
      }),
      { numRuns: 50 },
    )
  })

  it('for another pool size than the first call asked for', async () => {
    await expect(nodeBackend('cpu', { threads: 999 })).rejects.toThrow(/already has \d+ threads.*cannot be given 999/)
  })
})

describe('bind', () => {
  it('reads and writes in place', async () => {
    const session = await backend.createSession(add())
    const [a, b, sum] = [floats(1, 2), floats(10, 20), floats(0, 0)]
    const binding = session.bind({ a, b }, { sum })
    await binding.run()
    expect([...sum.data]).toEqual([11, 22])
    a.data[0] = 5
    await binding.run()
    expect([...sum.data]).toEqual([15, 22])
  })

  it('lets one array be input and output', async () => {
    const session = await backend.createSession(add())
    const [total, one] = [floats(0, 0), floats(1, 2)]
    const binding = session.bind({ a: total, b: one }, { sum: total })
    for (let i = 0; i < 5; i++) await binding.run()
    expect([...total.data]).toEqual([5, 10])
  })

  it('rejects outputs of another shape, and stops on a signal', async () => {
    const session = await backend.createSession(add())
    await expect(session.bind({ a: floats(1), b: floats(1) }, { sum: floats(1, 2) }).run()).rejects.toThrow(
      /shape|dimension/,
    )
    expect(() => session.bind({ a: floats(1) }, {})).toThrow("input 'b' is missing")
    const binding = session.bind({ a: floats(1), b: floats(1) }, { sum: floats(1) })
    await expect(binding.run({ signal: AbortSignal.abort('stop') })).rejects.toBe('stop')
  })

  it('outlives every reference to the session', async () => {
    const sum = floats(0)
    const binding = (await backend.createSession(add())).bind({ a: floats(1), b: floats(2) }, { sum })
    for (let i = 0; i < 5; i++) {
      collectGarbage()
      await new Promise((resolve) => setTimeout(resolve, 5))
      sum.data[0] = 0
      await binding.run()
      expect(sum.data[0]).toBe(3)
    }
  })
})

describe('initializers', () => {
  const weight = () => tensorData('float32', [3, 2], [1, 2, 3, 4, 5, 6])
  const model = (external: Record<string, TensorData>) =>
    encodeGraph({
      nodes: [
        { op: 'MatMul', inputs: ['x', 'weight'], outputs: ['h'] },
        { op: 'Add', inputs: ['h', 'bias'], outputs: ['y'] },
      ],
      inputs: [{ name: 'x', shape: ['n', 3] }],
      outputs: [{ name: 'y', shape: ['n', 2] }],
      external,
    })

  it.each([
    { prepack: true, copyInitializers: false },
    { prepack: true, copyInitializers: true },
    { prepack: false, copyInitializers: false },
    { prepack: false, copyInitializers: true },
  ])('are the weights of the graph, %o', async (options) => {
    const external = { weight: weight(), bias: floats(10, 20) }
    const initializers = new Map(Object.entries(external))
    const session = await backend.createSession(model(external), { ...options, initializers })
    const x = tensorData('float32', [1, 3], [1, 1, 1])
    expect((await session.run({ x })).y).toEqual(tensorData('float32', [1, 2], [19, 32]))
    external.bias.data[0] = 0
    const [first] = ((await session.run({ x })).y as TensorData).data
    expect(first).toBe(options.copyInitializers ? 19 : 9)
  })

  it('must be given where the model declares external data, and fit its declaration', async () => {
    const external = { weight: weight(), bias: floats(10, 20) }
    await expect(backend.createSession(model(external))).rejects.toThrow(/^createSession: [^\n]+$/)
    const initializers = new Map<string, TensorData>([
      ['weight', weight()],
      ['bias', floats(1, 2, 3)],
    ])
    await expect(backend.createSession(model(external), { initializers })).rejects.toThrow(/^createSession: [^\n]+$/)
  })
})

describe('release', () => {
  it('can be called twice, and what is used after it says so', async () => {
    const session = await backend.createSession(add())
    const binding = session.bind({ a: floats(1), b: floats(1) }, { sum: floats(1) })
    session.release()
    session.release()
    const message = 'the session was released and can no longer be used'
    await expect(session.run({ a: floats(1), b: floats(1) })).rejects.toThrow(message)
    expect(() => session.bind({ a: floats(1), b: floats(1) }, {})).toThrow(message)
    await expect(binding.run()).rejects.toThrow(message)
    binding.release()
    binding.release()
    const other = await backend.createSession(add())
    const released = other.bind({ a: floats(1), b: floats(1) }, { sum: floats(1) })
    released.release()
    await expect(released.run()).rejects.toThrow('the binding was released and can no longer be used')
  })

  it('waits for runs in flight', async () => {
    const session = await backend.createSession(chain(20, 256))
    const x = tensorData('float32', [256, 256], new Float32Array(256 * 256).fill(2))
    const y = tensorData('float32', [256, 256])
    const binding = session.bind({ x }, { y })
    const running = binding.run()
    binding.release()
    session.release()
    await running
    expect(y.data[0]).toBeCloseTo(2, 3)
  })
})

describe('soak', () => {
  const residentMiB = () => {
    collectGarbage()
    return process.memoryUsage.rss() / 2 ** 20
  }

  const settle = async () => {
    for (let i = 0; i < 5; i++) {
      collectGarbage()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  it('2,000 runs with outputs of 400 kB, none released by hand, leave memory flat', async () => {
    const session = await backend.createSession(add())
    const x = tensorData('float32', [100_000])
    const run = async (count: number) => {
      for (let i = 0; i < count; i++) await session.run({ a: x, b: x }, { onDevice: i % 2 === 0 ? ['sum'] : [] })
      await settle()
    }
    await run(500)
    const before = residentMiB()
    await run(2000)
    // Kept, the outputs would be 800 MB.
    expect(residentMiB() - before).toBeLessThan(150)
  })

  it('50 sessions of 4 MB of weights, none released by hand, leave memory flat', async () => {
    const model = chain(2, 1024)
    const create = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const session = await backend.createSession(model)
        const x = tensorData('float32', [8, 1024])
        await session.bind({ x }, { y: tensorData('float32', [8, 1024]) }).run()
        if (i % 2 === 0) session.release()
        if (i % 10 === 9) await settle()
      }
      await settle()
    }
    // As many as are counted: every thread that a run was on keeps some memory of its own.
    await create(50)
    const before = residentMiB()
    await create(50)
    // Kept, the packed weights would be 200 MB. The last of them come back to the system a second after they are let go.
    await expect.poll(() => residentMiB() - before, { timeout: 5000, interval: 250 }).toBeLessThan(60)
  })
})
