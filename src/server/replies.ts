import { randomInt } from 'node:crypto'
import type { ChatMessage, PictureEvent, ServedModel } from '../generate/types.ts'
import { badRequest, internalError, RequestError } from './errors.ts'
import { PAGE_SAMPLING } from './page-sampling.ts'
import { textOf, withDelta } from './parts.ts'
import { fittedPrompt, roomFor } from './prompt.ts'
import { type ModelDesk, requireWriter } from './served-models.ts'
import { type ConversationStore, type NewMessage, saveEveryMs } from './store.ts'
import { type AnswerScope, ShutdownError } from './stream.ts'
import type { OwnTools } from './tool-rounds.ts'
import type { Conversation, FinishReason, Message, Part, ReplyEvent, Usage } from './wire.ts'

/** Of seeds that are drawn: short enough to be typed again. */
const maxSeed = 2 ** 31

export interface ReplyJob {
  store: ConversationStore
  desk: ModelDesk
  conversation: Conversation
  userMessage: Message | null
  /** The answer's row: empty, or with what is to be gone on with. */
  message: Message
  scope: AnswerScope
  log: (error: unknown) => void
}

type Turn = Pick<NewMessage, 'role' | 'content' | 'parts'>

/**
 * What the model is asked for the answer to a branch, from the first message to the one to answer; or to the answer that
 * is to be gone on with.
 *
 * @throws RequestError where the branch does not fit the model.
 */
export async function replyRequest(
  desk: ModelDesk,
  conversation: Pick<Conversation, 'settings'>,
  branch: readonly Turn[],
  fileOf: (fileId: string) => Promise<Uint8Array>,
) {
  const { settings } = conversation
  const system = settings.systemPrompt ? [{ role: 'system' as const, content: settings.systemPrompt }] : []
  const { model: _, ...asked } = { ...PAGE_SAMPLING, ...settings, seed: settings.seed ?? randomInt(maxSeed) }
  const { systemPrompt: __, ...sampling } = asked
  const { model } = desk
  requireWriter(model)
  const readsSystemPrompt = model.canChat && model.answerLength === undefined
  const written = branch.at(-1)?.role === 'assistant' && model.canChat ? branch.at(-1) : undefined
  const turns = await Promise.all(
    (written ? branch.slice(0, -1) : branch).map((turn) => chatMessages(turn, model, fileOf)),
  )
  const question = branch.findLast(({ role }) => role === 'user')
  if (!model.canSee && question?.parts?.some(({ type }) => type === 'image')) {
    throw badRequest(`${model.id} cannot see pictures; send text alone, or choose a model that can.`, 'parts')
  }
  // An answer that is gone on with has called what it had to.
  const called = written ? spoken(written, model) : []
  const last = called.at(-1)
  const endsInWords = last?.role === 'assistant' && !last.toolCalls
  const text = endsInWords ? (called.pop()?.content ?? '') : ''
  const messages = [...system, ...turns.flat(), ...called]
  const writtenIds = written ? await continuationIds(model, text) : []
  const wanted = asked.maxNewTokens + writtenIds.length
  const fitted = await fittedPrompt(model, messages, wanted)
  const promptIds = [...fitted.promptIds, ...writtenIds]
  const read = turns.flat().slice(fitted.omitted)
  const images = read.flatMap((turn) => turn.images ?? [])
  const promptWith = async (more: readonly ChatMessage[]) =>
    (await fittedPrompt(model, [...messages, ...more], wanted)).promptIds
  const ownTools: OwnTools | undefined = model.toolset && !written ? { toolset: model.toolset, promptWith } : undefined
  return {
    generation: {
      ...sampling,
      promptIds,
      ...(images.length > 0 && { images }),
      maxNewTokens: roomFor(model, promptIds.length, asked.maxNewTokens, 'content', 'this message'),
    },
    ...(ownTools && { ownTools }),
    omitted: model.canChat
      ? turns.filter((turn) => turn.some((message) => !read.includes(message))).length
      : fitted.omitted,
    /** For the message: the same seed and settings give the same answer again. */
    settings: { ...(readsSystemPrompt ? asked : sampling), continues: !model.canChat },
  }
}

export type ReplyRequest = Awaited<ReturnType<typeof replyRequest>>

/** A model that cannot see is told the text of what was shown to another. */
async function chatMessages(
  turn: Turn,
  model: ServedModel,
  fileOf: (fileId: string) => Promise<Uint8Array>,
): Promise<ChatMessage[]> {
  const { role, content, parts = [] } = turn
  const shown = model.canSee && role === 'user' ? parts.flatMap((part) => (part.type === 'image' ? [part] : [])) : []
  if (shown.length === 0) return role === 'assistant' ? spoken(turn, model) : [{ role, content }]
  return [{ role, content, images: await Promise.all(shown.map(({ fileId }) => fileOf(fileId))) }]
}

