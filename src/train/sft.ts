/**
 * Supervised fine-tuning, the first step of Training Language Models to Follow Instructions with Human Feedback —
 * InstructGPT
 * Ouyang, Wu, Jiang et al., OpenAI, 2022. arXiv 2203.02155
 *
 * New over fine-tuning for a task (§3.5, "Supervised fine-tuning"; appendix C.1):
 * - a pre-trained model goes on learning as a language model, on conversations that show what it is to say; the loss
 *   counts what the assistant wrote, and what it was told is only read;
 * - several conversations share a row, so that little is spent on padding (packing: Wei et al., 2021, FLAN, arXiv
 *   2109.01652, §2.4).
 *
 * Departures: FLAN's packed examples are told apart by a token that ends each, and see each other. Here attention does not
 * cross from one to the next, and positions begin anew: a row's loss is that of its conversations alone.
 *
 * | paper                      | here          |
 * |----------------------------|---------------|
 * | prompt                     | what stands before an answer, in the model's chat template |
 * | demonstration, completion  | `answer`      |
 * | epochs                     | `epochs`      |
 */

import {
  type Conversation,
  type Message,
  type ToolSpec,
  toWireMessage,
  toWireTool,
} from '../data/instruction/conversation.ts'
import { type BatchShape, IGNORED_LABEL } from '../data/loader.ts'
import { StepRandom } from '../data/random.ts'
import { PackedTexts } from '../nn/kv-cache.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { type InputSpec, int32 } from '../nn/trace.ts'
import type { Trainer } from '../optim/trainer.ts'
import { crossEntropySum, type SumAndCount, type Tensor, type TensorData } from '../tensor/index.ts'
import { type ChatMessage, type ChatTemplateOptions, renderChat } from '../text/chat-template.ts'
import type { Tokenizer } from '../text/tokenizer.ts'

/** A conversation as a model reads it. */
export interface EncodedConversation {
  readonly inputIds: readonly number[]
  /** Beside each token, whether the assistant wrote it: calls of tools and the token that ends its turn among them. */
  readonly answer: readonly boolean[]
}

export interface EncodeConversationOptions {
  /** Jinja source. Default: the tokenizer's. */
  readonly template?: string
  /** What the template is told of. Default: the conversation's own. */
  readonly tools?: readonly ToolSpec[]
}

/**
 * A conversation in a chat template's words. An answer is what the template adds to the conversation up to there and the
 * opening of the assistant's turn: from what the model will be asked with, to the token that ends its turn.
 *
 * @throws Error with one sentence where the template does not take the conversation, or writes its beginning in another
 * way once it goes on
 */
export function encodeConversation(
  tokenizer: Tokenizer,
  { messages, tools: own }: Conversation,
  { template = tokenizer.chatTemplate, tools = own }: EncodeConversationOptions = {},
): EncodedConversation {
  if (template === undefined) throw new Error('the model has no chat template: give it one')
  const chat = messages.map((message) => templateMessage(message, template))
  const options = { ...specialTokens(tokenizer), tools: tools?.map(toWireTool) }
  const text = renderChat(template, chat, options)
  const inputIds = tokenizer.encode(text, { addSpecialTokens: false })
  const answer = new Array<boolean>(inputIds.length).fill(false)

  /** How many of the ids are those of the text's beginning. A token across its end belongs to what follows. */
  const tokensOf = (count: number, addGenerationPrompt: boolean): number => {
    const beginning = renderChat(template, chat.slice(0, count), { ...options, addGenerationPrompt })
    if (!text.startsWith(beginning)) {
      throw new Error(
        `the chat template writes the first ${count} messages in another way once the conversation goes on, so it does not show what the assistant wrote: give it a plainer one`,
      )
    }
    if (beginning.length === text.length) return inputIds.length
    const ids = tokenizer.encode(beginning, { addSpecialTokens: false })
    const differs = ids.findIndex((id, i) => id !== inputIds[i])
    return differs < 0 ? ids.length : differs
  }
  for (const [i, { role }] of messages.entries()) {
    if (role !== 'assistant') continue
    const start = tokensOf(i, true)
    const end = tokensOf(i + 1, false)
    answer.fill(true, start, endOfTurn(inputIds, start, end, tokenizer))
  }
  return { inputIds, answer }
}

/** A conversation up to where the assistant is to go on: what a model is asked with. */
export function encodePrompt(
  tokenizer: Tokenizer,
  { messages, tools: own }: Conversation,
  { template = tokenizer.chatTemplate, tools = own }: EncodeConversationOptions = {},
): number[] {
  if (template === undefined) throw new Error('the model has no chat template: give it one')
  const chat = messages.map((message) => templateMessage(message, template))
  const options = { ...specialTokens(tokenizer), tools: tools?.map(toWireTool), addGenerationPrompt: true }
  return tokenizer.encode(renderChat(template, chat, options), { addSpecialTokens: false })
}

