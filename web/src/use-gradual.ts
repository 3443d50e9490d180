import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from 'react'

/** What fills the tallest screen. */
const atOnce = 24
/** What is drawn within a frame or two, Markdown, code and all. */
const slice = 6

/**
 * From which of a conversation's turns on it is drawn: at first only its end, which is what is seen, then more of it
 * whenever the browser has nothing else to do, until all of it is there, to be scrolled through, searched and read out.
 *
 * @param key - another conversation begins anew
 */
export function useGradual(total: number, key: string, scroller: RefObject<HTMLElement | null>): number {
  const [drawn, setDrawn] = useState({ key, count: atOnce })
  const count = drawn.key === key ? drawn.count : atOnce
  const first = Math.max(0, total - count)

  useEffect(() => {
    if (first === 0) return
    const more = () => setDrawn({ key, count: count + slice })
    // A timeout, so that it comes to its end while an answer is being written, too.
    if ('requestIdleCallback' in window) {
      const handle = requestIdleCallback(more, { timeout: 500 })
      return () => cancelIdleCallback(handle)
    }
    const timer = setTimeout(more, 50)
    return () => clearTimeout(timer)
  }, [first, count, key])

  // What comes in above would push down what is being read, where the browser does not hold it by itself.
  const height = useRef(0)
  // biome-ignore lint/correctness/useExhaustiveDependencies: each time something came in above.
  useLayoutEffect(() => {
    const element = scroller.current
    if (!element) return
    if (!CSS.supports('overflow-anchor', 'auto') && height.current > 0) {
      element.scrollTop += element.scrollHeight - height.current
    }
    height.current = first > 0 ? element.scrollHeight : 0
  }, [first, key, scroller])

  return first
}
