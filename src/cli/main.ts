import { Command } from 'commander'
import { benchCommand } from './bench.ts'
import { chatCommand } from './chat.ts'
import { convertCommand } from './convert.ts'
import { evalCommand } from './eval.ts'
import { feedbackCommand } from './feedback.ts'
import { forwardCommand, gradCommand } from './forward.ts'
import { generateCommand } from './generate.ts'
import { papersCommand } from './papers.ts'
import { serveCommand } from './serve.ts'
import { tokenizeCommand } from './tokenize.ts'
import { trainCommand } from './train.ts'

const HELP = `
A MODEL is a folder, hf:owner/name, gguf:FILE or a shipped name (jackdaw-base).

Examples:
  jackdaw serve --open
  jackdaw chat
  jackdaw help generate`

const program = new Command('jackdaw')
  .description('The whole ChatGPT stack, paper by paper: train, align, run and serve language models.')
  .version('0.1.0')
  .addHelpText('after', HELP)
  .commandsGroup('Begin here:')
  .addCommand(serveCommand())
  .addCommand(chatCommand())
  .addCommand(generateCommand())
  .addCommand(papersCommand())
  .commandsGroup('Make a model:')
  .addCommand(trainCommand())
  .addCommand(evalCommand())
  .addCommand(feedbackCommand())
  .commandsGroup('Look inside one:')
  .addCommand(tokenizeCommand())
  .addCommand(forwardCommand())
  .addCommand(gradCommand())
  .addCommand(convertCommand())
  .commandsGroup('For those who work on jackdaw:')
  .addCommand(benchCommand())

try {
  await program.parseAsync()
} catch (error) {
  // What users can mend is said in one sentence; the stack is for those who ask.
  const said = process.env.DEBUG ? (error as Error).stack : (error as Error).message
  process.stderr.write(`jackdaw: ${said}\n`)
  process.exitCode = 1
}
