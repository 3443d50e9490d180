import { useEffect, useState } from 'react'

const everyMs = 15_000

/** The time, as far as words such as "5 min ago" need it. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs)
    return () => clearInterval(timer)
  }, [])
  return now
}
