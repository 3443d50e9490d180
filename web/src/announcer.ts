import { Observable } from './observable.ts'

/** What a screen reader is told next, politely. */
export const announcement = new Observable('')

/** A repeated sentence is made to differ, or nothing would be said. */
export function announce(text: string): void {
  announcement.value = announcement.value === text ? `${text}\u00a0` : text
}

/** An answer is read as a whole when it is complete, never token by token; a long one only begins to be. */
export function announceAnswer(content: string, cutOff = false): void {
  const text = content.replace(/```[\s\S]*?(```|$)/g, ' (code) ').replace(/[*_`#>|]+/g, '')
  announce(
    `${cutOff ? 'Answer cut off at the token limit.' : 'Answer complete.'} ${text.length > 600 ? `${text.slice(0, 600)}… More in the conversation.` : text}`,
  )
}
