import { z } from 'zod'
import type { RunResult } from '../optim/result.ts'

export type { RunResult } from '../optim/result.ts'

/**
 * Every request and response of jackdaw's own routes, under `/api`: the server checks requests with these schemas and
 * the page imports the types. (OpenAI's routes, under `/v1`, are in openai-wire.ts.)
 *
 * | route | request | response |
 * |---|---|---|
 * | GET    /api/status                        |                        | Status |
 * | GET    /api/conversations?search&limit&cursor | ListQuery          | ConversationList |
 * | POST   /api/conversations                 | CreateConversation     | 201 Conversation |
 * | GET    /api/conversations/:id             |                        | ConversationWithMessages |
 * | PATCH  /api/conversations/:id             | UpdateConversation     | Conversation |
 * | DELETE /api/conversations/:id             |                        | 204 |
 * | POST   /api/conversations/:id/messages    | AddMessage             | 201 Message |
 * | POST   /api/conversations/:id/reply       | Reply                  | text/event-stream of ReplyEvent |
 * | POST   /api/messages/:id/continue         |                        | text/event-stream of ReplyEvent |
 * | GET    /api/messages/:id/events           |                        | text/event-stream of ReplyEvent |
 * | POST   /api/files                         | PNG, JPEG, GIF or WebP | 201 StoredFile |
 * | GET    /api/files/:id                     |                        | the picture |
 * | POST   /api/messages/:id/stop             |                        | 204 |
 * | PUT    /api/messages/:id/feedback         | Feedback               | Feedback |
 * | DELETE /api/messages/:id/feedback         |                        | 204 |
 * | POST   /api/arena/comparisons             | StartComparison        | 201 Comparison |
 * | GET    /api/arena/comparisons/:id         |                        | Comparison |
 * | GET    /api/arena/comparisons/:id/events  |                        | text/event-stream of ComparisonEvent |
 * | POST   /api/arena/comparisons/:id/stop    |                        | 204 |
 * | PUT    /api/arena/comparisons/:id/vote    | Vote                   | Comparison |
 * | DELETE /api/arena/comparisons/:id         |                        | 204 |
 * | GET    /api/arena/standings               |                        | Standings |
 * | GET    /api/feedback/export?kind          | ExportQuery            | JSON lines |
 * | GET    /api/papers                        |                        | PaperList |
 * | GET    /api/papers/:slug                  |                        | PaperDetail |
 * | GET    /api/tab-models                    |                        | TabModelList |
 * | GET    /api/tab-models/:place/:name/:file |                        | a file of a model |
 * | POST   /api/tokens                        | Tokenize               | TokenList |
 * | GET    /api/runs                          |                        | RunList |
 * | GET    /api/runs/:run                     |                        | RunDetail |
 * | GET    /api/runs/:run/metrics?cursor      | MetricsQuery           | MetricsPage |
 * | GET    /api/trainings                     |                        | TrainingList |
 * | POST   /api/trainings                     | StartTraining          | 201 Training |
 * | PATCH  /api/trainings/:run                | ChangeTraining         | Training |
 * | POST   /api/models                        | ServeRun               | 201 Status.models[number] |
 * | DELETE /api/models/:run                   |                        | 204 |
 * | GET    /api/runs/:run/samples/:file       |                        | SampleTexts, or a PNG |
 *
 * Every failure is an `ErrorBody` with status 400 (bad request), 401 (wrong or missing key: `Authorization: Bearer`),
 * 403 (foreign host), 404 (not found), 409 (not now), 413 (body too large), 429 (queue full), 500 or 503 (no store).
 */

/** Kept below what PostgreSQL's text column and a model's context could ever take. */
const maxContentLength = 400_000

// PostgreSQL's text cannot hold U+0000, nor UTF-8 a lone surrogate.
const plainText = (max: number) =>
  z
    .string()
    .max(max)
    .regex(/^[^\0\p{Surrogate}]*$/u, 'must be well-formed text without U+0000')

