import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { allRecipes } from '../../src/optim/recipe-files.ts'
import { papersMarkdown, paperText, parseHeader, readBeside, readPapers } from '../../src/paper-status.ts'
import { PAPERS } from '../../src/papers.ts'
import { commands, parse, words } from './commands.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')
const exists = (path: string): boolean => existsSync(join(ROOT, path))

const PAGES = [
  ...readdirSync(ROOT).filter((file) => file.endsWith('.md')),
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.md'))
    .map((file) => `docs/${file}`),
]

/** Blocks of a page in one of the languages. */
const blocks = (page: string, ...languages: string[]): string[] =>
  [...read(page).matchAll(/^```(\w*)\n([\s\S]*?)^```$/gm)]
    .filter(([, language]) => languages.includes(language))
    .map(([, , body]) => body)

/** Commands that a page tells to type: lines of `sh`, and what follows a `$` in `console`. */
const typed = (page: string): string[] => [
  ...blocks(page, 'sh').flatMap((block) => block.split('\n').flatMap((line) => line.split('&&'))),
  ...blocks(page, 'console').flatMap((block) => [...block.matchAll(/^\$ (.*)$/gm)].map(([, line]) => line)),
]

const toCommand = (line: string): string =>
  (
    line
      .replace(/\s#.*$/, '')
      .split(/\s\|\s/)
      .at(-1) as string
  )
    .trim()
    .replace(/^npx jackdaw/, 'jackdaw')

const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> }

/** What is wrong with a command, or undefined. */
async function complaint(command: string): Promise<string | undefined> {
  const [program, ...args] = words(command)
  if (program === undefined || (program === 'npm' && args[0] === 'ci')) return undefined
  if (program === 'npm' && args[0] === 'start') {
    const [, , name, ...fixed] = words(scripts.start)
    return complaint(['jackdaw', name, ...fixed, ...args.slice(2)].join(' '))
  }
  if (program === 'npm' && args[0] === 'run') return scripts[args[1]] ? undefined : `there is no script ${args[1]}`
  if (program === 'npx' && args[0] === 'vitest')
    return exists(args.at(-1) as string) ? undefined : 'there is no such test'
  if (program === 'bash') return exists(args[0]) ? undefined : 'there is no such file'
  if (program !== 'jackdaw') return 'this test does not know what it is'
  return parse(args).then(
    () => undefined,
    (error: Error) => error.message,
  )
}

describe('what the pages tell to type is there', () => {
  for (const page of ['README.md', 'CONTRIBUTING.md']) {
    it(page, async () => {
      const lines = typed(page).map(toCommand)
      expect(lines.length).toBeGreaterThan(5)
      const complaints = await Promise.all(lines.map(async (line) => [line, await complaint(line)]))
      expect(complaints.filter(([, what]) => what !== undefined)).toEqual([])
    })
  }

  it('a wrong flag, command or script is noticed', async () => {
    expect(await complaint('jackdaw serve --colour red')).toContain('--colour')
    expect(await complaint('jackdaw fly')).toContain('fly')
    expect(await complaint('npm run fly')).toContain('fly')
    expect(await complaint('npm start -- --colour red')).toContain('--colour')
  })

  it('recipes and files in the repository that the README names are there', () => {
    for (const line of typed('README.md').map(toCommand)) {
      const [, command, first] = words(line)
      if (command === 'train') expect(recipeNames(), line).toContain(first)
      for (const word of words(line)) if (/^(tests|src|docs)\//.test(word)) expect(exists(word), line).toBe(true)
    }
  })

  it('programs in the README import what the package exports', async () => {
    const exported = Object.keys(await import('../../src/index.ts'))
    const imports = blocks('README.md', 'ts').flatMap((block) => [
      ...block.matchAll(/import \{([^}]*)\} from 'jackdaw'/g),
    ])
    const names = imports.flatMap(([, list]) => list.split(',').map((name) => name.trim()))
    expect(names.length).toBeGreaterThan(0)
    expect(names.filter((name) => !exported.includes(name))).toEqual([])
  })
})

/** What `jackdaw train` takes: with its paper, and without. */
const recipeNames = (): string[] =>
  readdirSync(join(ROOT, 'recipes'), { recursive: true, encoding: 'utf8' })
    .filter((path) => /^[\w-]+\/[\w-]+\.ts$/.test(path))
    .map((path) => path.replace(/\.ts$/, ''))
    .flatMap((name) => [name, name.split('/')[1]])

