/**
 * What a checkpoint of a model of 124M parameters with its optimiser's state costs a run, in training steps of that
 * model: how much later the steps end that are computed until it is on the disk.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { startSnapshot } from '../../src/optim/snapshot.ts'
import { compete } from '../contestant.ts'
import { gptTrainer } from './gpt-trainer.ts'
import { versions } from './versions.ts'

const folder = mkdtempSync(join(process.argv[2], 'checkpoint-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
process.once('SIGTERM', () => process.exit(0))

await compete(async () => {
  const { trainer, loader } = await gptTrainer('124M')
  const step = () => trainer.train({ ...loader.next() })
  await step()
  const secondsOf = async (work: () => Promise<unknown>): Promise<number> => {
    const start = performance.now()
    await work()
    return (performance.now() - start) / 1000
  }
  const write = async () => {
    const before = await secondsOf(step)
    let steps = 0
    const together = await secondsOf(async () => {
      let isWritten = false
      const { written } = await startSnapshot(folder, { training: trainer }, { step: trainer.step })
      void written.then(() => {
        isWritten = true
      })
      for (; !isWritten; steps++) await step()
      await written
    })
    const alone = (before + (await secondsOf(step))) / 2
    return together / alone - steps
  }
  return { rounds: { write }, versions: versions() }
})