export const settings = z.strictObject({
  /** A model's id from `Status.models`; the server's default where left out. */
  model: plainText(200).optional(),
  systemPrompt: plainText(32_000).optional(),
  /** 0 is greedy. */
  temperature: z.number().min(0).max(10).optional(),
  topP: z.number().min(0).max(1).optional(),
  /** 0 keeps all. */
  topK: z.int().min(0).max(1_000_000).optional(),
  minP: z.number().min(0).max(1).optional(),
  /** 1 is off. */
  repetitionPenalty: z.number().positive().max(10).optional(),
  maxNewTokens: z.int().min(1).max(1_000_000).optional(),
  seed: z.int().min(0).max(Number.MAX_SAFE_INTEGER).optional(),
})
export type Settings = z.infer<typeof settings>

const id = z.uuid()

export const textPart = z.strictObject({ type: z.literal('text'), text: plainText(maxContentLength).min(1) })
/** `fileId`: of a file that was uploaded or drawn. The size is the file's, whatever a request says. */
export const imagePart = z.strictObject({
  type: z.literal('image'),
  fileId: id,
  width: z.int().min(1),
  height: z.int().min(1),
  alt: plainText(1_000),
})
/** Of an answer: a tool that the model called on its way, with arguments as JSON, and what came back. */
export const toolPart = z.strictObject({
  type: z.literal('tool'),
  name: z.string(),
  arguments: z.string(),
  result: z.string(),
})
/** What messages are made of. */
export const part = z.discriminatedUnion('type', [textPart, imagePart, toolPart])
/** What a question is made of. */
export const askedPart = z.discriminatedUnion('type', [textPart, imagePart])
export type Part = z.infer<typeof part>
export type AskedPart = z.infer<typeof askedPart>
export type ImagePart = z.infer<typeof imagePart>
export type ToolPart = z.infer<typeof toolPart>

export const storedFile = z.object({
  id,
  mediaType: z.string(),
  width: z.int(),
  height: z.int(),
  /** Bytes. */
  size: z.int(),
})
export type StoredFile = z.infer<typeof storedFile>
/** ISO 8601, UTC. */
const date = z.iso.datetime()

export const conversation = z.object({
  id,
  /** Empty until the first message names it. */
  title: z.string(),
  settings,
  /** The leaf of the branch shown last: the newest message, or what the page set since. */
  activeMessageId: id.nullable(),
  createdAt: date,
  /** When a message or the title last changed: what the list is sorted by, newest first. */
  updatedAt: date,
})
export type Conversation = z.infer<typeof conversation>

export const usage = z.object({
  promptTokens: z.int(),
  /** Prompt tokens that were not computed again. */
  cachedTokens: z.int(),
  completionTokens: z.int(),
  /** Milliseconds until the first token, and from the first to the last. */
  promptMs: z.number(),
  decodeMs: z.number(),
})
export type Usage = z.infer<typeof usage>

export const rating = z.enum(['up', 'down'])
export const feedback = z.strictObject({ rating, comment: plainText(4_000).default('') })
export type Feedback = z.infer<typeof feedback>

/**
 * `stop`: the model ended; `length`: out of tokens; `stopped`: the reader stopped it; `error`: generation failed;
 * `interrupted`: the server went away while it wrote.
 */
export const finishReason = z.enum(['stop', 'length', 'stopped', 'error', 'interrupted'])
export type FinishReason = z.infer<typeof finishReason>

/** What an answer was asked with: what the conversation set then, and the defaults for the rest. */
export const answerSettings = settings.omit({ model: true }).extend({
  /** The model was only pre-trained: the answer goes on with the text of the question. */
  continues: z.boolean(),
})
export type AnswerSettings = z.infer<typeof answerSettings>

export const message = z.object({
  id,
  conversationId: id,
  /** The message this one follows; null for the first. Siblings are the branches of an edit or a regeneration. */
  parentId: id.nullable(),
  role: z.enum(['user', 'assistant']),
  parts: z.array(part),
  /** The text of its parts. */
  content: z.string(),
  /** Which model wrote it; null for the user's. */
  model: z.string().nullable(),
  /** Null for the user's, and for answers written before these were kept. */
  settings: answerSettings.nullable(),
  /** Null for the user's messages, and while the answer is being written. */
  finishReason: finishReason.nullable(),
  usage: usage.nullable(),
  /**
   * Of an answer: how many messages before it did not fit the model's context and were not read, counted from the
   * conversation's first; where the model continues a text, how many tokens of its beginning. Otherwise 0.
   */
  omitted: z.int(),
  feedback: feedback.nullable(),
  createdAt: date,
})
export type Message = z.infer<typeof message>

