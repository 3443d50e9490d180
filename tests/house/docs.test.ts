import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { PAPERS, papersMarkdown } from '../../src/papers.ts'
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
      if (command === 'train') expect(exists(`recipes/${first}.ts`), line).toBe(true)
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
  it('counts from 1 without a gap', () => {
    expect(PAPERS.map(({ number }) => number)).toEqual(PAPERS.map((_, i) => i + 1))
  })

  it('names tests, recipes and commands that are there', () => {
    const named = PAPERS.flatMap(({ checks = {} }) => Object.values(checks).flatMap(({ by }) => by))
    expect(named.filter((path) => !exists(path))).toEqual([])
  })

  it('claims nothing of a paper whose file is not there', () => {
    const planned = PAPERS.filter(({ files }) => !files.every((file) => exists(`src/${file}`)))
    expect(planned.filter(({ checks }) => checks)).toEqual([])
  })

  it('is written to docs/papers.md (jackdaw papers --write, or -u here)', async () => {
    await expect(papersMarkdown(exists)).toMatchFileSnapshot(join(ROOT, 'docs', 'papers.md'))
  })
})
