import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { countingBatch, tinyOptions } from './tiny.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Resident memory, in MiB, when garbage is collected. */
function residentMib(): number {
  collect()
  return process.memoryUsage.rss() / 2 ** 20
}

it('a thousand steps leave memory flat', { timeout: 120_000 }, async () => {
  const trainer = await Trainer.create(tinyOptions({ dropout: 0.1 }, { accumulate: 2, emaDecay: 0.9 }))
  const resident: number[] = []
  for (let step = 1; step <= 1000; step++) {
    await trainer.train([countingBatch(step), countingBatch(step + 1)])
    if (step % 100 === 0) resident.push(residentMib())
  }
  trainer.release()
  const [first, last] = [resident[0], resident[9]]
  console.info(`resident after 100 steps ${first.toFixed(1)} MiB, after 1,000 steps ${last.toFixed(1)} MiB`)
  // A tensor leaked a step would be 900 × 8 KiB and more; a page or two of the engine's own is not a leak.
  expect(last - first).toBeLessThan(6)
})
