import { join } from 'node:path'
import { expect, it } from 'vitest'
import notations from '../../recipes/transformer/notations.ts'
import { loadModel } from '../../src/load/load.ts'
import { runRecipe } from '../../src/optim/run.ts'
import '../../src/runtime/node.ts'
import { temporaryFolder } from '../hub/temporary.ts'

const root = temporaryFolder()

it('trains, averages and translates, from a few steps of everything', { timeout: 60_000 }, async () => {
  const settings = {
    ...notations.settings,
    ...{
      steps: 6,
      batch: 4,
      dModel: 16,
      nLayers: 1,
      seeds: 2,
      heldOut: 5,
      evalEvery: 0,
      averaged: 2,
      averagedEvery: 2,
    },
  }
  const out = join(root, 'notations')
  const { finished, measured } = await runRecipe(notations, settings, { out })
  expect(finished).toBe(true)
  const names = ['greedy', 'beams', 'last'].flatMap((name) => [`${name}1337`, `${name}1338`])
  expect(Object.keys(measured ?? {}).sort()).toEqual(names.sort())
  const { model, tokenizer } = await loadModel(out)
  expect(model.kind).toBe('encoder-decoder')
  expect(tokenizer?.decode(tokenizer.encode('1 9 9 7'), { skipSpecialTokens: true })).toBe('1997')
})
