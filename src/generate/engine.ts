import { type CachedDecoder, isSame, PROMPT_PIECE, type Prompt } from './decoder.ts'
import { type EngineEvent, type EngineRequest, Sequence } from './sequence.ts'

/** Tokens of a prompt that are computed between two steps of the answers in progress. */
const PROMPT_TURN = 512

/** A sequence's place in the cache. Slots of sequences that decode come first, so that one batch holds them all. */
interface Slot {
  /** What came before the ids, where it still holds: it has `head` positions. */
  prompt?: Prompt
  head: number
  /** Tokens whose keys and values the slot holds behind that. */
  ids: number[]
  /** How many of these were computed as a prompt; the others are an answer's. */
  read: number
  sequence?: Sequence
  lastUsed: number
}

/** Positions that a slot holds. */
const lengthOf = ({ head, ids }: Slot): number => head + ids.length

/**
 * Decodes many requests in one batch (continuous batching: Yu et al., Orca, 2022): a request joins as soon as a slot is
 * free and leaves when it ends. What a slot computed stays there until it is needed, so a prompt that begins as an
 * earlier one did is computed only from where they part. Ids in, ids out, whatever the model is made of. The decoder's slots
 * are the engine's own while it runs.
 */
export class Engine {
  private readonly slots: Slot[]
  /** How many slots decode: the first ones. */
  private decoding = 0
  private readonly waiting: Sequence[] = []
  private running = false
  private clock = 0

  constructor(private readonly decoder: CachedDecoder) {
    this.slots = Array.from({ length: decoder.slots }, emptySlot)
  }

  /**
   * Answers a request, token by token. The token that ended the answer is told, too.
   *
   * @throws RangeError where the prompt is empty or longer than the context
   */
  async *generate(request: EngineRequest): AsyncGenerator<EngineEvent> {
    const ids = this.decoder.restOf(request)
    const { promptIds = ids, promptEmbeds, bidirectional, initialCache, scorePrompt, signal } = request
    const { capacity } = this.decoder
    if (promptIds.length === 0 && !promptEmbeds) throw new RangeError('the prompt has no tokens')
    if (promptIds.length > capacity) {
      throw new RangeError(`the prompt has ${promptIds.length} tokens; the model takes ${capacity}`)
    }
    if (scorePrompt && (request.sourceIds || promptEmbeds || bidirectional || initialCache)) {
      throw new RangeError('only a prompt that is read token by token from its first on has probabilities')
    }
    signal?.throwIfAborted()
    const sequence = new Sequence(request, ids, this.decoder)
    this.waiting.push(sequence)
    void this.run()
    yield* sequence.read()
  }

  /** One step after another, as long as there is something to do. */
  private async run(): Promise<void> {
    if (this.running) return
    this.running = true
    try {
      while (this.waiting.length > 0 || this.decoding > 0 || this.prefilling) {
        this.dropAbandoned()
        this.admit()
        if (this.prefilling) await this.prefillTurn(this.prefilling)
        if (this.decoding > 0) await this.decodeStep()
      }
    } catch (error) {
      for (const slot of this.slots) {
        slot.sequence?.fail(error)
        Object.assign(slot, emptySlot())
      }
      for (const sequence of this.waiting.splice(0)) sequence.fail(error)
      this.decoding = 0
    } finally {
      this.running = false
    }
  }

  /** The one sequence whose prompt is being computed: right behind those that decode. */
  private get prefilling(): Sequence | undefined {
    return this.slots[this.decoding]?.sequence
  }

  private dropAbandoned(): void {
    for (let i = this.decoding - 1; i >= 0; i--) if (this.slots[i].sequence?.abandoned) this.leave(i)
    if (this.prefilling?.abandoned) this.slots[this.decoding].sequence = undefined
    for (let i = this.waiting.length - 1; i >= 0; i--) if (this.waiting[i].abandoned) this.waiting.splice(i, 1)
  }

  /** Gives the next waiting request a slot: the one that shares the longest beginning with it, or the one idle longest. */
  private admit(): void {
    if (this.prefilling || this.decoding === this.slots.length) return
    const sequence = this.waiting.shift()
    if (!sequence) return
    // A token that is read with others is computed otherwise than one that is written, in its last bits.
    const kept = this.slots.map(({ ids, read }) => (this.decoder.deterministic ? read : ids.length))
    const shared = this.slots.map((slot, i) => sharedLength(slot, kept[i], sequence))
    const best = shared.indexOf(Math.max(...shared))
    const begins = shared[best] >= 0
    const idle = this.slots.map((_, i) => i).slice(this.decoding)
    const oldest = idle.reduce((a, b) => (this.slots[b].lastUsed < this.slots[a].lastUsed ? b : a))
    // A slot of which little would be kept is left to its own conversation; the shared beginning is copied.
    const keepsMost = begins && 2 * shared[best] >= lengthOf(this.slots[best])
    const target = best >= this.decoding && (idle.length === 1 || keepsMost) ? best : oldest
    const { prompt, head } = this.slots[best]
    if (begins) {
      this.decoder.copySlot(best, target, shared[best])
      sequence.cachedTokens = sequence.request.sourceIds?.length ?? shared[best]
      const ids = sequence.ids.slice(0, shared[best] - head)
      Object.assign(this.slots[target], { prompt, head, ids, read: Math.min(this.slots[best].read, ids.length) })
    } else Object.assign(this.slots[target], emptySlot())
    this.swap(target, this.decoding)
    this.slots[this.decoding].sequence = sequence
  }

