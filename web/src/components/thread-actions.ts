import type { Message } from '../../../src/server/wire.ts'

/** What the parts of a conversation can do to it. */
export interface ThreadActions {
  edit: (message: Message, content: string) => void
  goOn: (answer: Message) => void
  regenerate: (answer: Message) => void
  switchTo: (messageId: string) => void
  rate: (answer: Message, rating: 'up' | 'down') => void
  comment: (answer: Message, text: string) => Promise<boolean>
}
