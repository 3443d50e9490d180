import type { Decoded, Mqan } from '../models/mqan.ts'
import { int32, trace } from '../nn/trace.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import type { CompileOptions } from '../runtime/compiled.ts'
import type { Tensor, TensorData } from '../tensor/index.ts'

/** A question about a context, as ids: those from the vocabulary's size on are words that this pair alone has. */
export interface Question {
  readonly contextIds: readonly number[]
  readonly questionIds: readonly number[]
}

/** A word of an answer, and where it came from. */
export interface AnsweredWord {
  readonly id: number
  readonly probability: number
  /** The share of the vocabulary; of the rest, that of the context. */
  readonly gamma: number
  readonly lambda: number
  /** Where the pointers point: a share for each word of the context, and of the question. */
  readonly contextAttention: readonly number[]
  readonly questionAttention: readonly number[]
}

export interface Answer {
  /** The end is not among them. */
  readonly words: readonly AnsweredWord[]
  readonly ended: boolean
}

/** Answers that are decoded side by side. */
const MOST = 64

type Spoken = Decoded & { readonly probabilities: Tensor }

/** MQAN as it answers: the likeliest word at every place, for many questions at a time. */
export class QuestionAnswerer {
  private constructor(
    private readonly model: Mqan,
    private readonly reader: Program<Record<string, Tensor>>,
    private readonly writer: Program<Spoken>,
  ) {}

  static async create(
    model: Mqan,
    weights: Weights | LiveWeights,
    options: CompileOptions = {},
  ): Promise<QuestionAnswerer> {
    const { dModel, nLayers, maxAnswer } = model.config
    const texts = { contextIds: int32('batch', 'contextSeq'), questionIds: int32('batch', 'questionSeq') }
    const reading = trace(
      (scope, { contextIds, questionIds }): Record<string, Tensor> => {
        const { selfAttended, state, ...rest } = model.encode(scope, { contextIds, questionIds })
        return { ...rest, ...state, ...Object.fromEntries(selfAttended.map((x, i) => [`layer${i}`, x])) }
      },
      texts,
      { name: 'reading' },
    )
    const float32 = (...shape: (string | number)[]) => ({ dtype: 'float32' as const, shape })
    const ofContext = (last: number) => float32('batch', 'contextSeq', last)
    const layers = Array.from({ length: nLayers }, (_, i) => `layer${i}`)
    const writing = trace(
      (scope, inputs): Spoken => {
        const { context, contextMask, question, questionMask, h, c, answerIds, contextIds, questionIds } = inputs
        const selfAttended = layers.map((name) => inputs[name])
        const encoded = { context, contextMask, question, questionMask, selfAttended, state: { h, c } }
        const decoded = model.decode(scope, encoded, answerIds)
        return { ...decoded, probabilities: model.probabilities(decoded, { contextIds, questionIds }) }
      },
      {
        ...texts,
        answerIds: int32('batch', maxAnswer),
        context: ofContext(dModel),
        contextMask: float32('batch', 'contextSeq'),
        question: float32('batch', 'questionSeq', dModel),
        questionMask: float32('batch', 'questionSeq'),
        ...{ h: float32('batch', dModel), c: float32('batch', dModel) },
        ...Object.fromEntries(layers.map((name) => [name, ofContext(dModel)])),
      },
      { name: 'answering' },
    )
    return new QuestionAnswerer(
      model,
      await compile(reading, weights, options),
      await compile(writing, weights, options),
    )
  }

  /** @throws RangeError where a text has no words */
  async answer(questions: readonly Question[], signal?: AbortSignal): Promise<Answer[]> {
    if (questions.some(({ contextIds, questionIds }) => contextIds.length === 0 || questionIds.length === 0)) {
      throw new RangeError('a question and its context need at least one word each')
    }
    const answers: Answer[] = []
    for (let from = 0; from < questions.length; from += MOST) {
      answers.push(...(await this.answerTogether(questions.slice(from, from + MOST), signal)))
    }
    return answers
  }

  private async answerTogether(questions: readonly Question[], signal?: AbortSignal): Promise<Answer[]> {
    const { padTokenId, decoderStartTokenId, endTokenIds, maxAnswer } = this.model.config
    const padded = (texts: readonly (readonly number[])[]): TensorData => {
      const longest = Math.max(...texts.map(({ length }) => length))
      const data = new Int32Array(texts.length * longest).fill(padTokenId)
      for (const [row, ids] of texts.entries()) data.set(ids, row * longest)
      return { dtype: 'int32', shape: [texts.length, longest], data }
    }
    const texts = {
      contextIds: padded(questions.map(({ contextIds }) => contextIds)),
      questionIds: padded(questions.map(({ questionIds }) => questionIds)),
    }
    const read: Record<string, TensorData> = await this.reader(texts, { signal })
    const answerIds = new Int32Array(questions.length * maxAnswer).fill(padTokenId)
    const answers = questions.map(() => ({ words: [] as AnsweredWord[], ended: false }))
    for (let t = 0; t < maxAnswer && answers.some(({ ended }) => !ended); t++) {
      for (const [row, { words }] of answers.entries()) {
        answerIds[row * maxAnswer + t] = t === 0 ? decoderStartTokenId : (words[t - 1]?.id ?? padTokenId)
      }
      const fed: TensorData = { dtype: 'int32', shape: [questions.length, maxAnswer], data: answerIds }
      const said = await this.writer({ ...texts, ...read, answerIds: fed }, { signal })
      for (const [row, answer] of answers.entries()) {
        if (answer.ended) continue
        const at = (name: keyof Spoken, length = said[name].shape[2]): number[] => {
          const start = (row * maxAnswer + t) * said[name].shape[2]
          return Array.from(said[name].data.subarray(start, start + length) as Float32Array)
        }
        const distribution = at('probabilities')
        const id = distribution.indexOf(Math.max(...distribution))
        if (endTokenIds.includes(id)) answer.ended = true
        else {
          answer.words.push({
            id,
            probability: distribution[id],
            gamma: at('gamma')[0],
            lambda: at('lambda')[0],
            contextAttention: at('contextAttention', questions[row].contextIds.length),
            questionAttention: at('questionAttention', questions[row].questionIds.length),
          })
        }
      }
    }
    return answers
  }

  release(): void {
    this.reader.release()
    this.writer.release()
  }
}
