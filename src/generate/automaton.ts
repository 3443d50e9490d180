import { type Expression, type Grammar, GrammarError } from './grammar.ts'

/**
 * A grammar as a pushdown automaton over bytes. Every rule is a finite automaton whose edges read a byte or call another
 * rule; where a text may be read in several ways, a state holds the stacks of all of them. Stacks share what lies below
 * and equal states are one object, so that what was worked out for a state (its steps here, its masks in `constrained.ts`)
 * is there when it comes up again.
 */

/** Calls within calls. Nested deeper, a grammar's alternatives that would go on are no longer there. */
const MOST_DEPTH = 256
/** Of the automata of all rules together. */
const MOST_PLACES = 50_000
const MOST_RULES = 2_000
/** Ways in which one text may be read. */
const MOST_STACKS = 5_000
/** What is kept of states; when it is full, it begins anew. */
const MOST_STATES = 4_096

interface Place {
  /** Classes of bytes, both ends included, and where they lead. */
  readonly reads: { readonly from: number; readonly to: number; readonly target: number }[]
  readonly calls: { readonly rule: number; readonly target: number }[]
  readonly skips: number[]
}

/** Where a text stands in a rule, and in those that called it. */
export interface Stack {
  readonly id: number
  /** Negative at the bottom. */
  readonly place: number
  readonly below: Stack | undefined
  readonly depth: number
}

export interface State {
  readonly stacks: readonly Stack[]
  /** The text may end here. */
  readonly accepts: boolean
  /** No byte can follow. */
  readonly isFinal: boolean
  /** A place whose caller is not known has come to its end. */
  readonly isOpen: boolean
  readonly depth: number
  /** By class of bytes; null where it cannot follow. */
  readonly next: (State | null | undefined)[]
}

export class Automaton {
  /** Of each byte; bytes of one class lead to the same everywhere. */
  readonly classOf: Uint8Array
  /** How many stacks were ever worked on: what bounds the work for a grammar. */
  work = 0
  private readonly places: readonly Place[]
  /** Where each rule begins. */
  private readonly starts: readonly number[]
  private readonly ends: ReadonlySet<number>
  /** How many more calls within calls the shortest way to a rule's end takes. */
  private readonly needs: Float64Array
  private readonly nClasses: number
  private stacks = new Map<number, Stack>()
  private states = new Map<string, State>()
  private ids = 2
  private started: State | undefined
  /** A text is complete where this one comes up. */
  private readonly bottom: Stack = { id: 0, place: -1, below: undefined, depth: 0 }
  private readonly unknown: Stack = { id: 1, place: -2, below: undefined, depth: 0 }

  /** @throws GrammarError with one sentence where the grammar is none, is too large, or has no end */
  constructor(grammar: Grammar) {
    const { classOf, nClasses } = byteClasses(grammar)
    this.classOf = classOf
    this.nClasses = nClasses
    const { places, starts, ends, names } = compileRules(grammar, classOf)
    this.places = places
    this.starts = starts
    this.ends = ends
    this.needs = depthNeeds(places, starts, ends, names)
    refuseLeftRecursion(places, starts, ends, names)
  }

  /** Before the first byte. */
  get start(): State {
    this.started ??= this.closed([[this.starts[0], this.bottom]]) as State
    return this.started
  }

  /** At a place, whoever called its rule. */
  openAt(place: number): State {
    return this.closed([[place, this.unknown]]) as State
  }

  /** Behind the rule that a stack stands in. */
  after({ below }: Stack): State {
    if (below === this.bottom || below === undefined) return this.closed([], [this.bottom]) as State
    return this.closed([[below.place, below.below as Stack]]) as State
  }

  isBottom(stack: Stack): boolean {
    return stack.place < 0
  }

  /** The state after a byte, or null where none is. @throws GrammarError where a text has too many ways to be read */
  step(state: State, byte: number): State | null {
    const byteClass = this.classOf[byte]
    const known = state.next[byteClass]
    if (known !== undefined) return known
    const targets: [number, Stack][] = []
    for (const { place, below } of state.stacks) {
      if (place < 0) continue
      for (const { from, to, target } of this.places[place].reads) {
        if (from <= byteClass && byteClass <= to) targets.push([target, below as Stack])
      }
    }
    const next = targets.length === 0 ? null : this.closed(targets)
    state.next[byteClass] = next
    return next
  }

