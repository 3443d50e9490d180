import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import offsite from '../../recipes/offsite-tuning/shakespeare.ts'
import { corpusInstalled } from '../../src/data/corpus.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { temporaryFolder } from '../hub/temporary.ts'
import { few, kindOf } from './few-steps.ts'

const root = temporaryFolder()
const lacking = !corpusInstalled()
if (lacking) console.warn('skipped: the packages of recipes/corpus are not installed')

it.skipIf(lacking)(
  'sends an emulator, gets adapters back, and compares all that one could have',
  async () => {
    const data = join(root, 'text.txt')
    writeFileSync(
      data,
      'To be, or not to be, that is the question:\nWhether ’tis nobler in the mind to suffer\n'.repeat(60),
    )
    const { out, result } = await few('offsite', offsite, {
      ...{ data, seeds: 1, distillSteps: 2, tuneSteps: 2, nLayers: 5, dModel: 16, nHeads: 2, seq: 16, batch: 2 },
      heldOut: 500,
    })
    expect(Object.keys(result.measured ?? {}).sort()).toEqual([
      'emulator',
      'emulatorZeroShot',
      'full',
      'plugIn',
      'zeroShot',
    ])
    for (const loss of Object.values(result.measured ?? {})) expect(loss).toBeGreaterThan(1)
    // What is sent is a model, and of the whole one’s five layers it has four: two adapters and two of three between.
    const sent = join(out, 'stages', `emulator-${offsite.settings.seed}`)
    expect(await kindOf(sent)).toBe('causal')
    const layers = Object.keys(readTensors(join(sent, 'model.safetensors'))).flatMap(
      (name) => /layers\.(\d+)/.exec(name)?.[1] ?? [],
    )
    expect([...new Set(layers)].sort()).toEqual(['0', '1', '2', '3'])
    await expect(few('none', offsite, { data: '' })).rejects.toThrow('--set data=FILE: the text to tune on')
  },
  120_000,
)
