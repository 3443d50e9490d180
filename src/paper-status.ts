import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { BrokenRecipe, RecipeFile } from './optim/recipe-files.ts'
import { type RunResult, readResult } from './optim/result.ts'
import { BESIDE, PAPERS, type Paper } from './papers.ts'

/**
 * How far each paper is, read from where it is said: the header of its file, the fixtures that its numbers are checked
 * by, the results that lie beside its recipes.
 *
 * A paper works when it is the same as a reference implementation in its numbers, learns what it should when trained
 * here, and is usable in a few lines.
 */

/** The doc comment that a paper's file begins with. */
export interface PaperHeader {
  readonly title: string
  /** With where they were. */
  readonly authors: string
  readonly year: number
  readonly arXiv?: string
  /** `New over GPT-1 (§2.3)` */
  readonly over?: string
  readonly ideas: readonly string[]
}

/** `works`: all three checks hold. `in part`: the file is there. `planned`: nothing is. */
export type PaperState = 'works' | 'in part' | 'planned'

export interface Experiment {
  /** `gpt2/nanogpt-shakespeare-cpu` */
  readonly recipe: string
  readonly claim: string
  readonly result?: RunResult
  /** What came out, in a few words. */
  readonly outcome: string
  readonly holds: boolean
}

export interface PaperStatus extends Paper {
  readonly state: PaperState
  readonly header?: PaperHeader
  /** What its numbers are compared with. */
  readonly same: { readonly fixtures: readonly string[]; readonly tests: readonly string[]; readonly holds: boolean }
  readonly learns: readonly Experiment[]
  /** Tests of what is usable that are not there. */
  readonly lacking: readonly string[]
}

const PARITY = 'tests/parity'
/** An installed package has neither: what the repository's tests hold, they held when it was made. */
const HELD = 'held by the repository’s tests'

interface Fixture {
  readonly folder: string
  readonly architectures: readonly string[]
}

/** What a file said, until it is written anew. */
class Remembered<T> {
  private readonly known = new Map<string, { stamp: string; said: T }>()

  constructor(private readonly read: (path: string) => T) {}

  /** @throws whatever reading it throws */
  of(path: string): T {
    const { mtimeMs, size } = statSync(path)
    const stamp = `${mtimeMs} ${size}`
    const known = this.known.get(path)
    if (known?.stamp === stamp) return known.said
    const said = this.read(path)
    this.known.set(path, { stamp, said })
    return said
  }
}

const sourceFiles = new Remembered((path) => {
  const text = readFileSync(path, 'utf8')
  return { text, header: parseHeader(text) }
})
const fixtureConfigs = new Remembered((path) => JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>)
const results = new Remembered(readResult)

/**
 * @param root - of the repository, or of the installed package
 * @param broken - recipes that could not be loaded: those of a paper are shown as what is not learned
 */
export function readPapers(
  root: string,
  recipes: readonly RecipeFile[],
  broken: readonly BrokenRecipe[] = [],
  list: readonly Paper[] = PAPERS,
): PaperStatus[] {
  const inRepository = existsSync(join(root, 'tests'))
  const fixtures = inRepository ? readFixtures(join(root, PARITY)) : []
  const sourceOf = (file: string): string | undefined =>
    [join(root, 'src', file), join(root, 'dist/src', file.replace(/\.ts$/, '.js'))].find((path) => existsSync(path))
  return list.map((paper) => {
    const sources = paper.files.map(sourceOf)
    const isThere = sources.every((path) => path !== undefined)
    const read = isThere
      ? sources.map((path) => (path && statSync(path).isFile() ? sourceFiles.of(path) : undefined))
      : []
    const own = fixtures
      .filter(({ architectures }) =>
        architectures.some((name) => read.some((file) => file?.text.match(new RegExp(`\\b${name}\\b`)))),
      )
      .map(({ folder }) => folder)
      .filter((folder) => folder.startsWith(paper.fixtures ?? ''))
    const tests = paper.files
      .map((file) => `tests/${file.replace(/\.ts$/, '.test.ts')}`)
      .filter((path) => existsSync(join(root, path)))
    const same = { fixtures: own, tests, holds: isThere && (!inRepository || own.length + tests.length > 0) }
    const learns = [
      ...recipes.filter(({ recipe }) => recipe.paper === paper.slug).map((file) => experiment(root, file)),
      ...broken.filter(({ name }) => name.startsWith(`${paper.slug}/`)).map(brokenExperiment),
    ]
    const lacking = inRepository ? (paper.usable?.by ?? []).filter((path) => !existsSync(join(root, path))) : []
    const isUsable = paper.usable !== undefined && lacking.length === 0
    const hasLearned = learns.length > 0 && learns.every(({ holds }) => holds)
    return {
      ...paper,
      state: !isThere ? 'planned' : same.holds && hasLearned && isUsable ? 'works' : 'in part',
      header: paper.within === undefined ? read[0]?.header : undefined,
      ...{ same, learns, lacking },
    }
  })
}

/** The same of what is beside the list. */
export const readBeside = (root: string): PaperStatus[] => readPapers(root, [], [], BESIDE)

