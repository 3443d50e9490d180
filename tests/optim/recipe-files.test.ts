import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { load } from '../../src/generate/text.ts'
import { applySettings } from '../../src/optim/recipe.ts'
import { allRecipes, findRecipe, readRecipes } from '../../src/optim/recipe-files.ts'
import { readResult } from '../../src/optim/result.ts'
import { runRecipe } from '../../src/optim/run.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-recipes-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe('recipes on disk', () => {
  it('are found by paper and experiment, by experiment alone, and by file', async () => {
    const whole = await findRecipe('gpt2/nanogpt-shakespeare-cpu')
    expect(whole.experiment).toBe('nanogpt-shakespeare-cpu')
    expect(await findRecipe('nanogpt-shakespeare-cpu')).toEqual(whole)
    const file = await findRecipe('tests/optim/tiny-recipe.ts')
    expect([file.name, file.experiment]).toEqual(['tiny/tiny-recipe', 'tiny-recipe'])
  })

  it('are listed where there is none of the name', async () => {
    const names = (await allRecipes()).map(({ name }) => name)
    expect(names).toContain('llama/jackdaw-base')
    await expect(findRecipe('nanogpt')).rejects.toThrow(
      `there is no recipe 'nanogpt'; there are ${names.join(', ')}, or name a file`,
    )
    await expect(findRecipe('package.json')).rejects.toThrow("there is no recipe 'package.json'")
    await expect(findRecipe('tests/optim/tiny.ts')).rejects.toThrow('has no recipe as its default export')
    const broken = join(folder, 'broken.ts')
    writeFileSync(broken, "throw new Error('not today')\n")
    await expect(findRecipe(broken)).rejects.toThrow(`${broken} cannot be loaded: not today`)
  })

  it('are shown but for one that is broken, which is named', async () => {
    const shelf = join(folder, 'shelf')
    mkdirSync(join(shelf, 'gpt2'), { recursive: true })
    writeFileSync(join(shelf, 'gpt2', 'good.ts'), "export default { paper: 'gpt2', run() {} }\n")
    writeFileSync(join(shelf, 'gpt2', 'bad.ts'), "throw new Error('not today')\n")
    writeFileSync(join(shelf, 'gpt2', 'none.ts'), 'export const recipe = 1\n')
    const { recipes, broken } = await readRecipes(pathToFileURL(`${shelf}/`))
    expect(recipes.map(({ name }) => name)).toEqual(['gpt2/good'])
    expect(broken.map(({ error }) => error)).toEqual([
      'recipes/gpt2/bad.ts cannot be loaded: not today',
      'recipes/gpt2/none.ts has no recipe as its default export: export default recipe({ … })',
    ])
  })

  it('know what every recipe knows, and say what they claim', async () => {
    for (const { name, recipe } of await allRecipes()) {
      const common = ['steps', 'seed', 'evalEvery', 'checkpointEvery'].map((key) => `${key}=3`)
      expect(applySettings(recipe.settings, ['data=a', ...common]), name).toMatchObject({ data: 'a', steps: 3 })
      expect(recipe.claim.length, name).toBeGreaterThan(20)
    }
  })
})

describe('nanoGPT’s setting, made small', () => {
  it('ends as a model that loads, and says what it claimed and that it does not hold', async () => {
    const [text, out] = [join(folder, 'text.txt'), join(folder, 'run')]
    writeFileSync(text, 'to be, or not to be: that is the question. '.repeat(40))
    const { name, recipe } = await findRecipe('nanogpt-shakespeare-cpu')
    const pairs = [`data=${text}`, 'steps=3', 'nLayers=1', 'nHeads=2', 'dModel=16', 'seq=8', 'batch=2']
    const outcome = await runRecipe(recipe, applySettings(recipe.settings, pairs), { name, out })
    expect(outcome).toMatchObject({ finished: true, holds: false })
    expect(readResult(join(out, 'result.json'))).toMatchObject({
      ...{ recipe: name, paper: 'gpt2', claim: recipe.claim, state: 'finished', holds: false },
      settings: { data: 'text.txt' },
      measured: { valLoss: expect.closeTo(3, 0) },
    })
    expect(readFileSync(join(out, 'curve.svg'), 'utf8')).toContain('loss: training (line), held out (dots)')
    const model = await load(out)
    expect(model.decode(await model.encode('to be'))).toBe('to be')
  })
})
