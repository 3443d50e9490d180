import { logLikelihoods, type Score, type ScoringRequest } from '../eval/log-likelihoods.ts'
import { TreeScorer } from '../eval/token-tree.ts'
import { type BeamOptions, beamSearch } from '../generate/beam.ts'
import { CachedDecoder, type Writer, writerOf } from '../generate/decoder.ts'
import { Engine } from '../generate/engine.ts'
import { StopText } from '../generate/stop-text.ts'
import type { SamplingOptions } from '../generate/types.ts'
import { type LoadedModel, type LoadOptions, loadModel } from '../load/load.ts'
import type { Provider } from '../runtime/backend.ts'
import type { Weights } from '../runtime/compile.ts'
import type { Tokenizer } from '../text/tokenizer.ts'

/** How likely a text continues another: an answer after its question. */
export interface TextRequest {
  /** May be empty: the continuation then begins a text. */
  readonly context: string
  readonly continuation: string
}

export interface TextScore {
  /** log P(continuation | context), in nats. */
  readonly logProb: number
  /** Of the continuation. */
  readonly tokens: number
  /** Whether greedy decoding would write it. */
  readonly isGreedy: boolean
}

/** What prompts ask of a language model: how likely texts are, and what it writes. */
export interface LanguageModel {
  readonly name: string
  readonly kind: Writer['kind']
  /** Tokens of the longest text with what follows it; of an encoder-decoder, of the longest answer. */
  readonly contextLength: number
  /** Text to ids, with what the tokenizer puts before it. */
  encode(text: string): number[]
  /** As `logLikelihoods`, of ids. */
  scoreIds(requests: readonly ScoringRequest[], options?: WorkOptions): Promise<Score[]>
  logLikelihoods(requests: readonly TextRequest[], options?: WorkOptions): Promise<TextScore[]>
  /** Continues each prompt, or answers it where the model has an encoder. Greedy unless told otherwise. */
  generate(prompts: readonly string[], options?: WriteOptions): Promise<string[]>
}

export interface WorkOptions {
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

export interface WriteOptions extends WorkOptions, Pick<SamplingOptions, 'topP' | 'topK' | 'stop'> {
  /** Default 256. */
  maxNewTokens?: number
  /** Default 0: the likeliest token each time. */
  temperature?: number
  /** The same seed draws the same tokens: one for all prompts, each of which has a stream of its own, or one each. */
  seed?: number | readonly number[]
  /** Beam search over this many sequences instead. */
  numBeams?: number
  /** Of beam search: what log P is divided by. Default the length itself. */
  lengthPenalty?: number
  lengthNorm?: BeamOptions['lengthNorm']
}

export interface OpenOptions extends Pick<LoadOptions, 'quantize' | 'onProgress' | 'signal'> {
  provider?: Provider
  /** Sequences that are computed side by side. Default 8. */
  slots?: number
  /** Tokens of the longest prompt with its answer; the model's own, at most 8,192, where left out. */
  contextLength?: number
}

const DEFAULT_SLOTS = 8
const DEFAULT_CONTEXT = 8192
/** Tokens of an answer to a source, its start token included. */
const DEFAULT_ANSWER = 1024
const DEFAULT_MAX_NEW_TOKENS = 256
const DEFAULT_SEED = 1337
/** Prompts whose streams of draws are apart from those of other seeds. */
const STREAMS = 2 ** 20

/** Loads a model that writes for prompts: a folder, `hf:owner/name[@revision]`, `gguf:FILE` or the name of a shipped one. */
export async function openLanguageModel(reference: string, options: OpenOptions = {}): Promise<TextModel> {
  const loaded = await loadModel(reference, { ...options, mapped: true })
  try {
    return TextModel.create(reference, loaded, options)
  } finally {
    loaded.releaseFiles()
  }
}

/**
 * A loaded model with its tokenizer: texts in, likelihoods and texts out. What likelihoods need is compiled when the first
 * are asked for, and so is what writes.
 */
export class TextModel implements LanguageModel {
  readonly kind: Writer['kind']
  readonly contextLength: number
  /** Prompts that were too long so far, and lost their beginning. */
  cutPrompts = 0
  private readonly leading: readonly number[]
  private decoder?: Promise<CachedDecoder>
  private tree?: Promise<TreeScorer | undefined>

