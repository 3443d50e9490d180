import { readdirSync } from 'node:fs'
import { Command } from 'commander'

const FOLDER = new URL('../../src/cli/', import.meta.url)

/** Every command of src/cli, as main.ts has them, with nothing behind them: parsing refuses, and runs nothing. */
export async function commands(): Promise<Command[]> {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.ts') && file !== 'main.ts')
  const modules: Record<string, unknown>[] = await Promise.all(files.map((file) => import(new URL(file, FOLDER).href)))
  const found = modules.flatMap((module) =>
    Object.entries(module).flatMap(([name, value]) => (name.endsWith('Command') ? [(value as () => Command)()] : [])),
  )
  return found.map((command) =>
    command
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .action(() => {}),
  )
}

/** @throws CommanderError where jackdaw does not take these arguments */
export async function parse(args: readonly string[]): Promise<void> {
  const program = new Command('jackdaw').exitOverride().configureOutput({ writeErr: () => {}, writeOut: () => {} })
  for (const command of await commands()) program.addCommand(command)
  if (args[0] === 'help') {
    if (args[1] && !program.commands.some((command) => command.name() === args[1])) throw new Error(`no ${args[1]}`)
    return
  }
  await program.parseAsync([...args], { from: 'user' })
}

/** The words of a line of shell, quotes undone: enough for the lines that documents show. */
export const words = (line: string): string[] =>
  [...line.matchAll(/'([^']*)'|"([^"]*)"|([^\s'"]+)/g)].map(([, single, double, bare]) => single ?? double ?? bare)
