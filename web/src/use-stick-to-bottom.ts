import { type RefObject, useCallback, useEffect, useRef, useState } from 'react'

/** Coming down within this many pixels of the end, the reader is taken to it. */
const slack = 48

/**
 * Keeps the end in view while the content grows, until the reader scrolls up, however little; again once they come back
 * down to the end. Growing content moves the end away, never the reader; shrinking content and a growing window move
 * the reader up, but leave them at the end.
 */
export function useStickToBottom(scroller: RefObject<HTMLElement | null>, content: RefObject<HTMLElement | null>) {
  const stuck = useRef(true)
  const [away, setAway] = useState(false)

  const toBottom = useCallback(() => {
    const element = scroller.current
    if (!element) return
    stuck.current = true
    setAway(false)
    element.scrollTop = element.scrollHeight
  }, [scroller])

  useEffect(() => {
    const element = scroller.current
    const inner = content.current
    if (!element || !inner) return
    let lastTop = element.scrollTop
    const onScroll = () => {
      const distance = element.scrollHeight - element.clientHeight - element.scrollTop
      if (element.scrollTop < lastTop && distance > 1) stuck.current = false
      if (element.scrollTop > lastTop && distance <= slack) stuck.current = true
      lastTop = element.scrollTop
      setAway(!stuck.current && distance > slack)
    }
    const observer = new ResizeObserver(() => {
      if (stuck.current) element.scrollTop = element.scrollHeight
      // Shrinking content has moved the end, and the reader with it: that was not the reader's doing.
      lastTop = element.scrollTop
    })
    observer.observe(inner)
    observer.observe(element)
    element.addEventListener('scroll', onScroll, { passive: true })
    return () => {
      observer.disconnect()
      element.removeEventListener('scroll', onScroll)
    }
  }, [scroller, content])

  return { away, toBottom }
}
