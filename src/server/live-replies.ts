import { textOf, withDelta } from './parts.ts'
import type { Part, ReplyEvent } from './wire.ts'

type Start = Extract<ReplyEvent, { type: 'start' }>
type Last = Extract<ReplyEvent, { type: 'end' | 'error' }>

type Preview = Extract<ReplyEvent, { type: 'preview' }>

/** An answer being written, at its own pace: readers come late, are slow or leave, and it goes on. */
class LiveReply {
  private start?: Start
  private parts: readonly Part[] = []
  private tokens = 0
  /** Of the picture that is being drawn: the newest, whoever has seen those before. */
  private preview?: Preview
  private last?: Last
  private ended = false
  private readonly waiting = new Set<() => void>()

  /** Takes all events of the answer. */
  async take(events: AsyncIterable<ReplyEvent>): Promise<void> {
    try {
      for await (const event of events) {
        this.note(event)
        this.wake()
      }
    } finally {
      this.ended = true
      this.wake()
    }
  }

  private note(event: ReplyEvent): void {
    switch (event.type) {
      case 'start':
        this.start = event
        this.parts = event.message.parts
        break
      case 'delta':
        this.parts = withDelta(this.parts, event.part, event.delta)
        this.tokens = event.tokens
        break
      case 'preview':
        this.preview = event
        break
      case 'part':
        this.parts = [...this.parts.slice(0, event.part), event.value]
        this.preview = undefined
        break
      default:
        this.last = event
    }
  }

  /** From `start`, whose message has what is written by now, to the last event. */
  async *read(): AsyncGenerator<ReplyEvent, void, void> {
    let told: readonly Part[] | undefined
    let seen: Preview | undefined
    for (;;) {
      const news = told && this.newsSince(told)
      if (!told && this.start) {
        told = this.parts
        yield { ...this.start, message: { ...this.start.message, parts: [...told], content: textOf(told) } }
      } else if (news) {
        told = news.type === 'part' ? [...(told ?? []), news.value] : withDelta(told ?? [], news.part, news.delta)
        yield news
      } else if (told && this.preview && this.preview !== seen) {
        seen = this.preview
        yield seen
      } else if (this.last) {
        yield this.last
        return
      } else if (this.ended) {
        return
      } else {
        await new Promise<void>((resolve) => this.waiting.add(resolve))
      }
    }
  }

  /** The next event for who was told these parts. */
  private newsSince(told: readonly Part[]): Extract<ReplyEvent, { type: 'delta' | 'part' }> | undefined {
    // All parts but the last one told are whole.
    const from = Math.max(0, told.length - 1)
    for (const [index, now] of this.parts.slice(from).entries()) {
      const part = from + index
      const before = told[part]
      if (now.type !== 'text' && !before) return { type: 'part', part, value: now }
      const length = before?.type === 'text' ? before.text.length : 0
      if (now.type === 'text' && now.text.length > length) {
        return { type: 'delta', part, delta: now.text.slice(length), tokens: this.tokens }
      }
    }
    return undefined
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
  }
}

/** The answers that this process is writing, by their message's id. */
export class LiveReplies {
  private readonly replies = new Map<string, { reply: LiveReply; stop: () => void }>()

  /** @param stop - ends the answer with what is written */
  add(messageId: string, events: AsyncIterable<ReplyEvent>, stop: () => void, log: (error: unknown) => void): void {
    const reply = new LiveReply()
    this.replies.set(messageId, { reply, stop })
    reply
      .take(events)
      .catch(log)
      .finally(() => this.replies.delete(messageId))
  }

  /** `undefined` where this process is not writing it. */
  read(messageId: string): AsyncGenerator<ReplyEvent, void, void> | undefined {
    return this.replies.get(messageId)?.reply.read()
  }

  /** @returns whether this process is writing it */
  stop(messageId: string): boolean {
    const found = this.replies.get(messageId)
    found?.stop()
    return found !== undefined
  }
}
