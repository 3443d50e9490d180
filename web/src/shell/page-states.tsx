import { type ErrorComponentProps, useLocation, useRouter } from '@tanstack/react-router'
import { messageOf } from '../client.ts'
import { Failure } from '../components/failure.tsx'
import { Link } from '../components/link.tsx'
import { Mark } from '../components/mark.tsx'
import { PageFrame } from './page-frame.tsx'

export function PageLoading() {
  return (
    <main className="page page-waiting" aria-busy="true">
      <p className="waiting">
        <Mark />
        <span className="visually-hidden">Loading</span>
      </p>
    </main>
  )
}

/** A page that failed to be drawn, or whose code did not come: the others go on. */
export function PageError({ error, reset }: ErrorComponentProps) {
  const router = useRouter()
  return (
    <PageFrame title="Something went wrong">
      <div role="alert">
        <Failure
          message={`This page failed: ${messageOf(error)}`}
          onRetry={() => {
            // Code that was not there is asked for anew only by a new page.
            if (error instanceof TypeError) location.reload()
            reset()
            void router.invalidate()
          }}
        />
      </div>
    </PageFrame>
  )
}

export function NoSuchPage() {
  const { pathname } = useLocation()
  return (
    <PageFrame title={`There is no page ${pathname}`}>
      <p>
        <Link to="/">Begin a new chat</Link>
      </p>
    </PageFrame>
  )
}
