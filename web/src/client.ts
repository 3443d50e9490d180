import type {
  ChangeTraining,
  Comparison,
  ComparisonEvent,
  Conversation,
  ConversationList,
  ConversationWithMessages,
  CreateConversation,
  ErrorBody,
  Feedback,
  FeedbackKind,
  ListQuery,
  MetricsPage,
  PaperDetail,
  PaperList,
  Reply,
  ReplyEvent,
  RunDetail,
  RunList,
  SampleTexts,
  Standings,
  StartComparison,
  StartTraining,
  Status,
  StoredFile,
  TabModel,
  TabModelList,
  Tokenize,
  TokenList,
  Training,
  TrainingList,
  UpdateConversation,
  Vote,
} from '../../src/server/wire.ts'
import { noteReached } from './connection.ts'
import { eventData } from './events.ts'
import { readStored } from './storage.ts'

/** `status` is 0 where no answer came at all. */
export class ApiError extends Error {
  readonly status: number

  constructor(message: string, status: number) {
    super(message)
    this.name = 'ApiError'
    this.status = status
  }
}

const unreachable = 'The server does not answer. Is “jackdaw serve” still running?'

/** What to tell the reader about anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof ApiError) return error.message
  // fetch and a broken stream throw TypeError with words that differ by browser and help nobody.
  return error instanceof TypeError ? unreachable : String(error instanceof Error ? error.message : error)
}

const request = (method: string, path: string, body?: unknown, init?: RequestInit): Promise<Response> =>
  body === undefined
    ? send(method, path, null, undefined, init)
    : send(method, path, JSON.stringify(body), 'application/json', init)

async function send(
  method: string,
  path: string,
  body: BodyInit | null,
  type?: string,
  init: RequestInit = {},
): Promise<Response> {
  const headers = new Headers()
  if (type !== undefined) headers.set('content-type', type)
  const key = readStored('apiKey')
  if (key) headers.set('authorization', `Bearer ${key}`)
  let response: Response
  try {
    response = await fetch(path, { ...init, method, headers, body })
  } catch (error) {
    if (init.signal?.aborted) throw error
    noteReached(false)
    throw new ApiError(unreachable, 0)
  }
  noteReached(true)
  if (response.ok) return response
  const failure = (await response.json().catch(() => null)) as ErrorBody | null
  throw new ApiError(failure?.error?.message ?? `The server answered ${response.status}.`, response.status)
}

async function json<T>(method: string, path: string, body?: unknown, init?: RequestInit): Promise<T> {
  return (await request(method, path, body, init)).json() as Promise<T>
}

/** A picture, to be part of a message. */
export const postFile = async (file: Blob): Promise<StoredFile> =>
  (await send('POST', '/api/files', file, file.type)).json() as Promise<StoredFile>

export const getFile = async (id: string): Promise<Blob> =>
  (await request('GET', `/api/files/${encodeURIComponent(id)}`)).blob()

const conversationUrl = (id: string) => `/api/conversations/${encodeURIComponent(id)}`
const feedbackUrl = (messageId: string) => `/api/messages/${encodeURIComponent(messageId)}/feedback`

export const getStatus = () => json<Status>('GET', '/api/status')

export function listConversations(query: ListQuery, signal?: AbortSignal): Promise<ConversationList> {
  const parameters = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) if (value !== undefined) parameters.set(name, String(value))
  return json('GET', `/api/conversations?${parameters}`, undefined, { signal })
}

export const createConversation = (body: CreateConversation) => json<Conversation>('POST', '/api/conversations', body)

export const getConversation = (id: string) => json<ConversationWithMessages>('GET', conversationUrl(id))

export const updateConversation = (id: string, body: UpdateConversation) =>
  json<Conversation>('PATCH', conversationUrl(id), body)

/** `keepalive`: the request outlives the page. */
export const deleteConversation = (id: string, keepalive = false) =>
  request('DELETE', conversationUrl(id), undefined, { keepalive })

export const putFeedback = (messageId: string, body: Feedback) => json<Feedback>('PUT', feedbackUrl(messageId), body)

export const deleteFeedback = (messageId: string) => request('DELETE', feedbackUrl(messageId))

/** Aborting the signal closes the connection; the answer goes on. */
export const streamReply = (id: string, body: Reply, signal: AbortSignal): AsyncGenerator<ReplyEvent> =>
  streamEvents('POST', `${conversationUrl(id)}/reply`, body, signal)

/** Writes on an answer that did not come to its own end. */
export const streamContinuation = (messageId: string, signal: AbortSignal): AsyncGenerator<ReplyEvent> =>
  streamEvents('POST', `/api/messages/${encodeURIComponent(messageId)}/continue`, undefined, signal)

