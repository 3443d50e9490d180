import type { ComparisonEvent, FinishReason } from './wire.ts'

type Told = Exclude<ComparisonEvent, { type: 'start' }>

/** Answers to one prompt that this process is writing: readers come late, are slow or leave, and they go on. */
export class LiveComparison {
  private readonly contents: string[]
  private readonly ends: (FinishReason | undefined)[]
  private readonly waiting = new Set<() => void>()

  constructor(
    answers: number,
    /** Ends all answers with what is written. */
    readonly stop: () => void,
  ) {
    this.contents = new Array<string>(answers).fill('')
    this.ends = new Array<FinishReason | undefined>(answers).fill(undefined)
  }

  add(place: number, delta: string): void {
    this.contents[place] += delta
    this.wake()
  }

  end(place: number, reason: FinishReason): void {
    this.ends[place] = reason
    this.wake()
  }

  contentOf(place: number): string {
    return this.contents[place]
  }

  get isDone(): boolean {
    return this.ends.every((reason) => reason !== undefined)
  }

  /** What comes after a snapshot that is taken now: the texts so far, and what follows them. */
  follow(): { contents: readonly string[]; ends: readonly (FinishReason | undefined)[]; events: AsyncGenerator<Told> } {
    const contents = [...this.contents]
    const ends = [...this.ends]
    return { contents, ends, events: this.after([...contents], [...ends]) }
  }

  private async *after(contents: string[], ends: (FinishReason | undefined)[]): AsyncGenerator<Told, void, void> {
    for (;;) {
      for (const [place, content] of this.contents.entries()) {
        const delta = content.slice(contents[place].length)
        contents[place] = content
        if (delta !== '') yield { type: 'delta', place, delta }
        const finishReason = this.ends[place]
        if (finishReason === undefined || ends[place] !== undefined || contents[place] !== this.contents[place])
          continue
        ends[place] = finishReason
        yield { type: 'end', place, finishReason }
      }
      if (ends.every((reason) => reason !== undefined)) break
      if (this.contents.some((content, place) => content !== contents[place] || this.ends[place] !== ends[place]))
        continue
      await new Promise<void>((resolve) => this.waiting.add(resolve))
    }
    yield { type: 'done' }
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
  }
}
