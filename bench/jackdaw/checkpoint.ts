/**
 * What a checkpoint of a model of 124M parameters with its optimiser's state costs a run, in training steps of that
 * model: the next update waits until it is written, synced to the disk.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { startCheckpoint } from '../../src/train/checkpoint.ts'
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
    const both = await secondsOf(async () => {
      await startCheckpoint(folder, trainer)
      await step()
    })
    const after = await secondsOf(step)
    const alone = (before + after) / 2
    return (both - alone) / alone
  }
  return { rounds: { write }, versions: versions() }
})