/** What a template adds after the token that ends a turn, a line's end, is never written by the model. */
function endOfTurn(ids: readonly number[], start: number, end: number, tokenizer: Tokenizer): number {
  let last = end - 1
  while (last >= start && !tokenizer.specialIds.has(ids[last])) last--
  return last >= start && tokenizer.decode(ids.slice(last + 1, end)).trim() === '' ? last + 1 : end
}

/** Templates write the arguments of a call as JSON themselves, but for those that ask whether they are a text. */
function templateMessage(message: Message, template: string): ChatMessage {
  const wire: ChatMessage = toWireMessage(message)
  if (!message.toolCalls || /arguments is string/.test(template)) return wire
  const tool_calls = message.toolCalls.map(({ id, name, arguments: json }) => ({
    id,
    type: 'function',
    function: { name, arguments: parsed(json) },
  }))
  return { ...wire, tool_calls }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return json
  }
}

function specialTokens(tokenizer: Tokenizer): Pick<ChatTemplateOptions, 'bosToken' | 'eosToken'> {
  const token = (id: number | undefined): string | undefined => (id === undefined ? undefined : tokenizer.tokenOf(id))
  return { bosToken: token(tokenizer.bosTokenId), eosToken: token(tokenizer.eosTokenId) }
}

export interface SftBatch {
  /** [batch, seq], as the next two */
  readonly inputIds: Int32Array
  /** The token that follows where the assistant wrote it, −100 elsewhere. */
  readonly shiftLabels: Int32Array
  /** Which of a row's conversations a token belongs to, counted from 1; 0 for padding. */
  readonly segmentIds: Int32Array
  /** [answers]: where an answer's next token is to be told, counted through all rows; filled up with 0 */
  readonly answerAt: Int32Array
  /** [answers]: that token; −100 where it is filled up */
  readonly answerLabels: Int32Array
}

type SftInputs = Record<'inputIds' | 'shiftLabels' | 'segmentIds', InputSpec> &
  Partial<Record<'answerAt' | 'answerLabels', InputSpec>>

/**
 * @param answers - `answers` of the batches: logits are then computed where an answer goes on, and nowhere else, which in a
 * small model with a large vocabulary is much of the work. Default: everywhere
 */
export const sftInputs = (batch: number, seq: number, answers?: number): SftInputs => ({
  inputIds: int32(batch, seq),
  shiftLabels: int32(batch, seq),
  segmentIds: int32(batch, seq),
  ...(answers === undefined ? {} : { answerAt: int32(answers), answerLabels: int32(answers) }),
})

/** −log p(token | those before it in its conversation): the mean over what the assistant wrote. */
export const sftObjective =
  (model: Pick<CausalLm, 'forward'>) =>
  (scope: Scope, inputs: Record<string, Tensor>): { loss: SumAndCount } => {
    const { inputIds, shiftLabels, segmentIds, answerAt, answerLabels } = inputs
    const options = { cache: new PackedTexts(segmentIds), logitsAt: answerAt }
    const { logits } = model.forward(scope, { inputIds }, options)
    return { loss: crossEntropySum(logits, answerAt ? answerLabels : shiftLabels) }
  }

/** Rows that are looked through for room. Beyond, the one that is open longest counts as full. */
const MOST_OPEN = 256

/** First fit: each conversation into the first row that has room for it. */
function packed(conversations: readonly EncodedConversation[], order: Iterable<number>, seq: number): number[][] {
  const rows: number[][] = []
  const shortest = Math.min(...lengthsOf(conversations))
  let open: { row: number[]; room: number }[] = []
  for (const i of order) {
    const { length } = conversations[i].inputIds
    let place = open.find(({ room }) => room >= length)
    if (!place) {
      place = { row: [], room: seq }
      rows.push(place.row)
      open.push(place)
      if (open.length > MOST_OPEN) open.shift()
    }
    place.row.push(i)
    place.room -= length
    if (place.room < shortest) open = open.filter((other) => other !== place)
  }
  return rows
}

/** The first token of a text is never predicted. */
const answersOf = (answer: readonly boolean[]): number => answer.reduce((sum, is, t) => sum + +(is && t > 0), 0)

const lengthsOf = (conversations: readonly EncodedConversation[]): number[] =>
  conversations.map(({ inputIds }) => inputIds.length)

/**
 * Batches of packed conversations without end: batch `step` is a pure function of the seed and `step`. Rows are packed
 * once, and read in another order every epoch; batches run on across epochs.
 */
export class SftBatches {
  readonly shape: BatchShape
  readonly rowsPerEpoch: number
  /** Conversations longer than a row: what is over was cut off. */
  readonly truncated: number
  /** Those without an answer in what is left of them: they are left out. */
  readonly dropped: number
  /** The most tokens of answers that a batch may have. */
  readonly answers: number
  /** The share of all places that hold a token. */
  readonly filled: number
  private readonly rows: readonly (readonly EncodedConversation[])[]
  private readonly orders = new Map<number, Uint32Array>()