  private constructor(
    readonly name: string,
    private readonly tokenizer: Tokenizer,
    private readonly model: Writer,
    private readonly weights: Weights,
    private readonly stopTokenIds: readonly number[],
    private readonly options: OpenOptions,
  ) {
    this.kind = model.kind
    this.leading = this.hasEncoder ? [] : leadingIds(tokenizer)
    const longest = model.kind === 'causal' ? model.maxPositions : DEFAULT_ANSWER
    this.contextLength = Math.min(options.contextLength ?? Math.min(longest, DEFAULT_CONTEXT), longest)
  }

  private get hasEncoder(): boolean {
    return this.kind === 'encoder-decoder'
  }

  /** @throws Error where the model does not write text, or has no tokenizer */
  static create(
    name: string,
    {
      model,
      weights,
      tokenizer,
      stopTokenIds,
    }: Pick<LoadedModel, 'model' | 'tokenizer' | 'stopTokenIds'> & { weights: Weights },
    options: OpenOptions = {},
  ): TextModel {
    const writer = writerOf(model)
    if (!tokenizer) throw new Error(`${name} has no tokenizer.json, so it cannot be prompted with text`)
    return new TextModel(name, tokenizer, writer, weights, stopTokenIds, options)
  }

  private openDecoder(): Promise<CachedDecoder> {
    const { provider, slots = DEFAULT_SLOTS } = this.options
    return (this.decoder ??= CachedDecoder.create(this.model, this.weights, {
      ...{ slots, capacity: this.contextLength, provider, copyWeights: true },
    }))
  }

  private async openTree(): Promise<TreeScorer | undefined> {
    const { model, weights, options } = this
    if (model.kind !== 'causal') return undefined
    return (this.tree ??= TreeScorer.create(model, weights, { provider: options.provider, copyWeights: true }))
  }

  /**
   * The tokens of a continuation are those that the text has there when it is written as a whole: spaces at the end of the
   * context belong to it. What is too long loses its beginning.
   */
  async logLikelihoods(requests: readonly TextRequest[], options: WorkOptions = {}): Promise<TextScore[]> {
    const asked = requests.map((request) => this.encodePair(request))
    const scores = await this.scoreIds(asked, options)
    return scores.map(({ logProb, perToken, isGreedy }) => ({ logProb, tokens: perToken.length, isGreedy }))
  }

  async scoreIds(requests: readonly ScoringRequest[], { onProgress, signal }: WorkOptions = {}): Promise<Score[]> {
    const tree = await this.openTree()
    const scores = new Array<Score>(requests.length)
    let done = 0
    const score = async (
      places: readonly number[],
      by: (some: readonly ScoringRequest[], options: WorkOptions) => Promise<Score[]>,
    ): Promise<void> => {
      if (places.length === 0) return
      const before = done
      const onPart = (count: number): void => onProgress?.((done = before + count), requests.length)
      const found = await by(
        places.map((place) => requests[place]),
        { onProgress: onPart, signal },
      )
      for (const [i, place] of places.entries()) scores[place] = found[i]
    }
    const places = requests.map((_, place) => place)
    const isForTree = (place: number): boolean => tree?.takes(requests[place]) ?? false
    await score(places.filter(isForTree), (some, options) => (tree as TreeScorer).score(some, options))
    await score(
      places.filter((place) => !isForTree(place)),
      async (some, options) => logLikelihoods(await this.openDecoder(), some, options),
    )
    return scores
  }

  async generate(prompts: readonly string[], options: WriteOptions = {}): Promise<string[]> {
    const { numBeams = 1, onProgress } = options
    let done = 0
    const tell = (text: string): string => {
      onProgress?.(++done, prompts.length)
      return text
    }
    if (numBeams > 1) {
      const texts: string[] = []
      for (const prompt of prompts) texts.push(tell(await this.search(prompt, options)))
      return texts
    }
    // A new engine: what scoring left in the slots is not what an earlier one knew of.
    const decoder = await this.openDecoder()
    const engine = new Engine(decoder)
    return Promise.all(prompts.map(async (prompt, i) => tell(await this.write(engine, decoder, prompt, i, options))))
  }

  encode(text: string): number[] {
    if (this.hasEncoder) return this.tokenizer.encode(text)
    return [...this.leading, ...this.tokenizer.encode(text, { addSpecialTokens: false })]
  }

  release(): void {
    void this.decoder?.then((decoder) => decoder.release())
    void this.tree?.then((tree) => tree?.release())
  }

