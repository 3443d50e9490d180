import { type RefObject, useCallback, useEffect, useRef, useState } from 'react'

/** Within this many pixels of the end, the reader counts as being there. */
const slack = 48

/**
 * Keeps the end in view while the content grows, until the reader scrolls up; again once they are back at the end.
 * Only a scroll that moves up lets go: growing content moves the end away, never the reader.
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
    let lastHeight = element.scrollHeight
    const onScroll = () => {
      const distance = element.scrollHeight - element.clientHeight - element.scrollTop
      const shrank = element.scrollHeight < lastHeight
      if (distance <= slack) stuck.current = true
      else if (element.scrollTop < lastTop && !shrank) stuck.current = false
      lastTop = element.scrollTop
      lastHeight = element.scrollHeight
      setAway(!stuck.current)
    }
    const observer = new ResizeObserver(() => {
      if (stuck.current) element.scrollTop = element.scrollHeight
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
