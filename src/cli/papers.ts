import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { packageRoot } from '../hub/open.ts'
import { CHECKS, checkResult, PAPERS, paperState, papersMarkdown } from '../papers.ts'

export const papersCommand = (): Command =>
  new Command('papers')
    .description('show the reading list: paper, file, what is checked, result')
    .option('--json', 'print it as JSON')
    .option('--write', 'write docs/papers.md')
    .addHelpText('after', '\nExample:\n  jackdaw papers')
    .action(async ({ json, write }: { json?: boolean; write?: boolean }) => {
      const root = packageRoot()
      // Sources, tests and recipes lie in the repository; an installed package has only what is built of them.
      const inRepository = existsSync(join(root, 'tests'))
      const exists = (path: string): boolean =>
        existsSync(join(root, path)) ||
        (!inRepository && (path.startsWith('tests/') || existsSync(join(root, 'dist', path.replace(/\.ts$/, '.js')))))
      if (write) {
        if (!inRepository) throw new Error('--write needs the repository, and this is an installed package')
        await writeFile(join(root, 'docs', 'papers.md'), papersMarkdown(exists))
      }
      process.stdout.write(json ? `${JSON.stringify(listed(exists), null, 2)}\n` : table(exists))
    })

const listed = (exists: (path: string) => boolean) =>
  PAPERS.map((paper) => ({ ...paper, state: paperState(paper, exists) }))

/** A line for each paper, and one for each check of those that are there. */
function table(exists: (path: string) => boolean): string {
  const width = Math.max(...PAPERS.map(({ title }) => title.length))
  return listed(exists)
    .flatMap(({ number, title, files, checks, state }) => [
      `${String(number).padStart(2)}  ${title.padEnd(width)}  ${state.padEnd(7)}  ${files.map((file) => `src/${file}`).join(', ')}`,
      ...(state === 'planned' ? [] : CHECKS).map((name) => {
        const what = checks?.[name]?.what
        return `    ${name.padEnd(6)}  ${what ? `${what}: ` : ''}${checkResult(checks?.[name], exists)}`
      }),
    ])
    .map((line) => `${line}\n`)
    .join('')
}
