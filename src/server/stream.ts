import { setMaxListeners } from 'node:events'
import type { GenerationEvent, GenerationRequest } from '../generate/types.ts'
import type { Limits } from './limits.ts'
import type { ModelDesk } from './served-models.ts'
import type { OwnTools, ToolEvent } from './tool-rounds.ts'

/** How many of one request's answers are written side by side: enough to fill a batch, and others get their turn. */
const choicesAtOnce = 8

/** Aborts when the client goes away or the server shuts down. `release` when the answer is done. */
export interface AnswerScope {
  readonly signal: AbortSignal
  release(): void
}

/** Why an answer ended early, where it was the server and not the client. */
export class ShutdownError extends Error {
  constructor() {
    super('The server is shutting down.')
  }
}

export function answerScope(leave: () => void, ...signals: (AbortSignal | undefined)[]): AnswerScope {
  // Not AbortSignal.any: the server's own signal outlives a million answers, and each would stay hung on it.
  const controller = new AbortController()
  // Every choice of the answer may listen, and that is no leak.
  setMaxListeners(0, controller.signal)
  const listening = signals.filter((signal) => signal !== undefined)
  const abort = () => controller.abort(listening.find((signal) => signal.aborted)?.reason)
  for (const signal of listening) signal.addEventListener('abort', abort)
  if (listening.some((signal) => signal.aborted)) abort()
  return {
    signal: controller.signal,
    release() {
      for (const signal of listening) signal.removeEventListener('abort', abort)
      controller.abort()
      leave()
    },
  }
}

/** The events of several answers as they come, each with its answer's place in `requests`: all in the turn of one request. */
export async function* generateAll(
  desk: ModelDesk,
  requests: readonly GenerationRequest[],
  ownTools?: OwnTools,
): AsyncGenerator<{ index: number; event: GenerationEvent | ToolEvent }, void, void> {
  const running = new Map<number, { events: Events; next: Promise<Step> }>()
  let started = 0
  const start = () => {
    const index = started++
    const events = desk.generate(requests[index], { hasTurn: true, ownTools })
    running.set(index, { events, next: step(index, events) })
  }
  try {
    while (started < requests.length && running.size < choicesAtOnce) start()
    while (running.size > 0) {
      const { index, result } = await Promise.race([...running.values()].map(({ next }) => next))
      const answer = running.get(index)!
      if (result.done) {
        running.delete(index)
        if (started < requests.length) start()
      } else {
        answer.next = step(index, answer.events)
        yield { index, event: result.value }
      }
    }
  } finally {
    for (const { events, next } of running.values()) {
      next.catch(() => {})
      events.return().catch(() => {})
    }
  }
}

type Events = AsyncGenerator<GenerationEvent | ToolEvent, void, void>

interface Step {
  index: number
  result: IteratorResult<GenerationEvent | ToolEvent, void>
}

const step = async (index: number, events: Events): Promise<Step> => ({
  index,
  result: await events.next(),
})

/** A reader that left an answer lie for longer than it is kept. */
export class SlowReaderError extends Error {
  constructor() {
    super('The client does not read its answer.')
  }
}

/**
 * A response of server-sent events, written at the answer's own pace: what the client has not read yet is kept, up to
 * `maxBufferBytes`. Where that is full the answer waits, for `writeTimeoutMs` in all; then it ends.
 *
 * @param release - called when the client goes away or is too slow
 * @param stepAside - called when the answer has to wait for its client: others need not wait for that
 */
export function answerStream(
  pieces: AsyncGenerator<string, void, void>,
  release: () => void,
  stepAside: () => void,
  { maxBufferBytes, writeTimeoutMs }: Pick<Limits, 'maxBufferBytes' | 'writeTimeoutMs'>,
): Response {
  const encoder = new TextEncoder()
  let patienceMs = writeTimeoutMs
  let cancelled = false
  let wake = () => {}
  /** Whether the reader took something in time. */
  const taken = async (): Promise<boolean> => {
    const since = performance.now()
    const inTime = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), patienceMs)
      wake = () => {
        clearTimeout(timer)
        resolve(true)
      }
    })
    patienceMs -= performance.now() - since
    return inTime
  }
  const write = async (controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> => {
    try {
      for await (const piece of pieces) {
        if (cancelled) return
        controller.enqueue(encoder.encode(piece))
        while ((controller.desiredSize ?? 0) <= 0 && !cancelled) {
          stepAside()
          if (patienceMs <= 0 || !(await taken())) throw new SlowReaderError()
        }
      }
      if (!cancelled) controller.close()
    } catch (error) {
      // What was kept for the client goes with it.
      if (!cancelled) controller.error(error)
      release()
    }
  }
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        void write(controller)
      },
      pull() {
        wake()
      },
      async cancel() {
        cancelled = true
        release()
        wake()
        await pieces.return()
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: maxBufferBytes }),
  )
  return new Response(body, { headers: eventStreamHeaders })
}

/**
 * A response of server-sent events, one for each piece of text. Pieces are taken as the client reads them.
 *
 * @param release - Called when the client goes away.
 */
export function eventStream(pieces: AsyncGenerator<string, void, void>, release: () => void): Response {
  const encoder = new TextEncoder()
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await pieces.next()
      if (done) controller.close()
      else controller.enqueue(encoder.encode(value))
    },
    async cancel() {
      release()
      await pieces.return()
    },
  })
  return new Response(body, { headers: eventStreamHeaders })
}

const eventStreamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  // Proxies otherwise gather an answer before they pass it on.
  'x-accel-buffering': 'no',
}
