import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type {
  ChatMessage,
  GenerationEvent,
  GenerationRequest,
  ServedModel,
  TemplateVariables,
} from '../../src/generate/types.ts'

const wordList =
  'the jackdaw sat on a tower and saw eleven coins shine in snow while bells rang over roofs as children ran home'
/** Ids 0 to 255 are bytes; then come words, each with a space before it. The last one ends the text. */
const words = wordList.split(' ').map((word) => ` ${word}`)
const firstWord = 256
const endOfText = firstWord + words.length

export interface MockOptions {
  id?: string
  canChat?: boolean
  canEmbed?: boolean
  contextLength?: number
  /** How many answers it writes at once. */
  slots?: number
  /** Between two tokens, and for each text that is embedded. */
  delayMs?: number
  /** How many tokens come before the end of text. */
  length?: number
  /** Thrown after this many tokens. */
  failAfter?: number
}

/**
 * A model whose answers follow from the prompt and the seed alone: byte tokens in, canned words out, with the engine's
 * treatment of stop strings, lengths, aborts and log-probabilities.
 */
export class MockModel implements ServedModel {
  readonly id: string
  readonly created = 1_700_000_000
  readonly contextLength: number
  readonly vocabSize = endOfText + 1
  readonly slots?: number
  readonly description = 'A mock.'
  readonly canChat: boolean
  readonly canEmbed: boolean
  /** What the server asked, in order. */
  readonly requests: GenerationRequest[] = []
  /** What the template was told, in order. */
  readonly variables: (TemplateVariables | undefined)[] = []
  /** Tokens that were generated after their request was aborted. */
  tokensAfterAbort = 0
  running = 0
  /** Texts that were embedded. */
  embedded = 0
  private readonly options: MockOptions
  /** Prompts seen, for counting what is cached. */
  private readonly seen: (readonly number[])[] = []

  constructor(options: MockOptions = {}) {
    this.options = options
    this.id = options.id ?? 'mock'
    this.slots = options.slots
    this.canChat = options.canChat ?? true
    this.canEmbed = options.canEmbed ?? true
    this.contextLength = options.contextLength ?? 2_048
  }

  encode(text: string): number[] {
    return [...Buffer.from(text)]
  }

  decode(ids: readonly number[]): string {
    return Buffer.concat(
      ids.map((id) => (id < firstWord ? Buffer.from([id]) : Buffer.from(words[id - firstWord] ?? ''))),
    ).toString()
  }

  renderChat(messages: readonly ChatMessage[], variables?: TemplateVariables): number[] {
    this.variables.push(variables)
    if (!this.canChat) throw new Error('a base model has no template')
    const roles = messages.filter(({ role }) => role !== 'system').map(({ role }) => role)
    if (roles.some((role, index) => role === 'user' && roles[index - 1] === 'user')) {
      throw new Error('Conversation roles must alternate')
    }
    return this.encode(
      messages
        .map(({ role, content }) => `<${role}>${content}\n`)
        .join('')
        .concat('<assistant>'),
    )
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, void> {
    this.requests.push(request)
    this.running++
    try {
      yield* this.write(request)
    } finally {
      this.running--
    }
  }

  private async *write(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, void> {
    const { promptIds, maxNewTokens = 256, seed = 0, temperature = 1, stop = [], signal } = request
    const { length = 12, delayMs = 0, failAfter = Number.POSITIVE_INFINITY } = this.options
    signal?.throwIfAborted()
    if (promptIds.length + maxNewTokens > this.contextLength) throw new Error('the context is too short')
    const cachedTokens = Math.max(0, ...this.seen.map((ids) => sharedPrefix(ids, promptIds)))
    this.seen.push(promptIds)
    const end = (reason: 'stop' | 'length', completionTokens: number): GenerationEvent => ({
      type: 'end',
      reason,
      promptTokens: promptIds.length,
      cachedTokens: Math.min(cachedTokens, promptIds.length - 1),
      completionTokens,
      promptMs: 5,
      decodeMs: 10 * Math.max(0, completionTokens - 1),
    })

    let text = ''
    for (let step = 0; ; step++) {
      if (step === maxNewTokens) return yield end('length', step)
      if (step === length) return yield end('stop', step)
      if (step === failAfter) throw new Error('the mock was told to fail')
      await delay(delayMs, undefined, { signal }).catch(() => {})
      signal?.throwIfAborted()
      const id = this.choose(promptIds, temperature === 0 ? 0 : seed, step, request)
      const own = this.decode([id])
      // As an engine that holds back what may become a stop string; the mock's end no more than a token later.
      const at = stop.map((end) => (text + own).indexOf(end)).filter((at) => at >= 0)
      const shown = at.length > 0 ? (text + own).slice(text.length, Math.max(text.length, Math.min(...at))) : own
      text += shown
      if (signal?.aborted) this.tokensAfterAbort++
      yield {
        type: 'token',
        id,
        text: shown,
        ...(request.topLogProbs !== undefined && {
          logProb: -0.25,
          topLogProbs: Array.from({ length: request.topLogProbs }, (_, rank) => {
            const other = firstWord + ((id - firstWord + rank) % words.length)
            return { id: other, text: this.decode([other]), logProb: -0.25 * (rank + 1) }
          }),
        }),
      }
      if (at.length > 0) return yield end('stop', step + 1)
    }
  }

  private choose(promptIds: readonly number[], seed: number, step: number, { logitBias }: GenerationRequest): number {
    const forced = Object.entries(logitBias ?? {}).find(([, bias]) => bias === 100)
    if (forced) return Number(forced[0])
    const digest = createHash('sha256')
      .update(`${promptIds.join(',')}/${seed}/${step}`)
      .digest()
    return firstWord + (digest.readUInt32LE(0) % words.length)
  }

  async embed(inputs: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array[]> {
    for (const _ of inputs) {
      await delay(this.options.delayMs ?? 0, undefined, { signal }).catch(() => {})
      signal?.throwIfAborted()
      this.embedded++
    }
    return inputs.map((ids) => {
      const digest = createHash('sha256').update(ids.join(',')).digest()
      const vector = Float32Array.from({ length: 8 }, (_, index) => digest.readInt32LE(4 * index) / 2 ** 31)
      const norm = Math.hypot(...vector)
      return vector.map((value) => value / norm)
    })
  }
}

function sharedPrefix(a: readonly number[], b: readonly number[]): number {
  let shared = 0
  while (shared < a.length && a[shared] === b[shared]) shared++
  return shared
}