/** An answer as it came about: the calls of a model that has tools, their results, and what it said. */
function spoken({ content, parts = [] }: Turn, model: ServedModel): ChatMessage[] {
  if (!model.toolset || !parts.some(({ type }) => type === 'tool')) return [{ role: 'assistant', content }]
  const messages: ChatMessage[] = []
  let words = ''
  for (const [index, part] of parts.entries()) {
    if (part.type === 'text') words = part.text
    if (part.type !== 'tool') continue
    const id = `call_${index}`
    const toolCalls = [{ id, name: part.name, arguments: part.arguments }]
    messages.push(
      { role: 'assistant', content: words, toolCalls },
      { role: 'tool', content: part.result, toolCallId: id },
    )
    words = ''
  }
  if (words !== '') messages.push({ role: 'assistant', content: words })
  return messages
}

/** The tokens of a text that other text stands before. */
async function continuationIds(model: ServedModel, text: string): Promise<number[]> {
  // What a tokenizer puts before every text has no place in the middle.
  const [ids, before] = await Promise.all([model.encode(text), model.encode('')])
  return ids.slice(before.length)
}

/**
 * Writes an answer, saving it every second as it grows and once at its end, however it ends: by itself, by being
 * stopped, by an error, by a shutdown. Of a killed process the last save remains.
 */
export async function* writeReply(
  job: ReplyJob,
  { generation, ownTools }: ReplyRequest,
): AsyncGenerator<ReplyEvent, void, void> {
  const { store, desk, conversation, userMessage, message, scope } = job
  const startedAt = performance.now()
  let parts: Part[] = message.parts
  // Text alone is kept as such.
  const written = () => {
    const isText = parts.every(({ type }) => type === 'text')
    return { content: textOf(parts), ...(!isText && { parts }) }
  }
  // Of an answer that is gone on with, its figures go on too.
  const earlier = message.usage
  let tokens = earlier?.completionTokens ?? 0
  let firstAt: number | undefined
  let usage: Usage | undefined
  // Where the reader turns away between two events, nothing below the yield runs but `finally`.
  let finishReason: FinishReason = 'stopped'
  let saving: Promise<unknown> = Promise.resolve()
  const timer = setInterval(() => {
    saving = store.saveReply(message.id, written()).then((saved) => {
      if (!saved || saved.finishReason !== null) scope.release()
    }, job.log)
  }, saveEveryMs)
  let failure: RequestError | undefined
  let saved: Message | undefined

  try {
    yield { type: 'start', conversation, userMessage, message }
    for await (const event of desk.answer({ ...generation, signal: scope.signal }, ownTools)) {
      if (event.type === 'end') {
        const { promptTokens, cachedTokens, completionTokens, promptMs, decodeMs } = event
        usage = {
          promptTokens,
          cachedTokens,
          completionTokens: completionTokens + (earlier?.completionTokens ?? 0),
          promptMs,
          decodeMs: decodeMs + (earlier?.decodeMs ?? 0),
        }
        finishReason = event.reason
        continue
      }
      if (event.type === 'prompt') continue
      firstAt ??= performance.now()
      const last = parts.at(-1)?.type === 'text' ? parts.length - 1 : parts.length
      if (event.type === 'tool') {
        const { call, result } = event
        const value: Part = {
          type: 'tool',
          name: call.name,
          arguments: storable(call.arguments),
          result: storable(result),
        }
        const part = parts.length
        parts = [...parts, value]
        yield { type: 'part', part, value }
        continue
      }
      if (event.type === 'picture') {
        const { width, height, step, steps } = event
        const part = parts.length
        if (step < steps) {
          yield { type: 'preview', part, step, steps, url: dataUrl(event), width, height }
          continue
        }
        const { id: fileId } = await store.addFile({ bytes: event.image, conversationId: conversation.id })
        const value: Part = { type: 'image', fileId, width, height, alt: event.alt }
        parts = [...parts, value]
        yield { type: 'part', part, value }
        continue
      }
      tokens++
      if (event.text === '') continue
      parts = withDelta(parts, last, event.text)
      yield { type: 'delta', part: last, delta: event.text, tokens }
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
      promptTokens: generation.promptIds.length,
      cachedTokens: 0,
      completionTokens: tokens,
      promptMs: (firstAt ?? now) - startedAt,
      decodeMs: (earlier?.decodeMs ?? 0) + (firstAt === undefined ? 0 : now - firstAt),
    }
    saved = await store.saveReply(message.id, { ...written(), finishReason, usage }).catch((error) => {
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

/** PostgreSQL keeps no U+0000, and no half of a pair. */
export const storable = (text: string): string => text.replace(/[\0\p{Surrogate}]/gu, '\ufffd')

const dataUrl = ({ image }: PictureEvent): string => `data:image/png;base64,${Buffer.from(image).toString('base64')}`
