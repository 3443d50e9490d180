import { createHash } from 'node:crypto'
import type { Backend } from '../../src/runtime/backend.ts'
import { compileGraph } from '../../src/runtime/compiled.ts'
import * as t from '../../src/tensor/index.ts'
import { uniform } from './check.ts'
import type { LargeCase } from './large-cases.ts'

type Arrays = Record<string, t.TensorData>

export interface LargeRun {
  readonly inputs: Arrays
  /** What each output's elements count in the sum whose gradient is taken. */
  readonly weights: Arrays
  readonly outputs: Arrays
  /** By input. */
  readonly gradients: Arrays
  /** Of the bits of everything computed, in this run and in another. */
  readonly hashes: readonly [string, string]
}

/** Runs a case twice on one session: values, and the gradient of a randomly weighted sum of them. */
export async function runLarge(on: Backend, { inputs: make, fn, fixed = [] }: LargeCase): Promise<LargeRun> {
  const inputs = make()
  const leaves = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape, dtype }]) => [name, t.input(name, shape, dtype)]),
  )
  const values = Object.entries(fn(leaves))
  const wrt = Object.values(leaves)
    .filter(({ dtype }) => dtype === 'float32')
    .map((leaf) => [Object.keys(leaves).find((name) => leaves[name] === leaf) as string, leaf] as const)
    .filter(([name]) => fixed !== 'all' && !fixed.includes(name))
  const floats = wrt.length === 0 ? [] : values.filter(([, y]) => y.dtype === 'float32')
  const weights = Object.fromEntries(
    floats.map(([name, y], i) => [`weight of ${name}`, uniform(y.shape as number[], 11 + i, -1, 1)]),
  )
  const weightLeaves = Object.entries(weights).map(([name, { shape }]) => t.input(name, shape))
  const outputs: Record<string, t.Tensor> = Object.fromEntries(values)
  if (floats.length > 0) {
    const total = floats.map(([, y], i) => y.mul(weightLeaves[i]).sum()).reduce((a, b) => a.add(b))
    t.grad(
      total,
      wrt.map(([, leaf]) => leaf),
    ).forEach((gradient, i) => {
      outputs[`gradient by ${wrt[i][0]}`] = gradient
    })
  }
  const compiled = await compileGraph({ inputs: [...Object.values(leaves), ...weightLeaves], outputs }, { on })
  try {
    const feeds = { ...inputs, ...weights }
    const first = await compiled.run(feeds)
    const second = await compiled.run(feeds)
    const gradients = wrt.map(([name]) => [name, first[`gradient by ${name}`]] as const)
    return {
      inputs,
      weights,
      outputs: Object.fromEntries(values.map(([name]) => [name, first[name]])),
      gradients: floats.length > 0 ? Object.fromEntries(gradients) : {},
      hashes: [hashOf(first), hashOf(second)],
    }
  } finally {
    compiled.release()
  }
}

function hashOf(results: Arrays): string {
  const hash = createHash('sha256')
  for (const name of Object.keys(results).sort()) {
    const { data } = results[name]
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
  }
  return hash.digest('base64')
}
