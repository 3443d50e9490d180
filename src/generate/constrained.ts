import type { Automaton, Stack, State } from './automaton.ts'
import { GrammarError } from './grammar.ts'
import type { Vocabulary } from './vocabulary.ts'

/**
 * Decoding within a grammar: before a token is drawn, those after which the text could not be finished any more are taken
 * away. Which these are depends on the automaton's state alone, so it is worked out once for each state, by one walk over
 * the vocabulary's trie, and kept as one bit for each token.
 *
 * Most of a walk depends on less than the state: on the place where it reads. What is known of a place whoever called its
 * rule serves all states that read there, however deep (Dong et al., XGrammar, 2024, arXiv 2411.15100, §3.1); only tokens
 * that go on beyond the rule's end are walked for each state.
 */

/** Bits of tokens that one grammar keeps, in bytes. */
const MOST_MASK_BYTES = 1 << 23
/** Where a text may be read in more ways than these, the state is walked as one. */
const MOST_OPEN = 4
/** Deeper than this, the automaton's own limit may matter, and it depends on the whole state. */
const DEEP = 170
/** Stacks worked on for the first token of an answer, and more of them with every token. */
const FIRST_WORK = 3_000_000
const WORK_PER_TOKEN = 30_000

/** What a place says of all tokens. */
interface OpenMask {
  /** Those that end within its rule. */
  readonly mask: Uint32Array
  /** Nodes at which its rule may end. */
  readonly exits: readonly number[]
  readonly depth: number
}

/** A grammar and a vocabulary, for any number of answers. */
export class CompiledGrammar {
  private readonly words: number
  private masks = new Map<State, Uint32Array>()
  private open = new Map<number, OpenMask>()

  constructor(
    readonly automaton: Automaton,
    readonly vocabulary: Vocabulary,
  ) {
    this.words = Math.ceil(vocabulary.size / 32)
  }

  /** One bit for each token with which a text in this state may go on; not to be changed. */
  maskOf(state: State): Uint32Array {
    let mask = this.masks.get(state)
    if (mask) return mask
    if ((this.masks.size + this.open.size) * this.words * 4 > MOST_MASK_BYTES) {
      this.masks = new Map()
      this.open = new Map()
    }
    mask = new Uint32Array(this.words)
    const opens = state.stacks.length > MOST_OPEN ? undefined : this.opensOf(state)
    if (opens) for (const [stack, open] of opens) this.addOpen(mask, stack, open)
    else this.walk(0, this.vocabulary.endOf.length, state, mask)
    this.masks.set(state, mask)
    return mask
  }

  private opensOf(state: State): [Stack, OpenMask][] | undefined {
    const opens = state.stacks
      .filter((stack) => !this.automaton.isBottom(stack))
      .map((stack): [Stack, OpenMask] => [stack, this.openMask(stack.place)])
    return opens.some(([, { depth }]) => state.depth + depth > DEEP) ? undefined : opens
  }

  private openMask(place: number): OpenMask {
    let open = this.open.get(place)
    if (!open) {
      const mask = new Uint32Array(this.words)
      const exits: number[] = []
      const depth = this.walk(0, this.vocabulary.endOf.length, this.automaton.openAt(place), mask, exits)
      open = { mask, exits, depth }
      this.open.set(place, open)
    }
    return open
  }

  private addOpen(mask: Uint32Array, stack: Stack, { mask: within, exits }: OpenMask): void {
    for (let i = 0; i < mask.length; i++) mask[i] |= within[i]
    if (exits.length === 0) return
    const after = this.automaton.after(stack)
    for (const node of exits) {
      this.mark(node, mask)
      if (!after.isFinal) this.walk(node + 1, this.vocabulary.endOf[node], after, mask)
    }
  }

  private mark(node: number, mask: Uint32Array): void {
    const { firstOf, ids } = this.vocabulary
    for (let i = firstOf[node]; i < firstOf[node + 1]; i++) mask[ids[i] >>> 5] |= 1 << (ids[i] & 31)
  }

  /**
   * Marks the tokens of nodes that are reached from a state.
   *
   * @param exits - filled with the nodes at which an open state's rule may end
   * @returns how deep calls were nested
   */
  private walk(from: number, to: number, start: State, mask: Uint32Array, exits?: number[]): number {
    const { byteOf, endOf } = this.vocabulary
    const { automaton } = this
    const states = [start]
    const ends = [to]
    let deepest = start.depth
    let top = 0
    for (let node = from; node < to; ) {
      while (node >= ends[top]) top--
      const next = automaton.step(states[top], byteOf[node])
      if (!next) {
        node = endOf[node]
        continue
      }
      if (next.isOpen) exits?.push(node)
      if (!next.isOpen || next.stacks.length > 1) this.mark(node, mask)
      if (next.depth > deepest) deepest = next.depth
      top++
      states[top] = next
      ends[top] = endOf[node]
      node++
    }
    return deepest
  }
}

/** One answer within a grammar: what may come next, and where it stands. */
export class Constraint {
  private state: State
  private work = FIRST_WORK

  constructor(private readonly grammar: CompiledGrammar) {
    this.state = grammar.automaton.start
  }

  /** The text may end here. */
  get accepts(): boolean {
    return this.state.accepts
  }

  /** The text must end here. */
  get isFinal(): boolean {
    return this.state.isFinal
  }

  /**
   * Takes away the logits of all tokens that cannot come next.
   *
   * @param ends - tokens that end a text: left where it may end
   * @throws GrammarError where no token is left, or the work exceeds what one answer may ask for
   */
  apply(logits: Float32Array, ends: ReadonlySet<number>): void {
    const mask = this.counted(() => this.grammar.maskOf(this.state))
    const kept = [...ends].map((id) => (this.accepts ? logits[id] : Number.NEGATIVE_INFINITY))
    let any = this.accepts && ends.size > 0
    for (let word = 0; word < mask.length; word++) {
      const bits = mask[word]
      if (bits !== 0) any = true
      if (bits === 0xffffffff) continue
      const first = 32 * word
      if (bits === 0) logits.fill(Number.NEGATIVE_INFINITY, first, first + 32)
      else {
        const end = Math.min(first + 32, logits.length)
        for (let id = first; id < end; id++) if (!((bits >>> (id - first)) & 1)) logits[id] = Number.NEGATIVE_INFINITY
      }
    }
    let i = 0
    for (const id of ends) logits[id] = kept[i++]
    if (!any) throw new GrammarError('no token of the model goes on as the grammar asks')
  }

  /** Takes the token that was drawn. */
  advance(id: number): void {
    const bytes = this.grammar.vocabulary.bytesOf(id) ?? []
    this.counted(() => {
      let state: State | null = this.state
      for (const byte of bytes) state = state && this.grammar.automaton.step(state, byte)
      if (!state) throw new GrammarError('the text has left its grammar')
      this.state = state
    })
  }

  private counted<T>(run: () => T): T {
    const { automaton } = this.grammar
    const before = automaton.work
    const result = run()
    this.work += WORK_PER_TOKEN - (automaton.work - before)
    if (this.work < 0) throw new GrammarError('the grammar takes too much work: make it smaller, or less ambiguous')
    return result
  }
}