export const conversationWithMessages = conversation.extend({
  /** All branches, oldest first: a parent always comes before its children. */
  messages: z.array(message),
})
export type ConversationWithMessages = z.infer<typeof conversationWithMessages>

export const listQuery = z.strictObject({
  /** Words to find in titles and messages; letter case does not matter. */
  search: plainText(200).optional(),
  limit: z.coerce.number().int().min(1).max(100).default(30),
  /** `nextCursor` of the page before. */
  cursor: z.string().max(200).optional(),
})
export type ListQuery = z.input<typeof listQuery>

export const conversationSummary = conversation.extend({
  /** With a search: the text around the first match in a message; null where only the title matches. */
  snippet: z.string().nullable(),
})
export type ConversationSummary = z.infer<typeof conversationSummary>

export const conversationList = z.object({
  conversations: z.array(conversationSummary),
  /** Null on the last page. */
  nextCursor: z.string().nullable(),
})
export type ConversationList = z.infer<typeof conversationList>

const title = plainText(200)

export const createConversation = z.strictObject({ title: title.default(''), settings: settings.default({}) })
export type CreateConversation = z.input<typeof createConversation>

/** `settings` replaces all of them. */
export const updateConversation = z.strictObject({
  title: title.optional(),
  settings: settings.optional(),
  activeMessageId: id.optional(),
})
export type UpdateConversation = z.infer<typeof updateConversation>

/** Editing is adding a sibling: a message with the parent of the edited one. */
export const addMessage = z.strictObject({
  parentId: id.nullable(),
  role: z.enum(['user', 'assistant']).default('user'),
  content: plainText(maxContentLength).min(1),
})
export type AddMessage = z.input<typeof addMessage>

const maxParts = 16

/**
 * With `content`, or with `parts` where it is more than text: adds the user's message after `parentId` (null: as a first
 * message) and answers it. Without: answers the user's message `parentId`; again, if it has an answer already
 * (regenerate).
 */
export const reply = z
  .strictObject({
    parentId: id.nullable(),
    content: plainText(maxContentLength).min(1).optional(),
    parts: z.array(askedPart).min(1).max(maxParts).optional(),
  })
  .refine((body) => body.content === undefined || body.parts === undefined, {
    path: ['parts'],
    error: 'must be left out where there is content',
  })
  .refine((body) => body.parentId !== null || body.content !== undefined || body.parts !== undefined, {
    path: ['parentId'],
    error: 'must name the message to answer where content is left out',
  })
export type Reply = z.infer<typeof reply>

export const errorBody = z.object({
  error: z.object({
    /** One sentence for the reader. */
    message: z.string(),
    type: z.string(),
    /** The field that is wrong. */
    param: z.string().nullable(),
    code: z.string().nullable(),
  }),
})
export type ErrorBody = z.infer<typeof errorBody>

/**
 * Each is sent as a server-sent event: `event: <type>` and `data: <the object as JSON>`.
 * `start` comes once and first; then `delta`s, `preview`s and `part`s; then one `end` or one `error`. Closing the connection does not end the
 * answer: `/api/messages/:id/events` reads on, while the same server writes it, and `/stop` stops it: what was written is
 * kept, with finishReason `stopped`. `/continue` writes on an answer that did not come to its own end; its events are the
 * same, and what was there before stands in the message of `start`.
 */
export const replyEvent = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('start'),
    /** With its title and activeMessageId as they now are. */
    conversation,
    /** The message that `content` added. */
    userMessage: message.nullable(),
    /** The answer to be: still empty, or what there is of it for who comes later. */
    message,
  }),
  /** `delta` is to be appended to the text part of that place; never a broken character. `tokens` are generated so far. */
  z.object({ type: z.literal('delta'), part: z.int(), delta: z.string(), tokens: z.int() }),
  /** A picture on its way to be that part, after so many of its steps; `url` is a data URL. Some may be left out. */
  z.object({
    type: z.literal('preview'),
    part: z.int(),
    step: z.int(),
    steps: z.int(),
    url: z.string(),
    width: z.int(),
    height: z.int(),
  }),
  /** The part of that place, whole: a picture that is drawn, a tool that was called. */
  z.object({ type: z.literal('part'), part: z.int(), value: part }),
  /** The whole answer as stored. */
  z.object({ type: z.literal('end'), message }),
  z.object({ type: z.literal('error'), ...errorBody.shape }),
])
export type ReplyEvent = z.infer<typeof replyEvent>