/** Folders of fixtures, and which architectures they are of. */
function readFixtures(folder: string): Fixture[] {
  return readdirSync(folder)
    .filter((name) => existsSync(join(folder, name, 'config.json')))
    .sort()
    .map((name) => {
      const { architectures = [], _class_name: diffusers = [] } = fixtureConfigs.of(join(folder, name, 'config.json'))
      return { folder: name, architectures: [architectures, diffusers].flat() as string[] }
    })
}

function experiment(root: string, { name, recipe: { claim } }: RecipeFile): Experiment {
  const path = join(root, 'recipes', `${name}.result.json`)
  let result: RunResult | undefined
  try {
    result = existsSync(path) ? results.of(path) : undefined
  } catch {
    return { recipe: name, claim, holds: false, outcome: `recipes/${name}.result.json is damaged` }
  }
  const holds = result?.state === 'finished' && result.holds === true && result.claim === claim
  return { recipe: name, claim, result, holds, outcome: outcomeOf(claim, result) }
}

const brokenExperiment = ({ name, error }: BrokenRecipe): Experiment => ({
  recipe: name,
  claim: 'not known',
  outcome: error,
  holds: false,
})

function outcomeOf(claim: string, result: RunResult | undefined): string {
  if (!result) return 'not run yet'
  const { measured = {}, state, holds, seconds } = result
  if (state !== 'finished' || holds === undefined) return `not finished: ${state}`
  if (result.claim !== claim) return 'to be run again: it claimed something else'
  const figures = Object.entries(measured).map(([name, value]) => `${name} ${value === null ? 'NaN' : figure(value)}`)
  const minutes = seconds < 90 ? `${seconds} s` : `${Math.round(seconds / 60)} min`
  return `${figures.join(', ')}: ${holds ? 'holds' : 'does not hold'} (seed ${result.seed}, ${minutes})`
}

const figure = (value: number): string => (Number.isInteger(value) ? `${value}` : `${Number(value.toPrecision(4))}`)

/**
 * The header of a paper's file:
 *
 * ```
 * LLaMA: Open and Efficient Foundation Language Models
 * Touvron, Lavril, Izacard et al., Meta AI, 2023. arXiv 2302.13971
 *
 * New over GPT-3 (§2.2):
 * - …
 * ```
 */
export function parseHeader(source: string): PaperHeader | undefined {
  const comment = /^\s*\/\*\*\n([\s\S]*?)\*\//.exec(source)?.[1]
  if (comment === undefined) return undefined
  const paragraphs = comment
    .split('\n')
    .map((line) => line.replace(/^ \* ?/, '').trimEnd())
    .join('\n')
    .split(/\n{2,}/)
  const [title, ...rest] = paragraphs[0].split('\n')
  const published = /^(.*), (\d{4})\b/.exec(rest.join(' '))
  if (!published) return undefined
  const list = paragraphs.find((paragraph) => /^- /m.test(paragraph)) ?? ''
  const [over, ...items] = list.split(/^- /m)
  return {
    title,
    authors: published[1],
    year: Number(published[2]),
    arXiv: /\barXiv:? ?(\d{4}\.\d{4,5})/.exec(rest.join(' '))?.[1],
    over: over.trim().replace(/:$/, '') || undefined,
    ideas: items.map((item) =>
      item
        .trim()
        .replace(/\s*\n\s*/g, ' ')
        .replace(/[;.]$/, ''),
    ),
  }
}

/** One check in a line: what it is, and how it stands. */
export function checkLines({ state, same, learns, usable, lacking }: PaperStatus): Record<string, string[]> {
  if (state === 'planned') return {}
  const { fixtures, tests, holds } = same
  const compared = [
    ...(fixtures.length > 0
      ? [`${fixtures.length} ${fixtures.length === 1 ? 'fixture' : 'fixtures'} (${fixtures.join(', ')}) within 1e-4`]
      : []),
    ...tests,
  ]
  const held = compared.length > 0 ? compared.join('; ') : HELD
  const uses = usable && (lacking.length > 0 ? `${usable.what}: lacks ${lacking.join(', ')}` : usable.what)
  return {
    same: [holds ? held : 'to be built'],
    learns: learns.length > 0 ? learns.map(({ claim, outcome }) => `${claim}: ${outcome}`) : ['to be built'],
    usable: [uses ?? 'to be built'],
  }
}

