import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Hono } from 'hono'
import { afterAll, expect, it } from 'vitest'
import type { RecipeFile } from '../../src/optim/recipe-files.ts'
import { createApp } from '../../src/server/app.ts'
import { paperRoutes } from '../../src/server/papers-api.ts'
import type { PaperDetail, PaperList } from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore } from './support.ts'

const app = createApp({ models: [new MockModel()], store: noStore(), logger: captureLogger().logger })
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-papers-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const read = async <T>(path: string, from: Pick<Hono, 'request'> = app) =>
  (await from.request(path)).json() as Promise<T>

it('tells every paper of the index, and of one its ideas, checks and source', async () => {
  const { papers } = await read<PaperList>('/api/papers')
  expect(papers.map(({ number }) => number)).toEqual(papers.map((_, i) => i + 1))
  // What runs on the same blocks follows the list.
  expect(papers.filter(({ isBeside }) => isBeside).map(({ slug }) => slug)).toContain('mistral')
  const gpt2 = await read<PaperDetail>('/api/papers/gpt2')
  expect(papers.find(({ slug }) => slug === 'gpt2')).toMatchObject({ title: gpt2.title, checks: gpt2.checks })
  expect(gpt2.ideas.length).toBeGreaterThan(2)
  expect(gpt2.checkLines.same?.length).toBeGreaterThan(0)
  expect(gpt2.sources.map(({ path }) => path)).toEqual(['src/models/gpt2.ts'])
  expect(gpt2.sources[0].text).toContain('export class GPT2')
  expect(gpt2.experiments.map(({ recipe }) => recipe)).toContain('gpt2/nanogpt-shakespeare-cpu')
})

it('of a planned paper there is nothing but its place', async () => {
  const { papers } = await read<PaperList>('/api/papers')
  const planned = papers.find(({ state }) => state === 'planned')
  if (planned) {
    expect(await read<PaperDetail>(`/api/papers/${planned.slug}`)).toMatchObject({
      title: null,
      sources: [],
      ideas: [],
    })
  }
})

it('a name that is none is a 404', async () => {
  for (const name of ['nothing', '..%2f..%2fpackage.json', '__proto__']) {
    expect((await app.request(`/api/papers/${name}`)).status).toBe(404)
  }
})

it('an installed package shows what was compiled', async () => {
  mkdirSync(join(folder, 'dist/src/models'), { recursive: true })
  writeFileSync(
    join(folder, 'dist/src/models/gpt2.js'),
    '/**\n * A Title — GPT-2\n * Some One, 2019.\n *\n * New here:\n * - an idea.\n */\nexport const x = 1\n',
  )
  const installed = new Hono().route('/api', paperRoutes({ root: folder }))
  const gpt2 = await read<PaperDetail>('/api/papers/gpt2', installed)
  expect(gpt2).toMatchObject({ title: 'A Title — GPT-2', ideas: ['an idea'], state: 'in part' })
  expect(gpt2.sources.map(({ path }) => path)).toEqual(['dist/src/models/gpt2.js'])
})

it('a recipe that is broken is named, and keeps nothing else from being shown', async () => {
  const error = 'recipes/gpt2/mine.ts cannot be loaded: not today'
  const recipes = async () => ({ recipes: [], broken: [{ name: 'gpt2/mine', error }] })
  const routes = new Hono().route('/api', paperRoutes({ recipes }))
  const { papers, faults } = await read<PaperList>('/api/papers', routes)
  expect(faults).toEqual([error])
  expect(papers.length).toBeGreaterThan(30)
  expect(papers.find(({ slug }) => slug === 'gpt2')?.checks.learns).toBe(false)
  const { experiments } = await read<PaperDetail>('/api/papers/gpt2', routes)
  expect(experiments).toMatchObject([{ recipe: 'gpt2/mine', outcome: error, holds: false }])
})

it('reads a header again once its file is another, and a damaged result is said to be one', async () => {
  const root = join(folder, 'living')
  const [source, result] = [join(root, 'src/models/gpt2.ts'), join(root, 'recipes/gpt2/mine.result.json')]
  mkdirSync(join(root, 'src/models'), { recursive: true })
  mkdirSync(join(root, 'recipes/gpt2'), { recursive: true })
  const header = (title: string) =>
    `/**\n * ${title} — GPT-2\n * Some One, 2019.\n *\n * New here:\n * - an idea.\n */\n`
  writeFileSync(source, header('One'))
  writeFileSync(result, '{')
  const recipe = { paper: 'gpt2', claim: 'it learns' } as RecipeFile['recipe']
  const recipes = async () => ({ recipes: [{ name: 'gpt2/mine', experiment: 'mine', recipe }], broken: [] })
  const routes = new Hono().route('/api', paperRoutes({ root, recipes }))
  const gpt2 = () => read<PaperDetail>('/api/papers/gpt2', routes)
  expect(await gpt2()).toMatchObject({
    title: 'One — GPT-2',
    experiments: [{ outcome: 'recipes/gpt2/mine.result.json is damaged', holds: false }],
  })
  writeFileSync(source, header('Another'))
  expect((await gpt2()).title).toBe('Another — GPT-2')
})