export const status = z.object({
  version: z.string(),
  uptimeSeconds: z.number(),
  /** The first is the default. */
  models: z.array(
    z.object({
      id: z.string(),
      /** False: it makes embeddings, and no text. */
      canWrite: z.boolean(),
      /** False: it was only pre-trained, and continues the text of the user's last message. */
      canChat: z.boolean(),
      /** It answers the user's last message alone: no earlier ones, no system prompt. */
      singleTurn: z.boolean(),
      /** Takes pictures in messages. */
      canSee: z.boolean(),
      canEmbed: z.boolean(),
      contextLength: z.int(),
      /** One sentence: what it is. */
      description: z.string(),
      /** What it can be asked with the tools it has of its own. */
      examples: z.array(z.string()),
      /** Answers being written now, and waiting. */
      activeRequests: z.int(),
      /** Of the last answers; null before the first. */
      tokensPerSecond: z.number().nullable(),
    }),
  ),
})
export type Status = z.infer<typeof status>

/** What a model is to answer: a path of messages, the last one the user's. */
export const promptMessage = z.strictObject({
  role: z.enum(['system', 'user', 'assistant']),
  content: plainText(maxContentLength).min(1),
})
export type PromptMessage = z.infer<typeof promptMessage>

/** Who answers in the arena. All contenders read the same prompt, and each answer has a seed of its own. */
export const contender = z.strictObject({
  /** Any model that writes is drawn where it is left out. */
  model: plainText(200).optional(),
  settings: settings.omit({ model: true, systemPrompt: true, seed: true }).default({}),
})
export type Contender = z.input<typeof contender>

export const mostAnswers = 9

/** The answers are the contenders' in turn, so that one contender's own answers may be ranked too. */
export const startComparison = z
  .strictObject({
    messages: z.array(promptMessage).min(1).max(200),
    contenders: z.array(contender).min(1).max(mostAnswers),
    answers: z.int().min(2).max(mostAnswers).default(2),
  })
  .refine(({ messages }) => messages.at(-1)?.role === 'user', {
    path: ['messages'],
    error: 'must end with a message of the user',
  })
  .refine(({ contenders, answers }) => contenders.length <= answers, {
    path: ['answers'],
    error: 'must be one for each contender at least',
  })
export type StartComparison = z.input<typeof startComparison>

export const comparedAnswer = z.object({
  content: z.string(),
  /** Null while it is being written. */
  finishReason: finishReason.nullable(),
  /** These three are null until there is a vote. */
  model: z.string().nullable(),
  settings: answerSettings.nullable(),
  usage: usage.nullable(),
})
export type ComparedAnswer = z.infer<typeof comparedAnswer>

/** Places of answers, the best first; those in one group are as good as each other. */
const groups = z
  .array(
    z
      .array(
        z
          .int()
          .min(0)
          .max(mostAnswers - 1),
      )
      .min(1),
  )
  .min(1)

export const vote = z.strictObject({
  groups,
  /** None of them is good. */
  allBad: z.boolean().default(false),
  comment: plainText(4_000).default(''),
  /** Whoever votes, by a name or mark of their own. */
  voter: plainText(100).default(''),
})
export type Vote = z.input<typeof vote>

export const comparison = z.object({
  id,
  messages: z.array(promptMessage),
  /** In places that were drawn. */
  answers: z.array(comparedAnswer),
  /** Null until there is one, and then not changed. */
  vote: vote.nullable(),
  createdAt: date,
})
export type Comparison = z.infer<typeof comparison>

/**
 * `start` comes first, with what is written by now, then `delta`s and an `end` for each answer, in any order, and `done`
 * when all have ended. Closing the connection ends nothing; `/stop` does.
 */
