import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import facts from '../../recipes/decanlp/facts.ts'
import { loadModel } from '../../src/load/load.ts'
import { runRecipe } from '../../src/optim/run.ts'
import '../../src/runtime/node.ts'
import { temporaryFolder } from '../hub/temporary.ts'

const root = temporaryFolder()

it('trains one model and one of each kind, and answers, from a few steps of everything', {
  timeout: 120_000,
}, async () => {
  const settings = {
    ...facts.settings,
    ...{
      steps: 4,
      ownSteps: 1,
      batch: 4,
      dModel: 8,
      dInner: 8,
      seeds: 1,
      heldOut: 3,
      examples: 5,
      scarce: 2,
      evalEvery: 0,
    },
  }
  const out = join(root, 'facts')
  const { finished, measured } = await runRecipe(facts, settings, { out })
  expect(finished).toBe(true)
  const kinds = ['who', 'many', 'colour', 'query']
  expect(Object.keys(measured ?? {}).sort()).toEqual(kinds.flatMap((k) => [`${k}Joint1337`, `${k}Own1337`]).sort())
  const told = join(out, 'samples', 'joint-1337')
  const lines = readFileSync(join(told, readdirSync(told)[0]), 'utf8')
    .trim()
    .split('\n')
  expect(lines.map((line) => JSON.parse(line).question)).toHaveLength(12)
  const { model, tokenizer } = await loadModel(out)
  expect(model.kind).toBe('question-answering')
  expect(tokenizer?.decode(tokenizer.encode('who has the red coins ?'))).toBe('who has the red coins ?')
})
