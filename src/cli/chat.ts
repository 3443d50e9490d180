import { writeFile } from 'node:fs/promises'
import { createInterface } from 'node:readline/promises'
import { Command } from 'commander'
import type { ChatMessage, EndEvent, GenerationRequest, ServedModel } from '../generate/types.ts'
import { PAGE_SAMPLING } from '../server/page-sampling.ts'
import { LiveScreen, PlainScreen, type Screen } from './chat-screen.ts'
import { withDownloadBar } from './download-bar.ts'
import { integer, number, type Quantize, quantizeOption } from './flags.ts'

interface ChatFlags {
  model: string
  system?: string
  temperature: number
  topP: number
  repetitionPenalty: number
  maxNewTokens: number
  seed?: number
  quantize?: Quantize
}

const HELP = `/help          this
/new           forget the conversation (also /clear)
/model [REF]   say which model answers, or go on with another
/save [FILE]   write the conversation as Markdown
/exit          end (or Ctrl+D)
Ctrl+C stops an answer; what you type meanwhile is answered next.
`

export const chatCommand = (): Command =>
  new Command('chat')
    .description('talk with a model in the terminal; one that was only pre-trained continues what you write')
    .option('--model <ref>', 'a folder, hf:owner/name, gguf:FILE or a shipped model', 'jackdaw-chat')
    .option('--system <text>', 'what the model is told before the conversation')
    .option('--temperature <number>', '0 always takes the likeliest token', number(0), PAGE_SAMPLING.temperature)
    .option(
      '--top-p <number>',
      'draw from the likeliest tokens that have this probability together',
      number(0, 1),
      PAGE_SAMPLING.topP,
    )
    .option(
      '--repetition-penalty <number>',
      'divide the logits of tokens already there by this',
      number(0),
      PAGE_SAMPLING.repetitionPenalty,
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
  const loadModel = async (reference: string) => {
    const model = await withDownloadBar((onProgress) =>
      load(reference, { quantize: flags.quantize, slots: 1, onProgress }),
    )
    if (model.canWrite === false) throw new Error(`${model.id} makes embeddings and writes no text`)
    return model
  }
  const model = await loadModel(flags.model)
  const isLive = Boolean(process.stdin.isTTY && process.stdout.isTTY) && process.env.TERM !== 'dumb'
  const terminal = createInterface({
    input: process.stdin,
    output: isLive ? process.stdout : process.stderr,
    prompt: '> ',
  })
  const screen = isLive ? new LiveScreen(terminal) : new PlainScreen()
  const chat = new Chat(model, loadModel, screen, flags)
  screen.note(`${chat.introduction}/help lists what else can be typed`)
  terminal.on('SIGINT', () => {
    if (!chat.stop()) terminal.close()
  })
  let isClosed = false
  terminal.once('close', () => {
    isClosed = true
    // On a terminal this is Ctrl+D; a pipe that ends still wants its answers.
    if (isLive) chat.stop()
  })
  terminal.prompt()
  for await (const line of terminal) {
    screen.begin(line)
    if (!(await chat.take(line))) break
    screen.rest()
    // On a terminal, what was still waiting is not wanted any more.
    if (isClosed && isLive) break
    // With what is typed so far.
    if (!isClosed) terminal.prompt(true)
  }
  terminal.close()
}

/** What is said and typed, whatever it is shown on. */
class Chat {
  private model: ServedModel
  private readonly loadModel: (reference: string) => Promise<ServedModel>
  private readonly screen: Screen
  private readonly flags: ChatFlags
  private messages: ChatMessage[]
  private stopping: AbortController | undefined

  constructor(
    model: ServedModel,
    loadModel: (reference: string) => Promise<ServedModel>,
    screen: Screen,
    flags: ChatFlags,
  ) {
    this.model = model
    this.loadModel = loadModel
    this.screen = screen
    this.flags = flags
    this.messages = this.opening()
  }

  get introduction(): string {
    const { id, description = '' } = this.model
    return `${id}: ${description}\n${peculiarity(this.model)}`
  }

  /** @returns whether there was an answer to stop */
  stop(): boolean {
    this.stopping?.abort()
    return this.stopping !== undefined
  }

  /** Answers a line, or does what it says. @returns false where it ends the chat */
  async take(line: string): Promise<boolean> {
    const [, command, argument = ''] = /^\/([a-z]+)(?:\s+(.*))?$/.exec(line.trim()) ?? []
    if (command === 'exit' || command === 'quit') return false
    if (command !== undefined) await this.obey(command, argument.trim())
    else if (line.trim() !== '') await this.answer(line)
    return true
  }

  private async obey(command: string, argument: string): Promise<void> {
    try {
      if (command === 'help') this.screen.note(HELP.trimEnd())
      else if (command === 'new' || command === 'clear') {
        this.messages = this.opening()
        this.screen.note('A new conversation.')
      } else if (command === 'save') await this.save(argument)
      else if (command === 'model') {
        if (argument !== '') this.model = await this.loadModel(argument)
        this.screen.note(this.introduction.trimEnd())
      } else this.screen.note(`There is no /${command}; /help lists what there is.`)
    } catch (error) {
      // A wrong name is no reason to lose the conversation.
      this.screen.note(error instanceof Error ? error.message : String(error))
    }
  }