  private encodePair({ context, continuation }: TextRequest): { contextIds: number[]; continuationIds: number[] } {
    if (this.hasEncoder) {
      return {
        contextIds: this.tokenizer.encode(context),
        continuationIds: this.tokenizer.encode(continuation, { addSpecialTokens: false }),
      }
    }
    const before = context.trimEnd()
    const whole = this.encode(context + continuation)
    let length = this.encode(before).length
    if (length === 0) {
      const { bosTokenId, eosTokenId } = this.tokenizer
      const first = bosTokenId ?? eosTokenId
      if (first === undefined) {
        throw new Error(`${this.name} has no token that texts begin with: give every continuation a context`)
      }
      whole.unshift(first)
      length = 1
    }
    const room = this.contextLength + 1
    const cut = Math.max(0, whole.length - room)
    if (cut >= length) {
      throw new RangeError(`a continuation has ${whole.length - length} tokens; ${this.name} takes ${room - 1} at once`)
    }
    if (cut > 0) this.cutPrompts++
    return { contextIds: whole.slice(cut, length), continuationIds: whole.slice(length) }
  }

  private promptIds(prompt: string, maxNewTokens: number): number[] {
    const ids = this.encode(prompt)
    if (this.hasEncoder) return ids
    const room = this.contextLength - Math.min(maxNewTokens, this.contextLength >> 1)
    if (ids.length <= room) return ids
    this.cutPrompts++
    return ids.slice(-room)
  }

  private async write(
    engine: Engine,
    decoder: CachedDecoder,
    prompt: string,
    index: number,
    options: WriteOptions,
  ): Promise<string> {
    const {
      maxNewTokens = DEFAULT_MAX_NEW_TOKENS,
      temperature = 0,
      topK,
      topP,
      stop = [],
      seed = DEFAULT_SEED,
      signal,
    } = options
    const ids = this.promptIds(prompt, maxNewTokens)
    const stopText = new StopText(stop)
    const detokenizer = this.detokenizer(ids)
    let text = ''
    const request = {
      ...{
        maxNewTokens,
        temperature,
        topK,
        topP,
        signal,
        seed: typeof seed === 'number' ? seed * STREAMS + index : seed[index],
      },
      ...decoder.promptOf(ids),
      stopTokenIds: this.stopTokenIds,
      stopWhen: (id: number): boolean => {
        if (!this.stopTokenIds.includes(id)) text += stopText.push(detokenizer.push(id))
        return stopText.stopped
      },
    }
    for await (const event of engine.generate(request)) if (event.type === 'end') break
    return stopText.stopped ? text : text + stopText.push(detokenizer.flush()) + stopText.flush()
  }

  private async search(prompt: string, options: WriteOptions): Promise<string> {
    const { maxNewTokens = DEFAULT_MAX_NEW_TOKENS, numBeams: nBeams = 1, stop = [] } = options
    const { lengthPenalty, lengthNorm } = options
    const ids = this.promptIds(prompt, maxNewTokens)
    const decoder = await this.openDecoder()
    const found = await beamSearch(decoder, decoder.promptOf(ids), {
      ...{ nBeams, lengthPenalty, lengthNorm, maxNewTokens },
      stopTokenIds: [...this.stopTokenIds, ...stop.flatMap((text) => this.idsBeginningWith(text))],
    })
    const stopText = new StopText(stop)
    const detokenizer = this.detokenizer(ids)
    const text = found
      .filter((id) => !this.stopTokenIds.includes(id))
      .map((id) => stopText.push(detokenizer.push(id)))
      .join('')
    return stopText.stopped ? text : text + stopText.push(detokenizer.flush()) + stopText.flush()
  }

  /** For what follows these ids: a space between them and it is kept. */
  private detokenizer(promptIds: readonly number[]) {
    const detokenizer = this.tokenizer.stream({ skipSpecialTokens: true })
    if (!this.hasEncoder) detokenizer.push(promptIds[promptIds.length - 1])
    return detokenizer
  }

  /** Tokens that a sequence cannot go on from: what they say begins with the text that ends it. */
  private idsBeginningWith(text: string): number[] {
    const all = Array.from({ length: this.tokenizer.vocabSize }, (_, id) => id)
    return all.filter((id) => this.tokenizer.decode([id]).startsWith(text))
  }
}

/** What the tokenizer puts before a text: the token that texts begin with, or nothing. What it puts behind is left out. */
function leadingIds(tokenizer: Tokenizer): number[] {
  const bare = tokenizer.encode('a', { addSpecialTokens: false })
  const whole = tokenizer.encode('a')
  const at = whole.findIndex((_, i) => bare.every((id, j) => whole[i + j] === id))
  return whole.slice(0, Math.max(0, at))
}
