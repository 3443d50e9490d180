import { useEffect, useState } from 'react'
import type { Comparison, ComparisonEvent } from '../../../../src/server/wire.ts'
import { announce } from '../../announcer.ts'
import { ApiError, getComparison, messageOf, streamComparison } from '../../client.ts'

/** Before the server is asked again: another one writes, or none answers. */
const retryMs = 1_000

export interface Followed {
  comparison: Comparison | null
  failure: string | null
}

export const isWritten = ({ answers }: Comparison): boolean =>
  answers.every(({ finishReason }) => finishReason !== null)

/** A comparison, followed while it is being written, whoever asked for it. */
export function useComparison(id: string | undefined): Followed & { put: (comparison: Comparison) => void } {
  const [followed, setFollowed] = useState<Followed & { id?: string }>({ comparison: null, failure: null })

  useEffect(() => {
    if (id === undefined) return
    const stop = new AbortController()
    const { signal } = stop
    let frame = 0
    let current: Comparison | null = null
    const show = () => {
      cancelAnimationFrame(frame)
      frame = 0
      setFollowed({ id, comparison: current, failure: null })
    }
    // Tokens come faster than the screen.
    const showSoon = () => {
      frame ||= requestAnimationFrame(show)
    }

    /** @returns whether all is written */
    const look = async (): Promise<boolean> => {
      current = await getComparison(id, signal)
      show()
      return isWritten(current)
    }
    const listen = async (): Promise<void> => {
      for await (const event of streamComparison(id, signal)) {
        if (current) current = after(current, event)
        showSoon()
      }
    }
    const run = async () => {
      for (let times = 0; !signal.aborted; times++) {
        try {
          if (await look()) {
            if (times > 0) announce('All answers are complete. Which is better?')
            return
          }
        } catch (error) {
          if (signal.aborted) return
          const isRefused = error instanceof ApiError && error.status > 0 && error.status < 500
          if (current === null || isRefused) setFollowed({ id, comparison: null, failure: messageOf(error) })
          if (isRefused) return
        }
        const heard = await listen().then(
          () => true,
          () => false,
        )
        // Another server on the same database may be writing: then there is nothing to be heard here.
        if (!heard) await new Promise((resolve) => setTimeout(resolve, retryMs))
      }
    }
    void run()
    return () => {
      stop.abort()
      cancelAnimationFrame(frame)
    }
  }, [id])

  const put = (comparison: Comparison) => setFollowed({ id: comparison.id, comparison, failure: null })
  const isShown = followed.id === id
  return { comparison: isShown ? followed.comparison : null, failure: isShown ? followed.failure : null, put }
}

/** A comparison after an event. */
export function after(before: Comparison, event: ComparisonEvent): Comparison {
  if (event.type === 'start') return event.comparison
  if (event.type === 'done') return before
  const answers = before.answers.map((answer, place) => {
    if (place !== event.place) return answer
    return event.type === 'delta'
      ? { ...answer, content: answer.content + event.delta }
      : { ...answer, finishReason: event.finishReason }
  })
  return { ...before, answers }
}