/** A paper whole, for a terminal. */
export function paperText(paper: PaperStatus): string {
  const { number, name, slug, state, header, files, within, learns, usable, same } = paper
  const isBeside = number > PAPERS.length
  const lines = [`${name} (${slug}, ${isBeside ? 'beside the list' : `number ${number} of the list`}): ${state}`]
  if (header) {
    const { title, authors, year, arXiv, over, ideas } = header
    lines.push('', title, `${authors}, ${year}${arXiv ? `. https://arxiv.org/abs/${arXiv}` : ''}`)
    if (ideas.length > 0) lines.push('', `${over ?? 'New here'}:`, ...ideas.map((idea) => `- ${idea}`))
  }
  if (within) lines.push('', `It is told in the file of ${within}: jackdaw papers ${within}`)
  lines.push('', `files   ${files.map((file) => `src/${file}`).join(', ')}`)
  for (const [check, what] of Object.entries(checkLines(paper))) {
    lines.push(...what.map((line, i) => `${(i === 0 ? check : '').padEnd(6)}  ${line}`))
  }
  lines.push(...(usable?.by ?? []).map((path) => `        ${path}`))
  const runs = learns.map(({ recipe }) => `jackdaw train ${recipe}`)
  const fixtures = same.fixtures.slice(0, 1).map((folder) => {
    const path = `${PARITY}/${folder}`
    return `jackdaw forward ${path} --inputs ${path}/inputs.safetensors --output outputs.safetensors`
  })
  const commands = [...runs, ...fixtures]
  if (commands.length > 0) lines.push('', 'Try it:', ...commands.map((line) => `  ${line}`))
  return lines.map((line) => `${line}\n`).join('')
}

/** A line for each paper, and those of its checks where it is there. */
export function papersText(papers: readonly PaperStatus[]): string {
  const width = Math.max(...papers.map(({ name }) => name.length))
  return papers
    .flatMap((paper) => {
      const { number, name, files, state } = paper
      const where = files.map((file) => `src/${file}`).join(', ')
      const checks = Object.entries(checkLines(paper)).flatMap(([check, what]) =>
        what.map((line) => `    ${check.padEnd(6)}  ${line}`),
      )
      return [`${`${number}`.padStart(2)}  ${name.padEnd(width)}  ${state.padEnd(7)}  ${where}`, ...checks]
    })
    .map((line) => `${line}\n`)
    .join('')
}

const link = (path: string, text = path.split('/').at(-1)): string => `[${text}](../${path})`

/** docs/papers.md. */
export function papersMarkdown(papers: readonly PaperStatus[], beside: readonly PaperStatus[]): string {
  const count = (state: PaperState): number => papers.filter((paper) => paper.state === state).length
  const built = papers.filter(({ state }) => state !== 'planned')
  const planned = papers.filter(({ state }) => state === 'planned')
  return [
    '# Papers',
    '',
    'Written by `jackdaw papers --write` from [the list](../src/papers.ts), the headers of the files, the fixtures and the',
    'results of the recipes; a test keeps them alike. `jackdaw papers NAME` tells more of one.',
    '',
    'A paper works when all three hold: **same** (its numbers agree with a reference implementation), **learns**',
    '(trained here, it reaches the outcome), **usable** (in a few lines, from the command line and the library).',
    '',
    `${count('works')} work, ${count('in part')} are there in part, ${count('planned')} are planned.`,
    '',
    '| # | paper | file | same | learns | usable | state |',
    '|---|---|---|---|---|---|---|',
    ...built.map((paper) => `| ${cells(paper).join(' | ')} |`),
    '',
    '## Planned',
    '',
    '| # | paper | file to be |',
    '|---|---|---|',
    ...planned.map(
      ({ number, name, files }) => `| ${number} | ${name} | ${files.map((file) => `\`src/${file}\``).join(', ')} |`,
    ),
    '',
    '## Beside the list',
    '',
    'What people run today on the same blocks, a file each that shows what it changed.',
    '',
    '| paper | file | same | usable |',
    '|---|---|---|---|',
    ...beside.map((paper) => {
      const [, name, files, same, , usable] = cells(paper)
      return `| ${[name, files, same, usable].join(' | ')} |`
    }),
    '',
  ].join('\n')
}

/** The title without the name that stands before it. */
const titleBeside = (name: string, { title }: PaperHeader): string =>
  title.replace(` — ${name}`, '').replace(`${name}: `, '')

function cells({ number, name, header, within, files, same, learns, usable, lacking, state }: PaperStatus): string[] {
  const told = within === undefined ? '' : `, told in the file of ${within}`
  const about = header
    ? `: ${titleBeside(name, header)}. ${header.authors}, ${header.year}${header.arXiv ? `, [${header.arXiv}](https://arxiv.org/abs/${header.arXiv})` : ''}`
    : told
  const compared = [
    ...(same.fixtures.length > 0
      ? [`within 1e-4 of ${same.fixtures.map((f) => link(`${PARITY}/${f}`)).join(', ')}`]
      : []),
    ...same.tests.map((path) => link(path)),
  ]
  const ran = learns.map(({ recipe, claim, outcome, result }) => {
    const curve = result ? `, ${link(`recipes/${recipe}.svg`, 'curve')}` : ''
    return `${claim} (${link(`recipes/${recipe}.ts`)}${curve}): **${outcome}**`
  })
  const lacks = lacking.length > 0 ? `: **lacks ${lacking.join(', ')}**` : ''
  const uses = usable && `${usable.what} (${usable.by.map((path) => link(path)).join(', ')})${lacks}`
  return [
    `${number}`,
    `**${name}**${about}`,
    files.map((file) => link(`src/${file}`)).join(', '),
    compared.join('; ') || 'to be built',
    ran.join('; ') || 'to be built',
    uses ?? 'to be built',
    state,
  ]
}
