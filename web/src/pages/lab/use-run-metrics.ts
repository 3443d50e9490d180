import { useEffect, useRef, useState } from 'react'
import { getMetrics, messageOf } from '../../client.ts'
import { RunMetrics } from './run-metrics.ts'

/** A run writes a line a step; twice a second would be no more telling. */
const followMs = 1_000
/** Of a run that is over, or while nobody looks. */
const restMs = 10_000

interface Followed {
  metrics: RunMetrics
  /** Changes whenever the metrics do. */
  version: number
  state: 'loading' | 'ready' | 'failed'
  message?: string
}

/** Reads metrics.jsonl to its end, and on as it grows, each time only what is new. */
export function useRunMetrics(run: string, isLive: boolean): Followed {
  const [followed, setFollowed] = useState<Followed>(() => empty())
  const live = useRef(isLive)
  live.current = isLive

  useEffect(() => {
    const { metrics } = empty()
    const stop = new AbortController()
    const { signal } = stop
    let timer: ReturnType<typeof setTimeout>
    let cursor: string | null = null
    setFollowed({ metrics, version: 0, state: 'loading' })

    const readOn = async () => {
      clearTimeout(timer)
      try {
        for (let more = true; more; ) {
          const page = await getMetrics(run, cursor, signal)
          if (page.restarted) metrics.clear()
          metrics.add(page.lines)
          cursor = page.cursor
          more = page.more
        }
        setFollowed((before) =>
          before.version === metrics.version && before.state === 'ready'
            ? before
            : { metrics, version: metrics.version, state: 'ready' },
        )
      } catch (error) {
        if (signal.aborted) return
        setFollowed((before) => ({ ...before, state: 'failed', message: messageOf(error) }))
      }
      if (!signal.aborted) timer = setTimeout(readOn, live.current && !document.hidden ? followMs : restMs)
    }
    const onVisible = () => {
      if (!document.hidden) timer = setTimeout(readOn, 0)
    }
    document.addEventListener('visibilitychange', onVisible)
    void readOn()
    return () => {
      stop.abort()
      clearTimeout(timer)
      document.removeEventListener('visibilitychange', onVisible)
    }
  }, [run])

  return followed
}

const empty = (): Followed => ({ metrics: new RunMetrics(), version: 0, state: 'loading' })
