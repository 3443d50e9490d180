import { reached } from '../connection.ts'
import { useValue } from '../observable.ts'

export function OfflineNotice() {
  const answers = useValue(reached)
  return (
    <p className={answers ? 'visually-hidden' : 'offline'} role="status">
      {answers ? '' : 'The server does not answer. This page goes on when it does.'}
    </p>
  )
}
