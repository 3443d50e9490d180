import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/runtime/backend.ts'
import { lower } from '../../src/runtime/lower.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import * as t from '../../src/tensor/index.ts'
import { integers, uniform } from './check.ts'

/**
 * Sums where one position gets several updates, as they are written for backends that add in order (CPUs) and for
 * those that do not (GPUs). The second way is tried on the CPU too, and on WebGPU where there is an adapter.
 */

// Chromium's software adapter, where the machine has no GPU.
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json'
if (existsSync(SWIFTSHADER)) process.env.VK_ICD_FILENAMES ??= SWIFTSHADER
process.env.XDG_RUNTIME_DIR ??= tmpdir()

type Feeds = Record<string, t.TensorData>

const WAYS: readonly [name: string, provider: 'cpu' | 'webgpu', inOrder: boolean, sizes: readonly number[]][] = [
  ['in order on the CPU', 'cpu', true, [0, 1, 100, 4500]],
  ['in any order, on the CPU', 'cpu', false, [1, 100, 4500]],
  ['in any order, on WebGPU', 'webgpu', false, [1, 100]],
]

describe.each(WAYS)('sums of repeated positions, %s', (_name, provider, scattersInOrder, sizes) => {
  let backend: Backend
  let lacksAdapter = false
  beforeAll(async () => {
    backend = await nodeBackend(provider)
    const x = t.input('x', [1])
    lacksAdapter = await backend.createSession(lower({ inputs: [x], outputs: { y: t.exp(x) } }).model).then(
      (session) => {
        session.release()
        return false
      },
      () => {
        console.warn('skipped: this machine has no WebGPU adapter')
        return true
      },
    )
  })

  /** y is what it should be, and the same in another run. */
  async function check(feeds: Feeds, fn: (...leaves: t.Tensor[]) => t.Tensor, want: ArrayLike<number>, named = false) {
    const leaves = Object.entries(feeds).map(([name, { shape, dtype }]) =>
      t.input(name, named ? shape.map((n) => (n > 1 ? t.symbol(`n${n}`) : n)) : shape, dtype),
    )
    const { model, initializers } = lower({ inputs: leaves, outputs: { y: fn(...leaves) } }, { scattersInOrder })
    const session = await backend.createSession(model, { initializers })
    const [first, second] = [await session.run(feeds), await session.run(feeds)] as Feeds[]
    session.release()
    const worst = (first.y.data as Float32Array).reduce((most, y, i) => Math.max(most, Math.abs(y - want[i])), 0)
    expect(first.y.data.length).toBe(want.length)
    expect(worst).toBeLessThan(1e-4)
    expect(second.y.data).toEqual(first.y.data)
  }

  it.for(sizes)('%i rows are added to rows', async (count, { skip }) => {
    if (lacksAdapter) skip('no WebGPU adapter')
    for (const [shape, taken] of [
      [[7, 6], [count]],
      [[7], [count]],
      [
        [7, 3, 2],
        [1, count],
      ],
    ]) {
      const x = uniform(shape, 1)
      const indices = integers(taken, 2, -7, 6)
      const updates = uniform([...taken, ...shape.slice(1)], 3)
      const want = Float64Array.from(x.data as Float32Array)
      const width = want.length / 7
      updates.data.forEach((update, i) => {
        const id = Number(indices.data[Math.floor(i / width)])
        want[(id < 0 ? id + 7 : id) * width + (i % width)] += Number(update)
      })
      await check({ x, indices, updates }, t.scatterAddRows, want)
      if (count > 1) await check({ x, indices, updates }, t.scatterAddRows, want, true)
    }
  })

  it.for(sizes)('%i elements of an axis are added to that axis', async (count, { skip }) => {
    if (lacksAdapter) skip('no WebGPU adapter')
    for (const axis of [0, 1]) {
      const [shape, taken] =
        axis === 0
          ? [
              [7, 3],
              [count, 3],
            ]
          : [
              [3, 7],
              [3, count],
            ]
      const x = uniform(shape, 1)
      const indices = integers(taken, 2, -7, 6)
      const updates = uniform(taken, 3)
      const want = Float64Array.from(x.data as Float32Array)
      updates.data.forEach((update, i) => {
        const id = Number(indices.data[i])
        const position = id < 0 ? id + 7 : id
        want[axis === 0 ? position * 3 + (i % 3) : Math.floor(i / count) * 7 + position] += Number(update)
      })
      await check(
        { x, indices, updates },
        (...leaves) => t.scatterAddAlongAxis(leaves[0], leaves[1], leaves[2], axis),
        want,
      )
    }
  })

  it('what comes to windows that overlap is added to their maxima', async ({ skip }) => {
    if (provider === 'webgpu') skip("ONNX Runtime's MaxPool does not tell where maxima lie on WebGPU")
    const [height, width, kernel, stride] = [9, 8, 3, 2]
    const x = uniform([2, 3, height, width], 1)
    const [rows, columns] = [height, width].map((size) => Math.floor((size - kernel) / stride) + 1)
    const seed = uniform([2, 3, rows, columns], 2)
    const want = new Float64Array(x.data.length)
    seed.data.forEach((dy, i) => {
      const corner = Math.floor(i / (rows * columns)) * height * width
      const [top, left] = [(Math.floor(i / columns) % rows) * stride, (i % columns) * stride]
      const window = Array.from({ length: kernel * kernel }, (_, k) => {
        return corner + (top + Math.floor(k / kernel)) * width + left + (k % kernel)
      })
      want[window.reduce((best, k) => (x.data[k] > x.data[best] ? k : best))] += Number(dy)
    })
    const gradient = (...[leaf, dy]: t.Tensor[]) => t.grad(t.maxPool(leaf, { kernel, stride }), [leaf], dy)[0]
    await check({ x, seed }, gradient, want)
  })
})
