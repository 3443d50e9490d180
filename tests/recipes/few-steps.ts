import { join } from 'node:path'
import { expect } from 'vitest'
import { loadModel } from '../../src/load/load.ts'
import type { CommonSettings, Recipe } from '../../src/optim/recipe.ts'
import { type RunResult, readResult } from '../../src/optim/result.ts'
import { runRecipe } from '../../src/optim/run.ts'
import '../../src/runtime/node.ts'
import { temporaryFolder } from '../hub/temporary.ts'

const root = temporaryFolder()

/** A few steps of a whole recipe. */
export async function few<Settings extends CommonSettings>(
  name: string,
  recipe: Recipe<Settings>,
  settings: Partial<Settings>,
): Promise<{ out: string; result: RunResult }> {
  const out = join(root, name)
  const all = { ...recipe.settings, steps: 3, seeds: 2, checkpointEvery: 0, ...settings }
  const { finished } = await runRecipe(recipe, all, { out })
  expect(finished).toBe(true)
  return { out, result: readResult(join(out, 'result.json')) as RunResult }
}

/** The lines of the first figure. */
export const linesOf = ({ figures }: RunResult): Record<string, [number, number][]> => figures?.[0].lines ?? {}

export const kindOf = async (folder: string): Promise<string> => (await loadModel(folder)).model.kind
