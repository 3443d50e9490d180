import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Backend } from '../../src/runtime/backend.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import * as t from '../../src/tensor/index.ts'
import { expectClose, uniform } from './check.ts'
import { LARGE, type LargeCase, WITHOUT_ROW } from './large-cases.ts'
import { type LargeRun, runLarge } from './large-run.ts'
import type { Nd } from './reference.ts'

// Work is divided even on a machine with one core.
process.env.JACKDAW_THREADS = '2'

/** Sums of hundreds of numbers in single precision. */
const TOLERANCE = 3e-5
/** The reference computes in doubles, so that a step this small is exact to about 1e-6; few elements cross a kink in it. */
const STEP = 1e-7
/** Relative to the length of the gradient: one lost update among 400,000 is ten times as much. */
const SLOPE_TOLERANCE = 1e-4

const toNd = ({ shape, data }: t.TensorData): Nd => ({ shape, data: Float64Array.from(data as Float32Array, Number) })

/** The gradient along a random direction equals the reference's slope there. */
function expectSlopes({ reference }: LargeCase, { inputs, weights, gradients }: LargeRun): void {
  const exact = Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, toNd(value)]))
  const along = Object.keys(gradients).map(
    (name, i) => [name, toNd(uniform(exact[name].shape, 31 + i, -1, 1))] as const,
  )
  const total = (step: number): number => {
    const moved = { ...exact }
    for (const [name, { data }] of along) {
      moved[name] = { ...exact[name], data: exact[name].data.map((x, i) => x + step * data[i]) }
    }
    let sum = 0
    for (const [name, y] of Object.entries(reference(moved))) {
      const weight = weights[`weight of ${name}`]?.data
      if (weight) for (let i = 0; i < y.data.length; i++) sum += y.data[i] * Number(weight[i])
    }
    return sum
  }
  let [slope, squares] = [0, 0]
  for (const [name, { data }] of along) {
    const gradient = gradients[name].data
    for (let i = 0; i < data.length; i++) {
      slope += Number(gradient[i]) * data[i]
      squares += (Number(gradient[i]) * data[i]) ** 2
    }
  }
  const want = (total(STEP) - total(-STEP)) / (2 * STEP)
  expect(Math.abs(slope - want), `the slope, ${want}`).toBeLessThanOrEqual(SLOPE_TOLERANCE * Math.sqrt(squares) + 1e-4)
}

// Node 20 runs no TypeScript; Vite's module runner does.
const RUN = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`

/** The hashes of every case on so many threads, in a process of its own: a process has one pool. */
async function hashesOn(threads: number): Promise<Record<string, readonly string[]>> {
  const script = fileURLToPath(new URL('large-child.ts', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', RUN, script], {
    env: { ...process.env, JACKDAW_THREADS: `${threads}` },
  })
  return JSON.parse(stdout)
}

describe('every op where threads divide the work', () => {
  let backend: Backend
  const onOne = hashesOn(1)
  onOne.catch(() => {}) // It is awaited below; a failure must not end the process before.
  beforeAll(async () => {
    backend = await nodeBackend('cpu')
  })

  it.each(Object.keys(LARGE))('%s: equals its reference, and itself bit for bit', async (name) => {
    const run = await runLarge(backend, LARGE[name])
    const wanted = LARGE[name].reference(
      Object.fromEntries(Object.entries(run.inputs).map(([input, value]) => [input, toNd(value)])),
    )
    for (const [output, want] of Object.entries(wanted)) expectClose(run.outputs[output], want, TOLERANCE, output)
    if (Object.keys(run.gradients).length > 0) expectSlopes(LARGE[name], run)
    expect(run.hashes[1], 'the second run').toBe(run.hashes[0])
    const [alone, again] = (await onOne)[name]
    expect(again, 'the second run on one thread').toBe(alone)
    if (!LARGE[name].variesWithThreads) expect(alone, 'on one thread').toBe(run.hashes[0])
  })

  it('has a row, or a reason to have none', () => {
    const rows = Object.keys(LARGE).map((name) => name.split(',')[0])
    const others = Object.values(WITHOUT_ROW).flat()
    expect([...new Set([...rows, ...others])].sort()).toEqual(Object.keys(t).sort())
  })
})
