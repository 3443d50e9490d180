import { APIError } from 'openai'
import { pino } from 'pino'
import type { ConversationStore } from '../../src/server/store.ts'

/** A logger that keeps its errors. */
export function captureLogger() {
  const errors: string[] = []
  const logger = pino({ level: 'error' }, { write: (line: string) => errors.push(line) })
  return { errors, logger }
}

/** For tests that hold no conversations: opening it fails. */
export function noStore(): Promise<ConversationStore> {
  const store = Promise.reject(new Error('This test has no store.'))
  store.catch(() => {})
  return store
}

/** @throws where it does not become true within twenty seconds. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 20_000; !(await condition()); ) {
    if (Date.now() > end) throw new Error('it did not happen within twenty seconds')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** The error that a request to the API is answered with. */
export async function failure(call: Promise<unknown>): Promise<APIError> {
  try {
    await call
  } catch (error) {
    if (error instanceof APIError) return error
    throw error
  }
  throw new Error('the request was answered')
}
