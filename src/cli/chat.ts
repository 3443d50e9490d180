import { createInterface } from 'node:readline/promises'
import { Command } from 'commander'
import type { ChatMessage, ServedModel } from '../generate/types.ts'
import { PAGE_SAMPLING } from '../server/page-sampling.ts'
import { withDownloadBar } from './download-bar.ts'
import { integer, number, type Quantize, quantizeOption } from './flags.ts'

interface ChatFlags {
  model: string
  system?: string
  temperature: number
  topP: number
  maxNewTokens: number
  seed?: number
  quantize?: Quantize
}

const HELP = '/clear forgets the conversation, /exit (or Ctrl+D) ends, Ctrl+C stops an answer'

export const chatCommand = (): Command =>
  new Command('chat')
    .description('talk with a model in the terminal; one that was only pre-trained continues what you write')
    .option('--model <ref>', 'a folder, hf:owner/name, gguf:FILE or a shipped model', 'jackdaw-base')
    .option('--system <text>', 'what the model is told before the conversation')
    .option('--temperature <number>', '0 always takes the likeliest token', number(0), PAGE_SAMPLING.temperature)
    .option(
      '--top-p <number>',
      'draw from the likeliest tokens that have this probability together',
      number(0, 1),
      PAGE_SAMPLING.topP,
    )
    .option('--max-new-tokens <number>', 'the longest answer', integer(1), 512)
    .option('--seed <number>', 'the same seed gives the same answers', integer(0))
    .addOption(quantizeOption())
    .addHelpText(
      'after',
      "\nExample:\n  jackdaw chat --model gguf:SmolLM2-135M-Instruct.Q4_1.gguf --system 'Answer briefly.'",
    )
    .action(chat)

async function chat(flags: ChatFlags): Promise<void> {
  const { load } = await import('../generate/text.ts')
  const model = await withDownloadBar((onProgress) =>
    load(flags.model, { quantize: flags.quantize, slots: 1, onProgress }),
  )
  process.stderr.write(`${model.id}: ${model.description ?? ''}\n${peculiarity(model)}${HELP}\n`)
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
      if (answer === undefined) messages.pop()
      else messages.push({ role: 'assistant', content: answer })
      stop = undefined
    }
    terminal.prompt()
  }
  terminal.close()
}

/** What a reader would not expect of an assistant. */
function peculiarity({ canChat, answerLength }: ServedModel): string {
  if (!canChat) return 'It was only pre-trained: it continues what you write.\n'
  return answerLength === undefined ? '' : 'It answers each message by itself: it remembers none.\n'
}

/**
 * Writes the answer as it comes, and returns it: as far as it went, where it was stopped. Undefined where the message
 * cannot be answered, which is said.
 */
async function say(
  model: ServedModel,
  messages: readonly ChatMessage[],
  flags: ChatFlags,
  signal: AbortSignal,
): Promise<string | undefined> {
  const { fitConversation } = await import('../generate/fit-conversation.ts')
  const text = messages.map(({ content }) => content).join('')
  // What a model continues is all that was written so far, by either side.
  const conversation = model.canChat ? messages : [{ role: 'user' as const, content: text }]
  const { promptIds, omitted } = await fitConversation(model, conversation, flags.maxNewTokens)
  const longest = model.contextLength - (model.answerLength === undefined ? 1 : 0)
  if (promptIds.length > longest) {
    process.stderr.write(`${model.id} takes ${longest} tokens, and this has ${promptIds.length}; shorten it.\n`)
    return undefined
  }
  if (omitted > 0) {
    const left = model.canChat ? `the first ${omitted} messages` : `the first ${omitted} tokens`
    process.stderr.write(`(${left} no longer fit the context; /clear starts anew)\n`)
  }
  let answer = ''
  try {
    for await (const event of model.generate({ ...flags, promptIds, signal })) {
      if (event.type !== 'token') continue
      answer += event.text
      process.stdout.write(event.text)
    }
  } catch (error) {
    if (!signal.aborted) throw error
  }
  process.stdout.write('\n')
  return answer
}
