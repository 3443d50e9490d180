import { beforeAll, describe, expect, it } from 'vitest'
import type { Backend, DeviceTensor, Session } from '../../src/runtime/backend.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { webBackend } from '../../src/runtime/ort-web.ts'
import { type TensorData, tensorData } from '../../src/tensor/data.ts'
import { encodeGraph } from './graphs.ts'

/** Two layers with weights from outside, a lookup, a comparison: every dtype that graphs here use. */
const external = {
  w1: tensorData(
    'float32',
    [5, 7],
    Float32Array.from({ length: 35 }, (_, i) => Math.sin(i)),
  ),
  w2: tensorData(
    'float32',
    [7, 3],
    Float32Array.from({ length: 21 }, (_, i) => Math.cos(i)),
  ),
  table: tensorData(
    'float32',
    [4, 5],
    Float32Array.from({ length: 20 }, (_, i) => Math.sin(3 * i)),
  ),
}
const model = encodeGraph({
  nodes: [
    { op: 'Gather', inputs: ['table', 'ids'], outputs: ['rows'] },
    { op: 'Add', inputs: ['rows', 'x'], outputs: ['h0'] },
    { op: 'MatMul', inputs: ['h0', 'w1'], outputs: ['h1'] },
    { op: 'Tanh', inputs: ['h1'], outputs: ['h2'] },
    { op: 'Gemm', inputs: ['h2', 'w2'], outputs: ['logits'] },
    { op: 'ArgMax', inputs: ['logits'], outputs: ['best'], attributes: { axis: 1, keepdims: 0 } },
    { op: 'Greater', inputs: ['logits', 'zero'], outputs: ['positive'] },
  ],
  inputs: [
    { name: 'ids', dtype: 'int64', shape: ['n'] },
    { name: 'x', shape: ['n', 5] },
  ],
  outputs: [
    { name: 'logits', shape: ['n', 3] },
    { name: 'best', dtype: 'int64', shape: ['n'] },
    { name: 'positive', dtype: 'bool', shape: ['n', 3] },
  ],
  constants: { zero: tensorData('float32', [], [0]) },
  external,
})
const initializers = new Map<string, TensorData>(Object.entries(external))
const feeds = (n: number) => ({
  ids: tensorData(
    'int64',
    [n],
    BigInt64Array.from({ length: n }, (_, i) => BigInt(i % 4)),
  ),
  x: tensorData(
    'float32',
    [n, 5],
    Float32Array.from({ length: 5 * n }, (_, i) => Math.cos(i / 3)),
  ),
})

let web: Backend
let session: Session
beforeAll(async () => {
  web = await webBackend('wasm', { threads: 1 })
  session = await web.createSession(model, { initializers })
})

describe('the wasm backend', () => {
  it('computes what the Node backend computes', async () => {
    const native = await (await nodeBackend('cpu')).createSession(model, { initializers })
    expect(session.inputNames).toEqual(native.inputNames)
    expect(session.outputNames).toEqual(native.outputNames)
    for (const n of [0, 1, 6]) {
      const [there, here] = (await Promise.all([session.run(feeds(n)), native.run(feeds(n))])) as [
        Record<string, TensorData>,
        Record<string, TensorData>,
      ]
      expect([there.best, there.positive]).toEqual([here.best, here.positive])
      expect(there.logits.shape).toEqual([n, 3])
      for (const [i, value] of here.logits.data.entries()) expect(there.logits.data[i]).toBeCloseTo(Number(value), 5)
    }
  })

  it('queues runs at once, each with its own numbers', async () => {
    const runs = await Promise.all(Array.from({ length: 8 }, (_, i) => session.run(feeds(i + 1))))
    expect(runs.map(({ best }) => (best as TensorData).shape[0])).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('binds arrays: inputs are read, outputs written in place, one array may be both', async () => {
    const double = encodeGraph({
      nodes: [{ op: 'Add', inputs: ['x', 'x'], outputs: ['y'] }],
      inputs: [{ name: 'x', shape: ['n'] }],
      outputs: [{ name: 'y', shape: ['n'] }],
    })
    const x = tensorData('float32', [2], [1, 2])
    const binding = (await web.createSession(double)).bind({ x }, { y: x })
    await binding.run()
    await binding.run()
    expect([...x.data]).toEqual([4, 8])
    expect(() => binding.runSync()).toThrow('a browser cannot block')
    binding.release()
    await expect(binding.run()).rejects.toThrow('the binding was released')
  })

  it('keeps outputs as device tensors, and takes them back as inputs', async () => {
    const { positive, logits } = await session.run(feeds(2), { outputs: ['positive', 'logits'], onDevice: ['logits'] })
    expect(positive).toMatchObject({ dtype: 'bool', shape: [2, 3] })
    const device = logits as DeviceTensor
    expect(await device.read()).toEqual((await session.run(feeds(2), { outputs: ['logits'] })).logits)
    device.release()
    await expect(device.read()).rejects.toThrow('the device tensor was released')
  })

  it('says in one sentence what is wrong', async () => {
    const { ids, x } = feeds(2)
    await expect(session.run({ ids })).rejects.toThrow("run: input 'x' is missing; the graph takes ids, x")
    await expect(session.run({ ids, x: { ...x, shape: [3, 5] } })).rejects.toThrow("'x': shape [3,5] needs 15 elements")
    await expect(session.run({ ids, x: tensorData('float32', [2, 4]) })).rejects.toThrow(/^[^\n]+$/)
    await expect(web.createSession(new Uint8Array(9))).rejects.toThrow(/^createSession: [^\n]+$/)
    await expect(session.run(feeds(1), { signal: AbortSignal.abort('stop') })).rejects.toBe('stop')
    const other = await web.createSession(model, { initializers })
    other.release()
    other.release()
    await expect(other.run(feeds(1))).rejects.toThrow('the session was released and can no longer be used')
  })
})
