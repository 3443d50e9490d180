import { announcement } from '../announcer.ts'
import { useValue } from '../observable.ts'

export function AnnouncerView() {
  const text = useValue(announcement)
  return (
    <p className="visually-hidden" role="status" aria-live="polite" data-testid="announcer">
      {text}
    </p>
  )
}
