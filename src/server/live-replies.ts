import type { ReplyEvent } from './wire.ts'

type Start = Extract<ReplyEvent, { type: 'start' }>
type Last = Extract<ReplyEvent, { type: 'end' | 'error' }>

/** An answer being written, at its own pace: readers come late, are slow or leave, and it goes on. */
class LiveReply {
  private start?: Start
  private text = ''
  private tokens = 0
  private last?: Last
  private ended = false
  private readonly waiting = new Set<() => void>()

  /** Takes all events of the answer. */
  async take(events: AsyncIterable<ReplyEvent>): Promise<void> {
    try {
      for await (const event of events) {
        if (event.type === 'start') {
          this.start = event
          this.text = event.message.content
        } else if (event.type !== 'token') {
          this.last = event
        } else {
          this.text += event.text
          this.tokens = event.tokens
        }
        this.wake()
      }
    } finally {
      this.ended = true
      this.wake()
    }
  }

  /** From `start`, whose message has what is written by now, to the last event. */
  async *read(): AsyncGenerator<ReplyEvent, void, void> {
    let started = false
    let told = 0
    for (;;) {
      if (!started && this.start) {
        started = true
        told = this.text.length
        yield { ...this.start, message: { ...this.start.message, content: this.text } }
      } else if (started && told < this.text.length) {
        const text = this.text.slice(told)
        told = this.text.length
        yield { type: 'token', text, tokens: this.tokens }
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
