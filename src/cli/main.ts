import { Command } from 'commander'
import { benchCommand } from './bench.ts'
import { chatCommand } from './chat.ts'
import { convertCommand } from './convert.ts'
import { evalCommand } from './eval.ts'
import { forwardCommand, gradCommand } from './forward.ts'
import { generateCommand } from './generate.ts'
import { papersCommand } from './papers.ts'
import { serveCommand } from './serve.ts'
import { tokenizeCommand } from './tokenize.ts'
import { trainCommand } from './train.ts'

const program = new Command('jackdaw')
  .description('The whole ChatGPT stack, paper by paper: train, align, run and serve language models.')
  .version('0.1.0')
  .addCommand(chatCommand())
  .addCommand(convertCommand())
  .addCommand(evalCommand())
  .addCommand(forwardCommand())
  .addCommand(gradCommand())
  .addCommand(trainCommand())
  .addCommand(serveCommand())
  .addCommand(generateCommand())
  .addCommand(tokenizeCommand())
  .addCommand(papersCommand())
  .addHelpText('after', '\nExample:\n  jackdaw serve --open\n  jackdaw help generate')
  .addCommand(benchCommand())

try {
  await program.parseAsync()
} catch (error) {
  // What users can mend is said in one sentence; the stack is for those who ask.
  const said = process.env.DEBUG ? (error as Error).stack : (error as Error).message
  process.stderr.write(`jackdaw: ${said}\n`)
  process.exitCode = 1
}
