import { Observable } from './observable.ts'

/** False from a request that no server answered until one that did. */
export const reached = new Observable(true)

export function noteReached(now: boolean): void {
  reached.value = now
}
