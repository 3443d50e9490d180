import type { Settings, Status } from '../../src/server/wire.ts'
import { ApiError, getStatus, messageOf } from './client.ts'
import { Observable } from './observable.ts'
import { writeStored } from './storage.ts'

export type Model = Status['models'][number]

/** What the server serves. `locked`: it wants a key. */
export type Served =
  | { state: 'loading' }
  | { state: 'ready'; models: readonly Model[] }
  | { state: 'locked' }
  | { state: 'failed'; message: string }

export const served = new Observable<Served>({ state: 'loading' })

export async function loadServed(): Promise<void> {
  try {
    served.value = { state: 'ready', models: (await getStatus()).models }
  } catch (error) {
    // What was served a moment ago is shown on while the server does not answer.
    if (served.value.state === 'ready' && error instanceof ApiError && error.status === 0) return
    const locked = error instanceof ApiError && error.status === 401
    served.value = locked ? { state: 'locked' } : { state: 'failed', message: messageOf(error) }
  }
}

export async function unlock(key: string): Promise<void> {
  writeStored('apiKey', key)
  await loadServed()
}

/** The model that these settings ask for, as far as the server has it. */
export function modelOf(now: Served, settings: Settings): Model | undefined {
  if (now.state !== 'ready') return undefined
  return settings.model === undefined ? now.models[0] : now.models.find((model) => model.id === settings.model)
}