export type ComparisonEvent =
  | { readonly type: 'start'; readonly comparison: Comparison }
  | { readonly type: 'delta'; readonly place: number; readonly delta: string }
  | { readonly type: 'end'; readonly place: number; readonly finishReason: FinishReason }
  | { readonly type: 'done' }

/** Wins, losses and ties are pairs of answers. */
export interface Tally {
  readonly wins: number
  readonly losses: number
  readonly ties: number
  /** In how many comparisons. */
  readonly comparisons: number
  /** The mean over comparisons of the share of pairs that were won, ties as halves. */
  readonly winRate: number
  /** Of 95 % (Wilson), a comparison as one answer. */
  readonly interval: readonly [low: number, high: number]
}

export interface Standing extends Tally {
  /** A model, with the settings that are not the page's: `jackdaw-chat · temperature 0.2`. */
  readonly contender: string
  /** Bradley and Terry's strength on Elo's scale: 1000 is the mean, and 400 more is ten wins to a loss. */
  readonly rating: number
}

/** Seen from the first. */
export interface Duel extends Tally {
  readonly contenders: readonly [string, string]
}

export interface Standings {
  readonly comparisons: number
  /** Of these, how many say that some answer is better than another. */
  readonly telling: number
  /** Pairs of answers of which one is better: what a reward model learns from. */
  readonly preferences: number
  /** The strongest first. */
  readonly standings: readonly Standing[]
  readonly duels: readonly Duel[]
}

export const feedbackKind = z.enum(['ratings', 'comparisons', 'all'])
export type FeedbackKind = z.infer<typeof feedbackKind>
export const exportQuery = z.strictObject({ kind: feedbackKind.default('all') })

/** Of the three checks of a paper, which hold. */
export interface PaperChecks {
  /** Its numbers agree with a reference implementation. */
  readonly same: boolean
  /** Trained here, it reaches the outcome. */
  readonly learns: boolean
  /** In a few lines, from the command line and the library. */
  readonly usable: boolean
}

export interface PaperSummary {
  readonly number: number
  readonly slug: string
  readonly name: string
  readonly state: 'works' | 'in part' | 'planned'
  /** Not of the reading list, but built on the same blocks. */
  readonly isBeside: boolean
  /** The paper whose file tells it. */
  readonly within: string | null
  /** Of the header of its file: null where there is none yet. */
  readonly title: string | null
  readonly authors: string | null
  readonly year: number | null
  readonly arXiv: string | null
  readonly checks: PaperChecks
}

export interface PaperList {
  readonly papers: readonly PaperSummary[]
  /** A sentence for each file that could not be read. */
  readonly faults: readonly string[]
}

export interface PaperSource {
  /** From the root of the repository or of the package. */
  readonly path: string
  readonly text: string
}

export interface PaperExperiment {
  /** What `jackdaw train` takes. */
  readonly recipe: string
  readonly claim: string
  /** What came out, in a few words. */
  readonly outcome: string
  readonly holds: boolean
  readonly result: RunResult | null
  /** SVG. */
  readonly curve: string | null
}

export interface PaperDetail extends PaperSummary {
  /** What its ideas are new over. */
  readonly over: string | null
  readonly ideas: readonly string[]
  /** Where it lies, or is to lie. */
  readonly files: readonly string[]
  /** What is behind each check; empty of a paper that is only planned. */
  readonly checkLines: Readonly<Partial<Record<keyof PaperChecks, readonly string[]>>>
  readonly sources: readonly PaperSource[]
  readonly experiments: readonly PaperExperiment[]
}

/** A model that is small enough to run in a page. */
export interface TabModel {
  /** Shipped with the package, or left by a run. */
  readonly place: 'shipped' | 'run'
  /** Of its folder; `RUN/STAGE` of what a stage has left. */
  readonly name: string
  /** As its config.json names it: `LlamaForCausalLM`. */
  readonly architecture: string
  /** Of its weights. */
  readonly bytes: number
  readonly hasTokenizer: boolean
}

export interface TabModelList {
  readonly models: readonly TabModel[]
}

export const tokenize = z.strictObject({
  /** A served model's id. */
  model: plainText(200),
  text: plainText(10_000),
})
export type Tokenize = z.infer<typeof tokenize>

