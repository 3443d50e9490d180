/** Native objects freed once: by `release`, or when their owner is collected; never under a call in flight. */
export class Native<State> {
  readonly #what: string
  #free: ((state: State) => void) | undefined
  readonly #state: State
  #calls = 0
  #released = false

  /** @param what - the object's name in the error for a use after release. */
  constructor(what: string, state: State, free: (state: State) => void) {
    this.#what = what
    this.#state = state
    this.#free = free
  }

  /** @throws Error after `release`. */
  get state(): State {
    if (this.#released) throw new Error(`${this.#what} was released and can no longer be used`)
    return this.#state
  }

  /** Runs `call` with the state; a `release` meanwhile takes effect when it has settled. */
  async use<Result>(call: (state: State) => Promise<Result>): Promise<Result> {
    const { state } = this
    this.#calls++
    try {
      return await call(state)
    } finally {
      this.#calls--
      this.#freeIfIdle()
    }
  }

  /** Frees the object when `owner` is collected. `state` and `free` must not refer to the owner. */
  ownedBy(owner: object): this {
    REGISTRY.register(owner, this as Native<unknown>, this)
    return this
  }

  release(): void {
    this.#released = true
    this.#freeIfIdle()
  }

  #freeIfIdle(): void {
    if (!this.#released || this.#calls > 0 || !this.#free) return
    REGISTRY.unregister(this)
    const free = this.#free
    this.#free = undefined
    free(this.#state)
  }
}

export interface Holdable {
  use<Result>(call: () => Promise<Result>): Promise<Result>
}

/** Runs `call` with all of them in use: a `release` meanwhile takes effect when it has settled. */
export const holdAll = <Result>(natives: readonly Holdable[], call: () => Promise<Result>): Promise<Result> =>
  natives.reduceRight((inner, native) => () => native.use(inner), call)()

const REGISTRY = new FinalizationRegistry<Native<unknown>>((native) => native.release())
