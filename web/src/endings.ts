import type { FinishReason } from '../../src/server/wire.ts'

/** What is said of an answer that did not come to its own end, so that it does not look complete. */
export const endings: Partial<Record<FinishReason, string>> = {
  length: 'Cut off at the token limit',
  stopped: 'Stopped',
  error: 'Broken off: the model failed',
  interrupted: 'Broken off: the server went away',
}
