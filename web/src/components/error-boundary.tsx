import { Component, type ReactNode } from 'react'
import { messageOf } from '../client.ts'
import { Failure } from './failure.tsx'

/** Keeps what fails to itself: the page around it goes on. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state: { error: unknown } = { error: null }

  static getDerivedStateFromError(error: unknown) {
    return { error }
  }

  override render() {
    const { error } = this.state
    if (error === null) return this.props.children
    return (
      <div role="alert">
        <Failure
          message={`This part failed: ${messageOf(error)}`}
          onRetry={() => {
            // Code that was not there is asked for anew only by a new page.
            if (error instanceof TypeError) location.reload()
            this.setState({ error: null })
          }}
        />
      </div>
    )
  }
}
