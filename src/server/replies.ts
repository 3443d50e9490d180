import { internalError, RequestError } from './errors.ts'
import { PAGE_SAMPLING } from './page-sampling.ts'
import { fittedPrompt, roomFor } from './prompt.ts'
import type { ModelDesk } from './served-models.ts'
import { type ConversationStore, saveEveryMs } from './store.ts'
import { type AnswerScope, ShutdownError } from './stream.ts'
import type { Conversation, FinishReason, Message, ReplyEvent, Usage } from './wire.ts'

export interface ReplyJob {
  store: ConversationStore
  desk: ModelDesk
  conversation: Conversation
  userMessage: Message | null
  /** The answer's row, still empty. */
  message: Message
  scope: AnswerScope
  log: (error: unknown) => void
}

/**
 * What the model is asked for the answer to a branch, from the first message to the one to answer.
 *
 * @throws RequestError where the branch does not fit the model.
 */
export async function replyRequest(
  desk: ModelDesk,
  conversation: Conversation,
  branch: readonly Pick<Message, 'role' | 'content'>[],
) {
  const { settings } = conversation
  const system = settings.systemPrompt ? [{ role: 'system' as const, content: settings.systemPrompt }] : []
  const { temperature, topP, topK, minP, repetitionPenalty, maxNewTokens, seed } = { ...PAGE_SAMPLING, ...settings }
  const { promptIds, omitted } = await fittedPrompt(desk.model, [...system, ...branch], maxNewTokens)
  return {
    promptIds,
    maxNewTokens: roomFor(desk.model, promptIds.length, maxNewTokens, 'content', 'this message'),
    omitted,
    temperature,
    topP,
    topK,
    minP,
    repetitionPenalty,
    seed,
  }
}

/**
 * Writes an answer, saving it every second as it grows and once at its end, however it ends: by itself, by being
 * stopped, by an error, by a shutdown. Of a killed process the last save remains.
 */
export async function* writeReply(
  job: ReplyJob,
  { omitted: _, ...request }: Awaited<ReturnType<typeof replyRequest>>,
): AsyncGenerator<ReplyEvent, void, void> {
  const { store, desk, conversation, userMessage, message, scope } = job
  const startedAt = performance.now()
  let content = ''
  let tokens = 0
  let firstAt: number | undefined
  let usage: Usage | undefined
  // Where the reader turns away between two events, nothing below the yield runs but `finally`.
  let finishReason: FinishReason = 'stopped'
  let saving: Promise<unknown> = Promise.resolve()
  const timer = setInterval(() => {
    saving = store.saveReply(message.id, { content }).then((saved) => {
      if (!saved || saved.finishReason !== null) scope.release()
    }, job.log)
  }, saveEveryMs)
  let failure: RequestError | undefined
  let saved: Message | undefined

  try {
    yield { type: 'start', conversation, userMessage, message }
    for await (const event of desk.generate({ ...request, signal: scope.signal })) {
      if (event.type === 'end') {
        const { promptTokens, cachedTokens, completionTokens, promptMs, decodeMs } = event
        usage = { promptTokens, cachedTokens, completionTokens, promptMs, decodeMs }
        finishReason = event.reason
        continue
      }
      if (event.type === 'prompt') continue
      firstAt ??= performance.now()
      tokens++
      content += event.text
      if (event.text !== '') yield { type: 'token', text: event.text, tokens }
    }
  } catch (error) {
    if (scope.signal.reason instanceof ShutdownError) {
      finishReason = 'interrupted'
      failure = new RequestError(503, scope.signal.reason.message)
    } else if (!scope.signal.aborted) {
      job.log(error)
      finishReason = 'error'
      failure = error instanceof RequestError ? error : internalError()
    }
  } finally {
    clearInterval(timer)
    await saving
    const now = performance.now()
    usage ??= {
      promptTokens: request.promptIds.length,
      cachedTokens: 0,
      completionTokens: tokens,
      promptMs: (firstAt ?? now) - startedAt,
      decodeMs: firstAt === undefined ? 0 : now - firstAt,
    }
    saved = await store.saveReply(message.id, { content, finishReason, usage }).catch((error) => {
      job.log(error)
      failure ??= internalError()
      return undefined
    })
    scope.release()
  }
  if (failure) yield { type: 'error', ...failure.body }
  else if (saved) yield { type: 'end', message: saved }
  else yield { type: 'error', ...new RequestError(404, 'The conversation was deleted.').body }
}
