interface FailureProps {
  message: string
  onRetry: () => void
  /** What the way on is called. */
  action?: string
}

/** What went wrong, and the way on. */
export function Failure({ message, onRetry, action = 'Try again' }: FailureProps) {
  return (
    <div className="failure">
      <p>{message}</p>
      <button type="button" className="button" onClick={onRetry}>
        {action}
      </button>
    </div>
  )
}