  /** @throws RangeError where no conversation has an answer within `seq` tokens */
  constructor(
    conversations: readonly EncodedConversation[],
    shape: BatchShape,
    private readonly seed: number,
  ) {
    const { seq } = shape
    const whole = conversations.map(({ inputIds, answer }) => ({
      inputIds: inputIds.slice(0, seq),
      answer: answer.slice(0, seq),
    }))
    const kept = whole.filter(({ answer }) => answer.includes(true, 1))
    if (kept.length === 0) {
      throw new RangeError(
        `none of ${conversations.length} conversations has an answer within ${seq} tokens: a longer seq is needed`,
      )
    }
    this.shape = shape
    this.truncated = lengthsOf(conversations).filter((length) => length > seq).length
    this.dropped = whole.length - kept.length
    const rows = packed(kept, new StepRandom(seed, 0).permutation(kept.length), seq)
    this.rows = rows.map((row) => row.map((i) => kept[i]))
    this.rowsPerEpoch = rows.length
    const counts = this.rows.map((row) => row.reduce((sum, { answer }) => sum + answersOf(answer), 0))
    counts.sort((a, b) => b - a)
    // Where a batch runs on into the next epoch, a row may be in it once more.
    const times = Math.ceil(shape.batch / rows.length) + 1
    this.answers = Array.from({ length: shape.batch }, (_, i) => counts[Math.floor(i / times)]).reduce((a, b) => a + b)
    this.filled = lengthsOf(kept).reduce((sum, length) => sum + length, 0) / (rows.length * seq)
  }

  /** Steps in which every conversation is read so often, the last one filled up with the next epoch's. */
  stepsOf(epochs: number): number {
    return Math.max(1, Math.ceil((epochs * this.rowsPerEpoch) / this.shape.batch))
  }

  batchAt(step: number): SftBatch {
    const { batch } = this.shape
    return this.fill(
      Array.from({ length: batch }, (_, i) => {
        const place = step * batch + i
        return this.rows[this.order(Math.floor(place / this.rowsPerEpoch))[place % this.rowsPerEpoch]]
      }),
    )
  }

  /** Every conversation once, in order: what an evaluator reads. The last batch is filled up with padding. */
  *once(): Generator<Record<keyof SftBatch, TensorData>> {
    const { batch, seq } = this.shape
    for (let start = 0; start < this.rows.length; start += batch) {
      const made = this.fill(this.rows.slice(start, start + batch))
      const tensor = (name: keyof SftBatch, ...shape: number[]): TensorData => ({
        dtype: 'int32',
        shape,
        data: made[name],
      })
      yield {
        inputIds: tensor('inputIds', batch, seq),
        shiftLabels: tensor('shiftLabels', batch, seq),
        segmentIds: tensor('segmentIds', batch, seq),
        answerAt: tensor('answerAt', this.answers),
        answerLabels: tensor('answerLabels', this.answers),
      }
    }
  }

  private order(epoch: number): Uint32Array {
    let order = this.orders.get(epoch)
    if (!order) {
      order = new StepRandom(this.seed, epoch + 1).permutation(this.rowsPerEpoch)
      if (this.orders.size >= 2) this.orders.clear()
      this.orders.set(epoch, order)
    }
    return order
  }

  private fill(rows: readonly (readonly EncodedConversation[])[]): SftBatch {
    const { batch, seq } = this.shape
    const into = {
      inputIds: new Int32Array(batch * seq),
      shiftLabels: new Int32Array(batch * seq).fill(IGNORED_LABEL),
      segmentIds: new Int32Array(batch * seq),
      answerAt: new Int32Array(this.answers),
      answerLabels: new Int32Array(this.answers).fill(IGNORED_LABEL),
    }
    let answers = 0
    for (const [r, row] of rows.entries()) {
      let at = r * seq
      for (const [k, { inputIds, answer }] of row.entries()) {
        into.inputIds.set(inputIds, at)
        into.segmentIds.fill(k + 1, at, at + inputIds.length)
        for (let t = 1; t < inputIds.length; t++) {
          if (!answer[t]) continue
          into.shiftLabels[at + t - 1] = inputIds[t]
          into.answerAt[answers] = at + t - 1
          into.answerLabels[answers++] = inputIds[t]
        }
        at += inputIds.length
      }
    }
    return into
  }
}

/** For `trainLoop`'s `evaluate`: the loss over held-out conversations, every answer once. */
export const heldOutSftLoss =
  (split: SftBatches) =>
  async (trainer: Trainer): Promise<{ valLoss: number }> => {
    const { batch, seq } = split.shape
    const evaluator = await trainer.evaluator(sftInputs(batch, seq, split.answers))
    try {
      return { valLoss: (await evaluator.mean(split.once())).loss }
    } finally {
      evaluator.release()
    }
  }