  /** All stacks that wait for a byte, from places that were reached; null where there are none. */
  private closed(reached: [number, Stack][], ended: Stack[] = []): State | null {
    const waiting = new Set<Stack>(ended)
    const seen = new Set<Stack>()
    const open = reached.map(([place, below]) => this.stack(place, below))
    for (let stack = open.pop(); stack; stack = open.pop()) {
      if (seen.has(stack)) continue
      seen.add(stack)
      this.work++
      const { place, below, depth } = stack
      // Where there is no room to come to an end, the way is not taken.
      if (depth + this.needs[place] > MOST_DEPTH) continue
      const { reads, calls, skips } = this.places[place]
      if (reads.length > 0) waiting.add(stack)
      for (const target of skips) open.push(this.stack(target, below as Stack))
      for (const { rule, target } of calls) {
        // What a rule ends with needs no way back: lists that end with the rest of the list stay flat.
        const caller = this.isEnd(target) ? (below as Stack) : this.stack(target, below as Stack)
        if (caller.place < 0 || caller.depth + this.needs[caller.place] <= MOST_DEPTH) {
          open.push(this.stack(this.starts[rule], caller))
        }
      }
      if (this.ends.has(place)) {
        const caller = below as Stack
        if (caller.place < 0) waiting.add(caller)
        else open.push(caller)
      }
      if (waiting.size > MOST_STACKS) throw new GrammarError('the grammar leaves a text too many ways to be read')
    }
    return waiting.size === 0 ? null : this.stateOf([...waiting])
  }

  private isEnd(place: number): boolean {
    const { reads, calls, skips } = this.places[place]
    return this.ends.has(place) && reads.length + calls.length + skips.length === 0
  }

  private stack(place: number, below: Stack): Stack {
    const key = below.id * this.places.length + place
    let stack = this.stacks.get(key)
    if (!stack) {
      stack = { id: this.ids++, place, below, depth: below.depth + 1 }
      this.stacks.set(key, stack)
    }
    return stack
  }

  private stateOf(stacks: Stack[]): State {
    stacks.sort((a, b) => a.id - b.id)
    const key = stacks.map(({ id }) => id).join()
    let state = this.states.get(key)
    if (!state) {
      if (this.states.size >= MOST_STATES) this.forget()
      const accepts = stacks[0] === this.bottom
      state = {
        stacks,
        accepts,
        isFinal: accepts && stacks.length === 1,
        isOpen: stacks[0] === this.unknown,
        depth: Math.max(...stacks.map(({ depth }) => depth)),
        next: new Array(this.nClasses),
      }
      this.states.set(key, state)
    }
    return state
  }

  /** Ids are not given again: what is in use goes on, and only equal states may then be two. */
  private forget(): void {
    this.states = new Map()
    this.stacks = new Map()
    this.started = undefined
  }
}

const automata = new WeakMap<Grammar, Automaton>()

/** The automaton of a grammar, compiled once. @throws GrammarError as its constructor does */
export function automatonOf(grammar: Grammar): Automaton {
  let automaton = automata.get(grammar)
  if (!automaton) {
    automaton = new Automaton(grammar)
    automata.set(grammar, automaton)
  }
  return automaton
}

/** Bytes that no rule tells apart. */
function byteClasses({ rules }: Grammar): { classOf: Uint8Array; nClasses: number } {
  const borders = new Uint8Array(257)
  const visit = (expression: Expression): void => {
    switch (expression.type) {
      case 'byte':
        for (const [from, to] of expression.ranges) borders[from] = borders[to + 1] = 1
        break
      case 'sequence':
        expression.parts.forEach(visit)
        break
      case 'choice':
        expression.options.forEach(visit)
        break
      case 'repeat':
        visit(expression.of)
    }
  }
  for (const expression of rules.values()) visit(expression)
  const classOf = new Uint8Array(256)
  for (let byte = 1; byte < 256; byte++) classOf[byte] = classOf[byte - 1] + borders[byte]
  return { classOf, nClasses: classOf[255] + 1 }
}

/** The automata of all rules that are reached from the root, which is the first. */
function compileRules({ root, rules }: Grammar, classOf: Uint8Array) {
  const places: Place[] = []
  const starts: number[] = []
  const ends = new Set<number>()
  const names: string[] = []
  const numbers = new Map<string, number>()
  const bodies: Expression[] = []

  const place = (): number => {
    if (places.length >= MOST_PLACES)
      throw new GrammarError(`the grammar is too large: ${MOST_PLACES} places are the most`)
    return places.push({ reads: [], calls: [], skips: [] }) - 1
  }
  const add = (name: string, body: Expression): number => {
    if (bodies.length >= MOST_RULES)
      throw new GrammarError(`the grammar is too large: ${MOST_RULES} rules are the most`)
    names.push(name)
    starts.push(place())
    return bodies.push(body) - 1
  }
  const numberOf = (name: string): number => {
    let number = numbers.get(name)
    if (number === undefined) {
      const body = rules.get(name)
      if (!body) throw new GrammarError(`the grammar has no rule "${name}"`)
      number = add(name, body)
      numbers.set(name, number)
    }
    return number
  }
  /** Builds what an expression reads after a place. @returns the place behind it */
  const build = (expression: Expression, from: number, name: string): number => {
    switch (expression.type) {
      case 'byte': {
        const target = place()
        for (const [first, last] of expression.ranges) {
          places[from].reads.push({ from: classOf[first], to: classOf[last], target })
        }
        return target
      }
      case 'sequence':
        return expression.parts.reduce((at, part) => build(part, at, name), from)
      case 'choice': {
        const target = place()
        for (const option of expression.options) {
          const begin = place()
          places[from].skips.push(begin)
          places[build(option, begin, name)].skips.push(target)
        }
        return target
      }
      case 'rule': {
        const target = place()
        places[from].calls.push({ rule: numberOf(expression.name), target })
        return target
      }
      case 'repeat':
        return buildRepeat(expression, from, name)
    }
  }
  const buildRepeat = (
    { of, min, max }: Extract<Expression, { type: 'repeat' }>,
    from: number,
    name: string,
  ): number => {
    const copies = max === Number.POSITIVE_INFINITY ? min : max
    // What comes up many times is a rule of its own, so that each time takes one edge.
    let body = of
    if (copies > 2 && of.type !== 'byte' && of.type !== 'rule') {
      const number = add(name, of)
      body = { type: 'rule', name: `${name}#${number}` }
      numbers.set(body.name, number)
    }
    let at = from
    for (let i = 0; i < min; i++) at = build(body, at, name)
    if (max === Number.POSITIVE_INFINITY) {
      const loop = place()
      places[at].skips.push(loop)
      places[build(of, loop, name)].skips.push(loop)
      const target = place()
      places[loop].skips.push(target)
      return target
    }
    const target = place()
    for (let i = min; i < max; i++) {
      places[at].skips.push(target)
      at = build(body, at, name)
    }
    places[at].skips.push(target)
    return target
  }

  numberOf(root)
  for (let number = 0; number < bodies.length; number++) ends.add(build(bodies[number], starts[number], names[number]))
  return { places, starts, ends, names }
}

