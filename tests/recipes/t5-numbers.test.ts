import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import t5 from '../../recipes/t5/numbers.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

it('spans are taken out of text, then four tasks are tuned, pre-trained and from scratch', async () => {
  const { out, result } = await few('numbers', t5, { tests: 4, batch: 4, pretrainSteps: 3, labelled: 4 })
  expect(Object.keys(result.measured ?? {})).toContain('beforeFromScratch')
  const lines = linesOf(result)
  expect(Object.values(lines).map((points) => points.at(-1)?.[0])).toEqual([3, 6])
  for (const stage of ['span-corruption', 'fine-tuned', 'from-scratch']) {
    expect(await kindOf(join(out, 'stages', stage, 'seed1'))).toBe('encoder-decoder')
  }
  expect(existsSync(join(out, 'stages', 'fine-tuned', 'seed2', 'tokenizer.json'))).toBe(true)
}, 60_000)
