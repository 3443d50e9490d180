/** Writing a checkpoint of a model of 124M parameters with its optimiser's state, in training steps of that model. */

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { saveCheckpoint } from '../../src/train/checkpoint.ts'
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
    const writing = await secondsOf(() => saveCheckpoint(folder, trainer))
    const after = await secondsOf(step)
    return writing / ((before + after) / 2)
  }
  return { rounds: { write }, versions: versions() }
})
