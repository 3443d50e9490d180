import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'

interface PapersFlags {
  json?: boolean
  write?: boolean
}

export const papersCommand = (): Command =>
  new Command('papers')
    .description('show the reading list: paper, file, what is checked, what came out')
    .argument('[paper]', 'one of them whole, by its name or number: idea, files, checks, results, commands')
    .option('--json', 'print it as JSON')
    .option('--write', 'write docs/papers.md')
    .addHelpText('after', '\nExamples:\n  jackdaw papers\n  jackdaw papers gpt2')
    .action(async (wanted: string | undefined, { json, write }: PapersFlags) => {
      const [{ packageRoot }, { readRecipes }, { paperText, papersMarkdown, papersText, readBeside, readPapers }] =
        await Promise.all([import('../hub/open.ts'), import('../optim/recipe-files.ts'), import('../paper-status.ts')])
      const root = packageRoot()
      const { recipes, broken } = await readRecipes()
      const papers = readPapers(root, recipes, broken)
      const beside = readBeside(root)
      if (write) {
        if (!existsSync(join(root, 'tests'))) {
          throw new Error('--write needs the repository, and this is an installed package')
        }
        await writeFile(join(root, 'docs', 'papers.md'), papersMarkdown(papers, beside))
      }
      const one = [...papers, ...beside].find(({ slug, number }) => slug === wanted || `${number}` === wanted)
      if (wanted !== undefined && !one) {
        throw new Error(
          `there is no paper '${wanted}'; there are ${[...papers, ...beside].map(({ slug }) => slug).join(', ')}`,
        )
      }
      const text = one ? paperText(one) : papersText(papers)
      process.stdout.write(json ? `${JSON.stringify(one ?? papers, null, 2)}\n` : text)
    })
