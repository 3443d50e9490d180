import { QueryClient } from '@tanstack/react-query'
import { ApiError } from './client.ts'

/** What pages other than the chat ask the server for; the chat's threads are kept by chat.ts. */
export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // The server may be on this machine, and answers without a network.
      networkMode: 'always',
      staleTime: 2_000,
      retry: (failures, error) =>
        failures < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 500),
    },
  },
})
