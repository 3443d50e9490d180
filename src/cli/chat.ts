import { createInterface } from 'node:readline/promises'
import { Command, Option } from 'commander'
import type { ChatMessage, ServedModel } from '../generate/types.ts'

interface ChatFlags {
  model: string
  system?: string
  temperature: number
  topP: number
  maxNewTokens: number
  seed?: number
  quantize?: 'q4' | 'q4_0' | 'q8'
}

const HELP = '/clear forgets the conversation, /exit (or Ctrl+D) ends, Ctrl+C stops an answer'

export const chatCommand = (): Command =>
  new Command('chat')
    .description('talk with a model in the terminal; one that was only pre-trained continues what you write')
    .option('--model <ref>', 'a folder, hf:owner/name, gguf:FILE or a shipped model', 'jackdaw-base')
    .option('--system <text>', 'what the model is told before the conversation')
    .option('--temperature <number>', '0 always takes the likeliest token', Number, 0.8)
    .option('--top-p <number>', 'draw from the likeliest tokens that have this probability together', Number, 0.95)
    .option('--max-new-tokens <number>', 'the longest answer', Number, 512)
    .option('--seed <number>', 'the same seed gives the same answers', Number)
    .addOption(
      new Option('--quantize <type>', 'block-quantise the weights while loading').choices(['q4', 'q4_0', 'q8']),
    )
    .addHelpText(
      'after',
      "\nExample:\n  jackdaw chat --model gguf:SmolLM2-135M-Instruct.Q4_1.gguf --system 'Answer briefly.'",
    )
    .action(chat)

async function chat(flags: ChatFlags): Promise<void> {
  const { load } = await import('../generate/text.ts')
  const model = await load(flags.model, { quantize: flags.quantize, slots: 1 })
  process.stderr.write(
    `${model.id}: ${model.description ?? ''}\n${model.canChat ? '' : 'It was only pre-trained: it continues what you write.\n'}${HELP}\n`,
  )
  const terminal = createInterface({ input: process.stdin, output: process.stderr, prompt: '> ' })
  const opening: ChatMessage[] = flags.system === undefined ? [] : [{ role: 'system', content: flags.system }]
  let messages = [...opening]
  let stop: AbortController | undefined
  terminal.on('SIGINT', () => (stop ? stop.abort() : terminal.close()))
  terminal.prompt()
  for await (const line of terminal) {
    if (line.trim() === '/exit') break
    if (line.trim() === '/clear') messages = [...opening]
    else if (line.trim() !== '') {
      stop = new AbortController()
      messages.push({ role: 'user', content: line })
      const answer = await say(model, messages, flags, stop.signal)
      messages.push({ role: 'assistant', content: answer })
      stop = undefined
    }
    terminal.prompt()
  }
  terminal.close()
}

/** Writes the answer as it comes, and returns it: as far as it went, where it was stopped. */
async function say(
  model: ServedModel,
  messages: readonly ChatMessage[],
  flags: ChatFlags,
  signal: AbortSignal,
): Promise<string> {
  const { generate } = await import('../generate/text.ts')
  const prompt = model.canChat ? messages : messages.map(({ content }) => content).join('')
  let answer = ''
  try {
    for await (const piece of generate(model, prompt, { ...flags, signal })) {
      answer += piece
      process.stdout.write(piece)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  process.stdout.write('\n')
  return answer
}
