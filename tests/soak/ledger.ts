import type { ConversationWithMessages, Message } from '../../src/server/wire.ts'

type Acknowledged = Pick<Message, 'id' | 'conversationId' | 'parentId' | 'role' | 'content'>

/** What is wrong with what the server kept; all empty where it kept its word. */
export interface Verdict {
  /** Acknowledged, and not there. */
  lost: string[]
  /** There with another text, parent or side. */
  altered: string[]
  /** There more than once, or without ever having been sent whole. */
  surplus: string[]
  /** Answers whose text is neither a beginning of what was streamed, nor begins with it. */
  garbled: string[]
}

/** What the server has told its clients, to be held against what it kept. */
export class Ledger {
  /** Messages by id. */
  readonly acknowledged = new Map<string, Acknowledged>()
  readonly conversations = new Set<string>()
  /** Texts that were sent whole, acknowledged or not. */
  private readonly sent = new Set<string>()
  /** What came of answers that have no end, by the message's id. */
  private readonly streamed = new Map<string, string>()
  answersWhole = 0

  /** @returns a text that is sent once in all. */
  newText(random: () => number, kind = 'sent'): string {
    const length = random() < 0.05 ? 20_000 : 20 + Math.floor(random() * 300)
    const body = Array.from({ length: Math.ceil(length / 10) }, () => random().toString(36).slice(2, 11)).join(' ')
    const text = `${kind} ${this.sent.size}/${random().toString(36).slice(2)} ${body} 🐦 „äöü“ \\ ' ; \n`
    if (kind === 'sent') this.sent.add(text)
    return text
  }

  keeps({ id, conversationId, parentId, role, content }: Message): void {
    this.acknowledged.set(id, { id, conversationId, parentId, role, content })
  }

  /** An answer, whole. */
  keepsAnswer(message: Message): void {
    this.keeps(message)
    this.answersWhole++
    this.streamed.delete(message.id)
  }

  /** What was read of an answer whose end did not come. */
  saw(id: string, text: string): void {
    if (!this.acknowledged.has(id)) this.streamed.set(id, text)
  }

  /** @param kept - every conversation of `conversations` that is there */
  judge(kept: readonly ConversationWithMessages[]): Verdict {
    const verdict: Verdict = { lost: [], altered: [], surplus: [], garbled: [] }
    const there = new Map<string, Message>()
    const texts = new Map<string, number>()
    const found = new Set(kept.map(({ id }) => id))
    for (const id of this.conversations) if (!found.has(id)) verdict.lost.push(`conversation ${id}`)
    for (const message of kept.flatMap(({ messages }) => messages)) {
      if (there.has(message.id)) verdict.surplus.push(`${message.id} twice`)
      there.set(message.id, message)
      if (message.role === 'user') texts.set(message.content, (texts.get(message.content) ?? 0) + 1)
    }
    for (const [text, count] of texts) {
      if (count > 1 || !this.sent.has(text)) verdict.surplus.push(`${count} × ${text.slice(0, 60)}`)
    }
    for (const expected of this.acknowledged.values()) {
      const message = there.get(expected.id)
      if (!message) verdict.lost.push(expected.id)
      else if (
        message.content !== expected.content ||
        message.parentId !== expected.parentId ||
        message.role !== expected.role ||
        message.conversationId !== expected.conversationId
      ) {
        verdict.altered.push(expected.id)
      }
    }
    for (const [id, text] of this.streamed) {
      const content = there.get(id)?.content
      if (content !== undefined && !content.startsWith(text) && !text.startsWith(content)) verdict.garbled.push(id)
    }
    return verdict
  }
}