  private async save(file: string): Promise<void> {
    const turns = this.messages.filter(
      ({ role, content }) => (role === 'user' || role === 'assistant') && content !== '',
    )
    if (turns.length === 0) return this.screen.note('There is nothing to save yet.')
    const path = file || `chat-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.md`
    const text = turns.map(
      ({ role, content }) => `## ${role === 'user' ? 'You' : this.model.id}\n\n${content.trim()}\n`,
    )
    try {
      await writeFile(path, text.join('\n'), { flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      throw new Error(`${path} is there already; choose another name.`)
    }
    this.screen.note(`Saved in ${path}.`)
  }

  private async answer(line: string): Promise<void> {
    this.stopping = new AbortController()
    this.messages.push({ role: 'user', content: line })
    const answer = await this.say(this.stopping.signal)
    if (answer === undefined) this.messages.pop()
    else this.messages.push(...answer)
    this.stopping = undefined
  }

  /**
   * Writes the answer as it comes, and returns it: as far as it went, where it was stopped, behind what was looked up for
   * it. Undefined where the message cannot be answered, which is said.
   */
  private async say(signal: AbortSignal): Promise<ChatMessage[] | undefined> {
    const { model, messages, screen, flags } = this
    const [{ fitConversation }, { toolRounds }] = await Promise.all([
      import('../generate/fit-conversation.ts'),
      import('../server/tool-rounds.ts'),
    ])
    const text = messages.map(({ content }) => content).join('')
    // What a model continues is all that was written so far, by either side.
    const conversation = model.canChat ? messages : [{ role: 'user' as const, content: text }]
    const { promptIds, omitted } = await fitConversation(model, conversation, flags.maxNewTokens)
    const longest = model.contextLength - (model.answerLength === undefined ? 1 : 0)
    if (promptIds.length > longest) {
      screen.note(`${model.id} takes ${longest} tokens, and this has ${promptIds.length}; shorten it.`)
      return undefined
    }
    if (omitted > 0) {
      const left = model.canChat ? `the first ${omitted} messages` : `the first ${omitted} tokens`
      screen.note(`(${left} no longer fit the context; /new starts anew)`)
    }
    const promptWith = async (turns: readonly ChatMessage[]) => {
      const { promptIds } = await fitConversation(model, [...messages, ...turns], flags.maxNewTokens)
      return promptIds.length > longest ? undefined : promptIds
    }
    const { toolset } = model
    const write = (request: GenerationRequest) => model.generate(request)
    const request = { ...flags, promptIds, signal }
    const lookedUp: ChatMessage[] = []
    let answer = ''
    let end: EndEvent | undefined
    try {
      for await (const event of toolset ? toolRounds(model, { toolset, promptWith }, request, write) : write(request)) {
        if (event.type === 'end') end = event
        if (event.type === 'tool') {
          const { call, result } = event
          screen.note(`${call.name}: ${argumentsText(call.arguments)} → ${result}`, 'faint')
          lookedUp.push(
            { role: 'assistant', content: '', toolCalls: [call] },
            { role: 'tool', content: result, toolCallId: call.id },
          )
        }
        if (event.type !== 'token') continue
        answer += event.text
        screen.piece(event.text)
      }
    } catch (error) {
      if (!signal.aborted) throw error
    }
    screen.end()
    screen.note(end ? figures(end) : 'stopped', 'faint')
    return [...lookedUp, { role: 'assistant', content: answer }]
  }

  private opening(): ChatMessage[] {
    const { system } = this.flags
    return system === undefined ? [] : [{ role: 'system', content: system }]
  }
}

/** What a tool is called with, in a few words: `brave, opposite`. */
function argumentsText(json: string): string {
  try {
    return Object.values(JSON.parse(json) as object)
      .map((value) => `${value}`.trim())
      .join(', ')
  } catch {
    return json
  }
}

/** `41 tokens · 52 tokens/s · first after 40 ms` */
function figures({ completionTokens: tokens, decodeMs, promptMs, reason }: EndEvent): string {
  const parts = [`${tokens} ${tokens === 1 ? 'token' : 'tokens'}`]
  // The first token belongs to the prompt's time.
  if (tokens > 1 && decodeMs > 0) parts.push(`${Math.round((1000 * (tokens - 1)) / decodeMs)} tokens/s`)
  parts.push(`first after ${Math.round(promptMs)} ms`)
  if (reason === 'length') parts.push('cut off at the token limit (--max-new-tokens)')
  return parts.join(' · ')
}

/** What a reader would not expect of an assistant. */
function peculiarity({ canChat, answerLength }: ServedModel): string {
  if (!canChat) return 'It was only pre-trained: it continues what you write.\n'
  return answerLength === undefined ? '' : 'It answers each message by itself: it remembers none.\n'
}
