import type { Tokenizer } from '../text/tokenizer.ts'
import type { CachedDecoder } from './decoder.ts'
import { Sequence } from './sequence.ts'
import type { GenerationEvent, GenerationRequest } from './types.ts'

/** Tokens of a prompt that are computed between two steps of the answers in progress. */
const PROMPT_TURN = 512

/** A sequence's place in the cache. Slots of sequences that decode come first, so that one batch holds them all. */
interface Slot {
  /** Tokens whose keys and values the slot holds. */
  ids: number[]
  sequence?: Sequence
  lastUsed: number
}

/**
 * Decodes many requests in one batch (continuous batching: Yu et al., Orca, 2022): a request joins as soon as a slot is
 * free and leaves when it ends. What a slot computed stays there until it is needed, so a prompt that begins as an
 * earlier one did is computed only from where they part.
 */
export class Engine {
  private readonly slots: Slot[]
  /** How many slots decode: the first ones. */
  private decoding = 0
  private readonly waiting: Sequence[] = []
  private running = false
  private clock = 0

  constructor(
    private readonly decoder: CachedDecoder,
    private readonly tokenizer: Tokenizer,
    private readonly stopTokenIds: readonly number[],
  ) {
    this.slots = Array.from({ length: decoder.slots }, () => ({ ids: [], lastUsed: 0 }))
  }

  /**
   * Answers a request, token by token.
   *
   * @throws RangeError where the prompt is empty or fills the context
   */
  async *generate(request: GenerationRequest): AsyncGenerator<GenerationEvent> {
    const { promptIds, signal } = request
    if (promptIds.length === 0) throw new RangeError('the prompt has no tokens')
    const longest = request.maxNewTokens === 0 ? this.decoder.capacity : this.decoder.capacity - 1
    if (promptIds.length > longest) {
      throw new RangeError(
        `the prompt has ${promptIds.length} tokens; the context of ${this.decoder.capacity} has no room for an answer`,
      )
    }
    signal?.throwIfAborted()
    const sequence = new Sequence(request, this.tokenizer, this.stopTokenIds)
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
        if (this.prefilling) await this.prefillTurn()
        if (this.decoding > 0) await this.decodeStep()
      }
    } catch (error) {
      for (const slot of this.slots) {
        slot.sequence?.fail(error)
        slot.sequence = undefined
        slot.ids = []
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
    const { promptIds } = sequence.request
    // The last token to be computed always is: its logits are needed.
    const most = sequence.toPrefill.length - 1
    const shared = this.slots.map(({ ids }) => Math.min(commonPrefix(ids, promptIds), most))
    const best = shared.indexOf(Math.max(...shared))
    const idle = this.slots.map((_, i) => i).slice(this.decoding)
    const oldest = idle.reduce((a, b) => (this.slots[b].lastUsed < this.slots[a].lastUsed ? b : a))
    // A slot of which little would be kept is left to its own conversation; the shared beginning is copied.
    const takesOver = best >= this.decoding && (idle.length === 1 || 2 * shared[best] >= this.slots[best].ids.length)
    const target = takesOver ? best : oldest
    if (target !== best) this.decoder.copySlot(best, target, shared[best])
    this.slots[target].ids = promptIds.slice(0, shared[best])
    this.swap(target, this.decoding)
    this.slots[this.decoding].sequence = sequence
    sequence.cachedTokens = shared[best]
  }

  private async prefillTurn(): Promise<void> {
    const place = this.decoding
    const slot = this.slots[place]
    const sequence = slot.sequence as Sequence
    const turn = sequence.toPrefill.slice(slot.ids.length, slot.ids.length + PROMPT_TURN)
    const logits = await this.decoder.prefill(place, turn, slot.ids.length)
    slot.ids.push(...turn)
    slot.lastUsed = ++this.clock
    if (slot.ids.length < sequence.toPrefill.length) return
    this.decoding++
    if (sequence.accept(logits, this.hasRoom(slot))) this.leave(place)
  }

  private async decodeStep(): Promise<void> {
    const active = this.slots.slice(0, this.decoding)
    const newest = active.map(({ sequence }) => (sequence as Sequence).newestId)
    const logits = await this.decoder.decode(
      newest,
      active.map(({ ids }) => ids.length),
    )
    const { vocabSize } = this.decoder
    for (let i = active.length - 1; i >= 0; i--) {
      const slot = active[i]
      slot.ids.push(newest[i])
      slot.lastUsed = ++this.clock
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize)
      if ((slot.sequence as Sequence).accept(row, this.hasRoom(slot))) this.leave(i)
    }
  }

  /** Whether one more token could be decoded after the next. */
  private hasRoom({ ids }: Slot): boolean {
    return ids.length + 1 < this.decoder.capacity
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
    const length = Math.max(this.slots[a].ids.length, this.slots[b].ids.length)
    this.decoder.swapSlots(a, b, length)
    ;[this.slots[a], this.slots[b]] = [this.slots[b], this.slots[a]]
  }
}

function commonPrefix(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}
