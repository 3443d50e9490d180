import { randomUUID } from 'node:crypto'

/** What every request carries through the routes. */
export interface AppEnv {
  Variables: {
    /** In the answer's header and in the log's lines. */
    requestId: string
  }
}

/** The client's own, where it is one that can stand in a log as it is. */
export const requestIdOf = (given: string | undefined): string =>
  given !== undefined && /^[\w.:-]{1,128}$/.test(given) ? given : `req_${randomUUID().replaceAll('-', '')}`
