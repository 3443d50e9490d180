import { JACKDAW_CHAT_TEMPLATE, type ToolSpec } from '../../src/data/instruction/conversation.ts'
import { Automaton } from '../../src/generate/automaton.ts'
import { CompiledGrammar, Constraint } from '../../src/generate/constrained.ts'
import { argMax } from '../../src/generate/sampling.ts'
import { toolTemplateOf } from '../../src/generate/tool-calls.ts'
import type { ChatMessage, GenerationEvent, GenerationRequest, ServedModel, Toolset } from '../../src/generate/types.ts'
import { Vocabulary } from '../../src/generate/vocabulary.ts'

/** What the model reads: the conversation itself. */
export interface Told {
  readonly messages: readonly ChatMessage[]
  readonly tools: readonly ToolSpec[]
}

const END = 256
const VOCABULARY = new Vocabulary(
  Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  END + 1,
)

/**
 * Says what a test wrote, byte by byte, as far as the request's grammar lets it; where that asks for something else, it
 * writes what ends soonest. The grammar works as in an engine.
 */
export class GuidedModel implements ServedModel {
  readonly created = 1_700_000_000
  readonly contextLength = 100_000
  readonly vocabSize = END + 1
  readonly canChat = true
  readonly canEmbed = false
  readonly description = 'A model that says what it is told to.'
  readonly toolTemplate
  readonly requests: GenerationRequest[] = []
  readonly told: Told[] = []

  constructor(
    readonly id: string,
    private readonly script: (told: Told) => string,
    readonly toolset?: Toolset,
    template = JACKDAW_CHAT_TEMPLATE,
  ) {
    this.toolTemplate = toolTemplateOf(template)
  }

  encode(text: string): number[] {
    return [...Buffer.from(text)]
  }

  decode(ids: readonly number[]): string {
    return Buffer.from(ids.filter((id) => id < END)).toString()
  }

  renderChat(messages: readonly ChatMessage[], _: unknown, tools: readonly ToolSpec[] = []): number[] {
    return this.encode(JSON.stringify({ messages, tools }))
  }

  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent, void, void> {
    const { promptIds, grammar, maxNewTokens = 256 } = request
    this.requests.push(request)
    const told = JSON.parse(this.decode(promptIds)) as Told
    this.told.push(told)
    const script = this.encode(this.script(told))
    const constraint = grammar && new Constraint(new CompiledGrammar(new Automaton(grammar), VOCABULARY))
    const detokenizer = new TextDecoder()
    let tokens = 0
    for (let follows = true; tokens < maxNewTokens && !constraint?.isFinal; tokens++) {
      // What ends soonest: the text, its strings and brackets, then digits and letters.
      const logits = Float32Array.from({ length: END + 1 }, (_, id) => (id === 0x20 ? -1 : -id / 1000))
      for (const [rank, character] of [...'}]"0'].entries()) logits[character.charCodeAt(0)] = 4 - rank
      logits[END] = 9
      if (follows && tokens < script.length) logits[script[tokens]] = 99
      constraint?.apply(logits, new Set([END]))
      const id = argMax(logits)
      follows &&= id === script[tokens]
      if (id === END) break
      constraint?.advance(id)
      yield { type: 'token', id, text: detokenizer.decode(Uint8Array.of(id), { stream: true }) }
    }
    const reason = tokens === maxNewTokens && !constraint?.isFinal ? 'length' : 'stop'
    const figures = { promptTokens: promptIds.length, cachedTokens: 0, completionTokens: tokens }
    yield { type: 'end', reason, ...figures, promptMs: 1, decodeMs: tokens }
  }

  embed(): Promise<Float32Array[]> {
    return Promise.reject(new Error('it makes no embeddings'))
  }
}
