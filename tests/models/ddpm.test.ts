import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { readWeights } from '../../src/load/weights.ts'
import { UNet2D } from '../../src/models/ddpm.ts'
import { Scope } from '../../src/nn/scope.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { grad, input, type Tensor, type TensorData } from '../../src/tensor/index.ts'
import { relativeError } from '../parity/parity.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`../parity/${name}`, import.meta.url))

const camel = (n: string) => n.replace(/_([a-z0-9])/g, (_, l) => l.toUpperCase())
const narrow = (v: TensorData): TensorData =>
  v.dtype === 'int64' ? { ...v, dtype: 'int32', data: Int32Array.from(v.data as BigInt64Array, Number) } : v

async function disagreements(folder: string): Promise<[string, number]> {
  const ck = openCheckpoint(folder)
  const inputs = readTensors(`${folder}/inputs.safetensors`)
  const feeds = Object.fromEntries(Object.entries(inputs).map(([n, v]) => [`in.${camel(n)}`, narrow(v)]))
  const leaves = Object.entries(feeds).map(([n, v]) => input(n, v.shape, v.dtype))
  const scope = Scope.root()
  const named = Object.fromEntries(leaves.map((l, i) => [Object.keys(feeds)[i].slice(3), l]))
  const out = UNet2D.fromConfig(ck.config as Record<string, unknown>).forward(
    scope,
    named as { sample: Tensor; timestep: Tensor },
  )
  const specs = [...scope.parameters.values()]
  const g = grad(
    out.loss as Tensor,
    specs.map((s) => s.tensor),
  )
  expect(ck.names().filter((n) => !scope.parameters.has(n))).toEqual([])
  const c = await compile({
    inputs: [...leaves, ...specs.map((s) => s.tensor)],
    outputs: {
      'out.sample': out.sample,
      'out.loss': out.loss as Tensor,
      ...Object.fromEntries(specs.map((s, i) => [`grad.${s.name}`, g[i]])),
    },
  })
  const got = await c.run({ ...feeds, ...Object.fromEntries(readWeights(specs, ck, UNet2D)) })
  let worst: [string, number] = ['', 0]
  const cmp = (p: string, exp: Record<string, TensorData>) => {
    for (const [n, r] of Object.entries(exp)) {
      const e = relativeError(got[p + n], r)
      if (!(e <= worst[1])) worst = [p + n, e]
    }
  }
  cmp('out.', readTensors(`${folder}/outputs.safetensors`))
  cmp('grad.', readTensors(`${folder}/grads.safetensors`))
  return worst
}

describe('parity', () => {
  for (const f of [
    ...['unet-ddpm', 'unet-class'].map((n) => sharedPath(`parity/${n}`)),
    ...['unet-ddpm', 'unet-class'].map((n) => `/work/tmp/ddpm/heldout/${n}`),
    ...['unet-scale-shift', 'unet-resampling-blocks', 'unet-middle-groups', 'unet-no-middle'].map(fixture),
  ])
    it(f, async () => {
      const worst = await disagreements(f)
      console.log(f, worst)
      expect(worst[1]).toBeLessThan(1e-4)
    })
})