  private async prefillTurn(sequence: Sequence): Promise<void> {
    const place = this.decoding
    const slot = this.slots[place]
    slot.lastUsed = ++this.clock
    try {
      const logits = await this.computeTurn(place, slot, sequence)
      if (!logits || slot.ids.length < sequence.ids.length) return
      this.decoding++
      if (this.accepts(sequence, logits, slot)) this.leave(place)
    } catch (error) {
      // A prompt that cannot be computed is nobody else's trouble.
      sequence.fail(error)
      Object.assign(slot, emptySlot())
    }
  }

  /** Opens the slot, or computes the next turn of ids. @returns logits after it, where there are any */
  private async computeTurn(place: number, slot: Slot, sequence: Sequence): Promise<Float32Array | undefined> {
    const { ids, request } = sequence
    if (!slot.prompt) {
      const { length, logits } = await this.decoder.open(place, request, request.signal)
      Object.assign(slot, { prompt: request, head: length })
      sequence.promptTokens = length
      if (ids.length === 0) return logits
    }
    sequence.promptTokens = request.sourceIds?.length ?? slot.head + ids.length
    const from = slot.ids.length
    const turn = ids.slice(from, from + (request.scorePrompt ? PROMPT_PIECE : PROMPT_TURN))
    const rows = request.scorePrompt ? turn.length : 1
    const logits = await this.decoder.prefill(place, turn, slot.head + from, { rows, signal: request.signal })
    slot.ids.push(...turn)
    // In a deterministic decoder all that came before was read as well.
    slot.read = slot.ids.length
    const { vocabSize } = this.decoder
    if (request.scorePrompt) sequence.tellPrompt(from + 1, logits, vocabSize)
    return logits.subarray((rows - 1) * vocabSize)
  }

  private async decodeStep(): Promise<void> {
    const active = this.slots.slice(0, this.decoding)
    const newest = active.map(({ sequence }) => (sequence as Sequence).newestId)
    const { vocabSize, deterministic } = this.decoder
    // Where one is missing to an even number, the next slot takes a token behind all that it holds, and forgets it.
    const fills = deterministic && newest.length % 2 === 1 ? [0] : []
    const behind = this.slots.slice(0, newest.length + fills.length).map(lengthOf)
    const logits = await this.decoder.decode([...newest, ...fills], behind)
    for (let i = active.length - 1; i >= 0; i--) {
      const slot = active[i]
      slot.ids.push(newest[i])
      slot.lastUsed = ++this.clock
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
      if (this.accepts(slot.sequence as Sequence, row, slot)) this.leave(i)
    }
  }

  /** Chooses a sequence's next token. @returns whether it has ended: where none can be chosen, with an error of its own */
  private accepts(sequence: Sequence, logits: Float32Array, slot: Slot): boolean {
    try {
      return sequence.accept(logits, this.hasRoom(slot))
    } catch (error) {
      sequence.fail(error)
      return true
    }
  }

  /** Whether the next token may be followed by another: the last one needs no place in the cache. */
  private hasRoom(slot: Slot): boolean {
    return lengthOf(slot) < this.decoder.capacity
  }

  /** Frees the slot of a sequence that decoded; its cache stays for whoever begins the same way. */
  private leave(place: number): void {
    this.slots[place].sequence = undefined
    const last = this.decoding - 1
    this.swap(place, last)
    this.decoding--
    // A prompt in progress keeps its place right behind the decoding ones.
    if (this.slots[last + 1]?.sequence) this.swap(last, last + 1)
  }

  private swap(a: number, b: number): void {
    if (a === b) return
    this.decoder.swapSlots(a, b, Math.max(lengthOf(this.slots[a]), lengthOf(this.slots[b])))
    ;[this.slots[a], this.slots[b]] = [this.slots[b], this.slots[a]]
  }
}

const emptySlot = (): Slot => ({ prompt: undefined, head: 0, ids: [], read: 0, sequence: undefined, lastUsed: 0 })

/**
 * How many positions of a slot a sequence need not compute again; −1 where not even what comes before the ids fits.
 *
 * @param kept - how many of the slot's ids may be used again
 */
function sharedLength({ prompt, head, ids }: Slot, kept: number, { request, ids: wanted }: Sequence): number {
  if (!prompt || wanted.length === 0 || !opensAlike(prompt, request)) return -1
  // The last token to be computed always is: its logits are needed. Where the prompt is to be scored, all are.
  const most = request.scorePrompt ? 0 : wanted.length - 1
  let length = 0
  while (length < most && length < kept && ids[length] === wanted[length]) length++
  return head + length
}

const opensAlike = (a: Prompt, b: Prompt): boolean =>
  a.promptEmbeds === b.promptEmbeds &&
  a.initialCache === b.initialCache &&
  a.blanks === b.blanks &&
  !a.bidirectional === !b.bidirectional &&
  (!a.bidirectional || isSame(a.promptIds ?? [], b.promptIds ?? [])) &&
  isSame(a.sourceIds ?? [], b.sourceIds ?? [])
