import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { lacksShared, sharedPath } from '../shared.ts'
import { answers, disagreements, expectedAnswers, referenceFolders } from './parity.ts'

/** Every folder of reference answers is walked: those beside this file, and those of `../shared` where it is there. */
const roots = { here: fileURLToPath(new URL('.', import.meta.url)), shared: sharedPath('parity') }

/**
 * Of `../shared`: outputs that were made with position tables which the checkpoint does not have. The reference
 * implementation itself, loading the folder, does not repeat them; what it generates from it is compared, and tables of
 * its own are in `transformer` here.
 */
const UNREPEATABLE = { here: [], shared: ['marian'] }

for (const [place, root] of Object.entries(roots) as [keyof typeof roots, string][]) {
  const { known, unknown } = referenceFolders(root)
  const path = (name: string): string => `${root}/${name}`
  const generating = known.filter((name) => existsSync(`${path(name)}/generation.json`))

  describe.skipIf(place === 'shared' && lacksShared('parity'))(`the models of parity/ ${place}`, () => {
    it.each(known.filter((name) => !UNREPEATABLE[place].some((other) => other === name)))(
      '%s: outputs and gradients equal the reference implementation’s',
      async (name) => {
        expect(await disagreements(path(name))).toEqual([])
      },
    )

    it.each(generating)(
      '%s: greedy and beam search answer with the reference implementation’s tokens',
      async (name) => {
        expect(await answers(path(name))).toEqual(expectedAnswers(path(name)))
      },
    )

    it.skipIf(unknown.length > 0)(`has a model for each folder; none yet: ${unknown.join(', ') || 'none'}`, () => {
      expect(unknown).toEqual([])
    })
  })
}

it('finds the folders', () => {
  expect(referenceFolders(roots.here).known).toEqual(expect.arrayContaining(['gpt2', 'llama', 't5', 'resnet-training']))
  expect(referenceFolders(roots.here).unknown).toEqual([])
})
