/** What the page of browser-training.test.ts runs in Chromium; Node imports `losses` too. */

import { type Provider, Trainer } from '../../src/portable.ts'
import { countingBatch, tinyOptions } from '../optim/tiny.ts'

/** Losses of a tiny GPT's first steps, with everything that draws random numbers. */
export async function losses(provider: Provider, steps: number): Promise<number[]> {
  const trainer = await Trainer.create(tinyOptions({ dropout: 0.1 }, { provider, emaDecay: 0.9 }))
  const result: number[] = []
  for (let step = 0; step < steps; step++) result.push((await trainer.train(countingBatch(step))).loss)
  trainer.release()
  return result
}

declare global {
  interface Window {
    training: { losses: typeof losses; hasWebGpu(): Promise<boolean> }
  }
}

export async function hasWebGpu(): Promise<boolean> {
  const { gpu } = navigator as Navigator & { gpu?: { requestAdapter(): Promise<unknown> } }
  return Boolean(await gpu?.requestAdapter())
}
