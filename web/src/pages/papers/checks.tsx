import { Circle, CircleCheck } from 'lucide-react'
import type { PaperChecks } from '../../../../src/server/wire.ts'

export const checkNames = ['same', 'learns', 'usable'] as const satisfies readonly (keyof PaperChecks)[]

/** The three checks as badges: a tick, or an empty ring, and in words for who sees neither. */
export function Checks({ checks }: { checks: PaperChecks }) {
  return (
    <ul className="checks" aria-label="Checks">
      {checkNames.map((name) => (
        <CheckBadge key={name} name={name} holds={checks[name]} />
      ))}
    </ul>
  )
}

function CheckBadge({ name, holds }: { name: string; holds: boolean }) {
  const Ring = holds ? CircleCheck : Circle
  return (
    <li className={holds ? 'check is-held' : 'check'}>
      <Ring aria-hidden="true" />
      {name}
      <span className="visually-hidden">{holds ? ': holds' : ': not yet'}</span>
    </li>
  )
}