/** What is still to come of an answer, after a `start` with what there is. */
export const streamLive = (messageId: string, signal: AbortSignal): AsyncGenerator<ReplyEvent> =>
  streamEvents('GET', `/api/messages/${encodeURIComponent(messageId)}/events`, undefined, signal)

async function* streamEvents<Event = ReplyEvent>(
  method: string,
  path: string,
  body: Reply | undefined,
  signal: AbortSignal,
): AsyncGenerator<Event> {
  const response = await request(method, path, body, { signal })
  if (!response.body) throw new ApiError('The server sent an empty answer.', response.status)
  try {
    for await (const data of eventData(response.body)) yield JSON.parse(data) as Event
  } catch (error) {
    if (!signal.aborted) noteReached(false)
    throw error
  }
}

export const stopReply = (messageId: string) => request('POST', `/api/messages/${encodeURIComponent(messageId)}/stop`)

const comparisonUrl = (id: string) => `/api/arena/comparisons/${encodeURIComponent(id)}`

/** Has several answers to one prompt written. */
export const postComparison = (body: StartComparison) => json<Comparison>('POST', '/api/arena/comparisons', body)

export const getComparison = (id: string, signal: AbortSignal) =>
  json<Comparison>('GET', comparisonUrl(id), undefined, { signal })

/** What is still to come of its answers. Aborting the signal closes the connection; the answers go on. */
export const streamComparison = (id: string, signal: AbortSignal): AsyncGenerator<ComparisonEvent> =>
  streamEvents<ComparisonEvent>('GET', `${comparisonUrl(id)}/events`, undefined, signal)

export const stopComparison = (id: string) => request('POST', `${comparisonUrl(id)}/stop`)

export const putVote = (id: string, body: Vote) => json<Comparison>('PUT', `${comparisonUrl(id)}/vote`, body)

export const deleteComparison = (id: string) => request('DELETE', comparisonUrl(id))

export const getStandings = () => json<Standings>('GET', '/api/arena/standings')

export const getFeedbackExport = async (kind: FeedbackKind): Promise<Blob> =>
  (await request('GET', `/api/feedback/export?kind=${kind}`)).blob()

export const listPapers = () => json<PaperList>('GET', '/api/papers')

export const getPaper = (slug: string) => json<PaperDetail>('GET', `/api/papers/${encodeURIComponent(slug)}`)

export const listTabModels = () => json<TabModelList>('GET', '/api/tab-models')

export const getTabModelFile = ({ place, name }: TabModel, file: string) =>
  request('GET', `/api/tab-models/${place}/${encodeURIComponent(name)}/${file}`)

/** How a served model cuts a text. */
export const postTokens = (body: Tokenize, signal: AbortSignal) =>
  json<TokenList>('POST', '/api/tokens', body, { signal })

/** Texts, each token with its log-probability after those before it. */
export interface ScoredTexts {
  readonly choices: readonly {
    readonly logprobs: { readonly token_logprobs: readonly (number | null)[]; readonly text_offset: readonly number[] }
  }[]
}

export const postScored = (model: string, prompt: readonly string[], signal: AbortSignal) =>
  json<ScoredTexts>('POST', '/v1/completions', { model, prompt, echo: true, logprobs: 0, max_tokens: 0 }, { signal })

const runUrl = (run: string) => `/api/runs/${encodeURIComponent(run)}`
const sampleUrl = (run: string, file: string) =>
  `${runUrl(run)}/samples/${file.split('/').map(encodeURIComponent).join('/')}`

export const listRuns = () => json<RunList>('GET', '/api/runs')

export const getRun = (run: string) => json<RunDetail>('GET', runUrl(run))

/** The lines after `cursor`, which the page before told. */
export const getMetrics = (run: string, cursor: string | null, signal: AbortSignal) =>
  json<MetricsPage>('GET', `${runUrl(run)}/metrics${cursor === null ? '' : `?cursor=${cursor}`}`, undefined, { signal })

export const getSampleTexts = (run: string, file: string) => json<SampleTexts>('GET', sampleUrl(run, file))

/** As bytes: an address in an `img` would be asked for without the key. */
export const getSamplePicture = async (run: string, file: string) => (await request('GET', sampleUrl(run, file))).blob()

export const listTrainings = () => json<TrainingList>('GET', '/api/trainings')

export const postTraining = (body: StartTraining) => json<Training>('POST', '/api/trainings', body)

export const patchTraining = (run: string, body: ChangeTraining) =>
  json<Training>('PATCH', `/api/trainings/${encodeURIComponent(run)}`, body)

/** Serves the model that a run has left, and takes it back. */
export const postRunModel = (run: string) => json<Status['models'][number]>('POST', '/api/models', { run })
export const deleteRunModel = (run: string) => request('DELETE', `/api/models/${encodeURIComponent(run)}`)