export interface TokenList {
  /** A token's text may be a part of a character, and shows it as U+FFFD. */
  readonly tokens: readonly { readonly id: number; readonly text: string }[]
}

export interface RunSummary {
  /** Of its folder. */
  readonly name: string
  /** These four null where there is no result.json. */
  readonly recipe: string | null
  readonly paper: string | null
  readonly claim: string | null
  /** As the run last said: one that was killed says `running`, and `updatedAt` tells. */
  readonly state: RunResult['state'] | null
  /** Whether what came out is what was claimed; null until the recipe says so. */
  readonly holds: boolean | null
  /** Of computing. */
  readonly seconds: number
  /** Of the newest line of metrics.jsonl. */
  readonly step: number
  /** Null where that is not known. */
  readonly steps: number | null
  readonly stage: string | null
  readonly loss: number | null
  /** When something was last written. */
  readonly updatedAt: string
}

export interface RunList {
  /** Where they were looked for. */
  readonly folder: string
  readonly runs: readonly RunSummary[]
}

export interface RunSample {
  readonly stage: string | null
  readonly name: string
  /** Steps done when it was taken. */
  readonly step: number
  readonly kind: 'texts' | 'picture'
  /** Its address below `/api/runs/:run/samples/`. */
  readonly file: string
}

export interface RunDetail extends RunSummary {
  readonly result: RunResult | null
  /** It has left a model, which may be served. */
  readonly hasModel: boolean
  /** Newest first. */
  readonly samples: readonly RunSample[]
}

export interface SampleTexts {
  readonly texts: readonly unknown[]
}

export const metricsQuery = z.strictObject({
  /** `cursor` of the page before; left out at first. */
  cursor: z
    .string()
    .regex(/^\d{1,15}\.([0-9a-f]{12})?$/, 'must be the cursor of the page before')
    .optional(),
})
export type MetricsQuery = z.infer<typeof metricsQuery>

export interface MetricsPage {
  readonly cursor: string
  /** These lines are the first: what was read before is gone. */
  readonly restarted: boolean
  /** There is more to read at once. */
  readonly more: boolean
  /** Lines of metrics.jsonl: a step's loss, gradient norm and so on, or the scores of an evaluation. */
  readonly lines: readonly unknown[]
}

/** A run that the server has started, or is to start, as a process of its own. */
export interface Training {
  /** Of its folder below that of the runs. */
  readonly run: string
  readonly kind: 'reward' | 'ppo'
  /** The served model that it begins from. */
  readonly model: string
  /** Of PPO: the run whose reward model judges. */
  readonly reward: string | null
  /** Lines of what it learns from: comparisons, or prompts. */
  readonly examples: number
  readonly state: 'waiting' | 'running' | 'stopped' | 'failed' | 'finished'
  /** One sentence, where it failed. */
  readonly error: string | null
  readonly startedAt: string
  /** What the run's folder says; null until there is something. */
  readonly summary: RunSummary | null
}

export interface TrainingList {
  /** Newest first. */
  readonly trainings: readonly Training[]
  /** How many pairs, of which one is better, a reward model needs. */
  readonly leastPreferences: number
  /** Why whoever asks may start none; null where they may. */
  readonly refusal: string | null
}

/** `--set` of a recipe: numbers and switches; what is a path is the server's. */
const recipeSettings = z
  .record(z.string().regex(/^[a-zA-Z]\w{0,40}$/, 'must be the name of a setting'), z.union([z.number(), z.boolean()]))
  .default({})

/** Begins from a served `model`: the default one, or for PPO the one that the reward model began from. */
export const startTraining = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('reward'), model: plainText(200).optional(), settings: recipeSettings }),
  z.strictObject({
    kind: z.literal('ppo'),
    model: plainText(200).optional(),
    /** A finished run with a reward model. */
    reward: plainText(200),
    settings: recipeSettings,
  }),
])
export type StartTraining = z.input<typeof startTraining>

/** `running` goes on with what was stopped, or failed. */
export const changeTraining = z.strictObject({ state: z.enum(['stopped', 'running']) })
export type ChangeTraining = z.infer<typeof changeTraining>

export const serveRun = z.strictObject({ run: plainText(200) })
export type ServeRun = z.infer<typeof serveRun>
