import { useEffect, useRef, useState } from 'react'
import { messageOf } from '../../client.ts'

export interface Computed<T> {
  /** Of the newest question that has an answer. */
  readonly value: T | undefined
  readonly error: string | null
  readonly busy: boolean
}

/** Wait this long after a letter before computing. */
const typingPauseMs = 150

/**
 * What a model says to something that changes: asked again a moment after each change, and what was asked before is
 * dropped.
 *
 * @param key - what the question depends on
 */
export function useComputed<T>(key: string, compute: (signal: AbortSignal) => Promise<T>): Computed<T> {
  const [state, setState] = useState<Computed<T>>({ value: undefined, error: null, busy: true })
  const latest = useRef(compute)
  latest.current = compute
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key says when.
  useEffect(() => {
    const control = new AbortController()
    setState((before) => ({ ...before, busy: true }))
    const timer = setTimeout(async () => {
      try {
        const value = await latest.current(control.signal)
        if (!control.signal.aborted) setState({ value, error: null, busy: false })
      } catch (error) {
        if (!control.signal.aborted) setState((before) => ({ ...before, error: messageOf(error), busy: false }))
      }
    }, typingPauseMs)
    return () => {
      clearTimeout(timer)
      control.abort()
    }
  }, [key])
  return state
}
