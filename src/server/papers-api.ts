import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Hono } from 'hono'
import { type BrokenRecipe, type RecipeFile, readRecipes } from '../optim/recipe-files.ts'
import { checkLines, type Experiment, type PaperStatus, readBeside, readPapers } from '../paper-status.ts'
import { PAPERS } from '../papers.ts'
import { RequestError } from './errors.ts'
import { packageRoot } from './package.ts'
import type { PaperChecks, PaperDetail, PaperExperiment, PaperList, PaperSource, PaperSummary } from './wire.ts'

const SOURCE = /\.(ts|js)$/

interface PaperRoutesOptions {
  /** Of the repository, or of the installed package. */
  root?: string
  recipes?: () => Promise<{ recipes: readonly RecipeFile[]; broken: readonly BrokenRecipe[] }>
}

/** The index of papers, as `jackdaw papers` shows it. */
export function paperRoutes({ root = packageRoot, recipes = readRecipes }: PaperRoutesOptions = {}): Hono {
  // A program's recipes are loaded once, as its code is; files are read anew where they were written since.
  let loading: ReturnType<typeof recipes> | undefined
  const load = () => {
    loading ??= recipes()
    return loading
  }
  const read = async () => {
    const { recipes, broken } = await load()
    return [...readPapers(root, recipes, broken), ...readBeside(root)]
  }
  const app = new Hono()

  app.get('/papers', async (context) => {
    const papers = (await read()).map(summary)
    const faults = (await load()).broken.map(({ error }) => error)
    return context.json({ papers, faults } satisfies PaperList)
  })

  app.get('/papers/:slug', async (context) => {
    const slug = context.req.param('slug')
    // The name is only compared: no path is made of what a client says.
    const paper = (await read()).find((other) => other.slug === slug)
    if (!paper) throw new RequestError(404, `There is no paper '${slug}' in the index.`, { code: 'not_found' })
    return context.json((await detail(root, paper)) satisfies PaperDetail)
  })

  return app
}

function summary({ number, slug, name, state, within, header, ...rest }: PaperStatus): PaperSummary {
  const { title = null, authors = null, year = null, arXiv = null } = header ?? {}
  const isBeside = number > PAPERS.length
  return {
    number,
    slug,
    name,
    state,
    isBeside,
    within: within ?? null,
    title,
    authors,
    year,
    arXiv,
    checks: checks(rest),
  }
}

const checks = ({ same, learns, usable, lacking }: Pick<PaperStatus, 'same' | 'learns' | 'usable' | 'lacking'>) =>
  ({
    same: same.holds,
    learns: learns.length > 0 && learns.every(({ holds }) => holds),
    usable: usable !== undefined && lacking.length === 0,
  }) satisfies PaperChecks

async function detail(root: string, paper: PaperStatus): Promise<PaperDetail> {
  const { header, files, learns } = paper
  // Of a paper that is only planned, another's file may be there already.
  const shown = paper.state === 'planned' ? [] : files
  const sources = await Promise.all(shown.map((file) => sourcesAt(root, file)))
  return {
    ...summary(paper),
    over: header?.over ?? null,
    ideas: [...(header?.ideas ?? [])],
    files: files.map((file) => `src/${file}`),
    checkLines: checkLines(paper),
    sources: sources.flat(),
    experiments: await Promise.all(learns.map((experiment) => withCurve(root, experiment))),
  }
}

async function withCurve(
  root: string,
  { recipe, claim, outcome, holds, result }: Experiment,
): Promise<PaperExperiment> {
  const curve = await readFile(join(root, 'recipes', `${recipe}.svg`), 'utf8').catch(() => null)
  return { recipe, claim, outcome, holds, result: result ?? null, curve }
}

/** A paper's file, or the files of its folder; of an installed package what was compiled of them. */
async function sourcesAt(root: string, file: string): Promise<PaperSource[]> {
  const places = [join(root, 'src', file), join(root, 'dist/src', file.replace(/\.ts$/, '.js'))]
  const path = places.find((place) => existsSync(place))
  if (path === undefined) return []
  const shown = path
    .slice(root.length)
    .replace(/^[\\/]/, '')
    .replaceAll('\\', '/')
  if (SOURCE.test(path)) return [{ path: shown, text: await readFile(path, 'utf8') }]
  const inside = (await readdir(path)).filter((name) => SOURCE.test(name) && !name.endsWith('.d.ts')).sort()
  return Promise.all(
    inside.map(async (name) => ({ path: `${shown}/${name}`, text: await readFile(join(path, name), 'utf8') })),
  )
}
