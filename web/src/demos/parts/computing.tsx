import { Mark } from '../../components/mark.tsx'
import type { Computed } from './use-computed.ts'

/** Before the first answer, and where there is none. */
export function Computing({ of: { value, error, busy } }: { of: Computed<unknown> }) {
  if (error) return <p role="alert">{error}</p>
  if (value !== undefined || !busy) return null
  return (
    <p className="waiting">
      <Mark />
      <span className="visually-hidden">Computing</span>
    </p>
  )
}