/** Of each place. @throws GrammarError where a rule cannot end, or only too deep */
function depthNeeds(
  places: readonly Place[],
  starts: readonly number[],
  ends: ReadonlySet<number>,
  names: readonly string[],
): Float64Array {
  const needs = new Float64Array(places.length).fill(Number.POSITIVE_INFINITY)
  untilStable(places.length, (i) => {
    const { reads, calls, skips } = places[i]
    let least = ends.has(i) ? 0 : needs[i]
    for (const { target } of reads) least = Math.min(least, needs[target])
    for (const target of skips) least = Math.min(least, needs[target])
    for (const { rule, target } of calls) least = Math.min(least, Math.max(1 + needs[starts[rule]], needs[target]))
    if (least >= needs[i]) return false
    needs[i] = least
    return true
  })
  for (const [rule, start] of starts.entries()) {
    if (needs[start] === Number.POSITIVE_INFINITY) {
      throw new GrammarError(`the rule "${names[rule]}" has no end: every text of it would have another one in it`)
    }
    if (needs[start] > MOST_DEPTH / 4) throw new GrammarError(`the rule "${names[rule]}" is nested too deep`)
  }
  return needs
}

/** @throws GrammarError where a rule comes up again in itself before a byte is read */
function refuseLeftRecursion(
  places: readonly Place[],
  starts: readonly number[],
  ends: ReadonlySet<number>,
  names: readonly string[],
): void {
  /** Of each place: its rule may end without another byte. */
  const isEmpty = new Uint8Array(places.length)
  untilStable(places.length, (i) => {
    const { calls, skips } = places[i]
    const becomes =
      ends.has(i) ||
      skips.some((target) => isEmpty[target] === 1) ||
      calls.some(({ rule, target }) => isEmpty[starts[rule]] === 1 && isEmpty[target] === 1)
    if (!becomes || isEmpty[i] === 1) return false
    isEmpty[i] = 1
    return true
  })
  /** Rules that are called from a rule's start before a byte is read. */
  const firstCalls = (start: number): number[] => {
    const seen = new Set<number>()
    const called = new Set<number>()
    const open = [start]
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      if (seen.has(at)) continue
      seen.add(at)
      open.push(...places[at].skips)
      for (const { rule, target } of places[at].calls) {
        called.add(rule)
        if (isEmpty[starts[rule]] === 1) open.push(target)
      }
    }
    return [...called]
  }
  const calls = starts.map(firstCalls)
  const state = new Uint8Array(starts.length)
  for (const first of starts.keys()) {
    const path = state[first] === 0 ? [{ rule: first, next: 0 }] : []
    while (path.length > 0) {
      const top = path[path.length - 1]
      state[top.rule] = 1
      const called = calls[top.rule][top.next++]
      if (called === undefined) {
        state[top.rule] = 2
        path.pop()
      } else if (state[called] === 1) {
        throw new GrammarError(`the rule "${names[called]}" begins with itself: let it read something first`)
      } else if (state[called] === 0) path.push({ rule: called, next: 0 })
    }
  }
}

/** Goes over all places until nothing changes; to and fro, as what one says follows from those behind it. */
function untilStable(count: number, change: (place: number) => boolean): void {
  for (let changed = true; changed; ) {
    changed = false
    for (let i = count - 1; i >= 0; i--) if (change(i)) changed = true
    if (!changed) return
    for (let i = 0; i < count; i++) if (change(i)) changed = true
  }
}
