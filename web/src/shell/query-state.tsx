import type { UseQueryResult } from '@tanstack/react-query'
import type { ReactNode } from 'react'
import { messageOf } from '../client.ts'
import { Failure } from '../components/failure.tsx'
import { Mark } from '../components/mark.tsx'

interface QueryStateProps<T> {
  query: UseQueryResult<T>
  children: (data: T) => ReactNode
}

/** What was asked for, once it is there; what there is stays while it is asked for again. */
export function QueryState<T>({ query, children }: QueryStateProps<T>) {
  if (query.data !== undefined) return children(query.data)
  if (query.isError) return <Failure message={messageOf(query.error)} onRetry={() => void query.refetch()} />
  return (
    <p className="waiting" aria-busy="true">
      <Mark />
      <span className="visually-hidden">Loading</span>
    </p>
  )
}