describe('links', () => {
  for (const page of PAGES) {
    it(`of ${page} lead to files`, () => {
      const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target.replace(/#.*$/, ''))
      const local = links.filter((target) => target !== '' && !/^https?:/.test(target))
      expect(local.filter((target) => !existsSync(join(ROOT, dirname(page), target)))).toEqual([])
    })
  }
})

describe('jackdaw', () => {
  it('has every command of src/cli', async () => {
    const main = read('src/cli/main.ts')
    const missing = (await commands())
      .map((command) => command.name())
      .filter((name) => !main.includes(`${name}Command()`))
    expect(missing).toEqual([])
  })

  it('teaches every command by an example that it takes', async () => {
    for (const command of await commands()) {
      let help = ''
      command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp()
      const examples = [...help.matchAll(/^ {2}(.*\bjackdaw .*)$/gm)].map(([, line]) => toCommand(line))
      expect(help, command.name()).toContain('Example')
      expect(examples.length, command.name()).toBeGreaterThan(0)
      for (const example of examples) expect(await complaint(example), example).toBeUndefined()
    }
  })
})

describe('the index of papers', () => {
  const papers = async () => readPapers(ROOT, await allRecipes())

  it('counts from 1 without a gap, and calls every paper by a name of its own', () => {
    expect(PAPERS.map(({ number }) => number)).toEqual(PAPERS.map((_, i) => i + 1))
    expect(new Set(PAPERS.map(({ slug }) => slug)).size).toBe(PAPERS.length)
  })

  it('names tests that are there', () => {
    expect(PAPERS.flatMap(({ usable }) => usable?.by ?? []).filter((path) => !exists(path))).toEqual([])
  })

  it('claims nothing of a paper whose file is not there', () => {
    const planned = PAPERS.filter(({ files }) => !files.every((file) => exists(`src/${file}`)))
    expect(planned.filter(({ usable }) => usable)).toEqual([])
  })

  it('reads of every paper that is there its title, authors, year and ideas, and what it is compared with', async () => {
    for (const paper of (await papers()).filter(({ state }) => state !== 'planned')) {
      expect(paper.same.fixtures.length + paper.same.tests.length, paper.slug).toBeGreaterThan(0)
      if (paper.within) {
        expect(PAPERS.map(({ slug }) => slug)).toContain(paper.within)
        continue
      }
      expect(paper.header?.title, paper.slug).toMatch(/./)
      expect(paper.header?.authors, paper.slug).toMatch(/./)
      expect(paper.header?.year, paper.slug).toBeGreaterThan(1980)
      expect(paper.header?.ideas.length, paper.slug).toBeGreaterThanOrEqual(3)
      for (const idea of paper.header?.ideas ?? []) expect(paperText(paper)).toContain(idea)
    }
  })

  it('has every recipe in the folder of its paper', async () => {
    const recipes = await allRecipes()
    expect(recipes.length).toBeGreaterThan(1)
    for (const { name, recipe } of recipes) {
      expect(name.split('/')[0]).toBe(recipe.paper)
      expect(PAPERS.map(({ slug }) => slug)).toContain(recipe.paper)
      expect(exists(`recipes/${name}.result.json`), `result and curve of ${name}`).toBe(exists(`recipes/${name}.svg`))
    }
  })

  it('is written to docs/papers.md (jackdaw papers --write, or -u here)', async () => {
    await expect(papersMarkdown(await papers(), readBeside(ROOT))).toMatchFileSnapshot(join(ROOT, 'docs', 'papers.md'))
  })
})

describe('the header of a paper', () => {
  it('is read where it is one, and from nothing else', () => {
    const header = parseHeader(
      '/**\n * A Title — X\n * Some One and Another, A Place,\n * 2020. arXiv 2001.00001\n *\n * New over Y (§2):\n' +
        ' * - one idea\n *   on two lines;\n * - another.\n *\n * Departures: none.\n */\n',
    )
    expect(header).toEqual({
      title: 'A Title — X',
      authors: 'Some One and Another, A Place',
      year: 2020,
      arXiv: '2001.00001',
      over: 'New over Y (§2)',
      ideas: ['one idea on two lines', 'another'],
    })
    expect(parseHeader("import { x } from 'y'")).toBeUndefined()
    expect(parseHeader('/** One line. */')).toBeUndefined()
    expect(parseHeader('/**\n * Some machinery.\n */')).toBeUndefined()
  })
})
