/** What the page of browser.test.ts computes, bundled and run in Chromium. */

import type { DeviceTensor } from '../../src/runtime/backend.ts'
import { Arena } from '../../src/runtime/kernels.ts'
import { type WebProvider, webBackend } from '../../src/runtime/ort-web.ts'
import { type TensorData, tensorData } from '../../src/tensor/data.ts'

/** The bits of the first normal numbers of a stream. */
export function normalBits(n: number): number[] {
  const arena = new Arena(n)
  const dst = arena.alloc(n)
  arena.philoxNormal(dst, { key: [7, 0], counter: [0, 0, 1, 0] })
  return [...new Uint32Array(dst.buffer, dst.byteOffset, n)]
}

/** Four steps of the graph `next, loss = step(w, x)`, the weights left on the device in between. */
export async function trainOn(provider: WebProvider, model: number[]): Promise<{ losses: number[]; w: number[] }> {
  const backend = await webBackend(provider, { wasmPaths: '/ort/', threads: 1 })
  const rate = tensorData('float32', [1], [0.5])
  const session = await backend.createSession(Uint8Array.from(model), { initializers: new Map([['rate', rate]]) })
  const x = tensorData('float32', [4, 4], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
  let w: TensorData | DeviceTensor = tensorData('float32', [4, 4], new Float32Array(16).fill(1))
  const losses: number[] = []
  for (let i = 0; i < 4; i++) {
    const results = await session.run({ w, x }, { onDevice: ['next'] })
    if ('release' in w) w.release()
    w = results.next
    losses.push(Number((results.loss as TensorData).data[0]))
  }
  const last = await (w as DeviceTensor).read()
  return { losses, w: [...(last.data as Float32Array)] }
}

declare global {
  interface Window {
    jackdaw: { normalBits: typeof normalBits; trainOn: typeof trainOn; hasWebGpu(): Promise<boolean> }
  }
}

export async function hasWebGpu(): Promise<boolean> {
  const { gpu } = navigator as Navigator & { gpu?: { requestAdapter(): Promise<unknown> } }
  return Boolean(await gpu?.requestAdapter())
}

if (typeof window !== 'undefined') window.jackdaw = { normalBits, trainOn, hasWebGpu }
