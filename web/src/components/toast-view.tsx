import { useValue } from '../observable.ts'
import { toast } from '../toast.ts'

export function ToastView() {
  const shown = useValue(toast)
  return (
    <div role="status">
      {shown && (
        <div className="toast">
          <span>{shown.message}</span>
          {shown.action && (
            <button type="button" className="button" onClick={shown.action.run}>
              {shown.action.label}
            </button>
          )}
        </div>
      )}
    </div>
  )
}
