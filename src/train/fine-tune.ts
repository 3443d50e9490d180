/**
 * Fine-tuning of Improving Language Understanding by Generative Pre-Training
 * Radford, Narasimhan, Salimans and Sutskever, OpenAI, 2018.
 *
 * New here:
 * - one linear layer on the state at the last token is all that is new for a task, beside the tokens that mark where
 *   texts begin, meet and end (§3.2, eq. 3–4);
 * - tasks of several texts are written as one sequence each, so that the network stays as it is (§3.3, figure 1);
 * - the language model goes on learning the task's texts beside it, which helps it generalise (§3.2, eq. 5).
 *
 * | paper                                        | here                               |
 * |----------------------------------------------|------------------------------------|
 * | ⟨s⟩, $, ⟨e⟩ (`_start_ _delimiter_ _classify_`) | `start`, `delimiter`, `extract`    |
 * | h_l^m                                        | the state at `extract`             |
 * | W_y                                          | `classifier.weight`                |
 * | L₁, L₂, λ                                    | `languageModel`, `task`, `lmCoef`  |
 */

import { IGNORED_LABEL } from '../data/loader.ts'
import { StepRandom } from '../data/random.ts'
import { normal } from '../nn/initializers.ts'
import { linear } from '../nn/layers.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { type InputSpecs, int32 } from '../nn/trace.ts'
import type { Objective } from '../optim/trainer.ts'
import {
  argMax,
  crossEntropy,
  indicator,
  maximum,
  type SumAndCount,
  sum,
  type Tensor,
  type TensorData,
  takeRows,
} from '../tensor/index.ts'

/** Ids of the tokens that the paper adds to a vocabulary. */
export interface TaskTokens {
  /** Begins every sequence. */
  readonly start: number
  /** Between two texts. */
  readonly delimiter: number
  /** Ends every sequence: its state is what the classifier reads. */
  readonly extract: number
}

type Ids = readonly number[]

/** An example as the network reads it: one sequence, one for each order of two texts, or one for each answer. */
export type Sequences = readonly Ids[]

/** One text. */
export const classification = (text: Ids, { start, extract }: TaskTokens): Sequences => [[start, ...text, extract]]

/** A premise, and what it may entail. */
export const entailment = (premise: Ids, hypothesis: Ids, { start, delimiter, extract }: TaskTokens): Sequences => [
  [start, ...premise, delimiter, ...hypothesis, extract],
]

/** Two texts in no order: both orders, whose states are added. */
export const similarity = (a: Ids, b: Ids, tokens: TaskTokens): Sequences => [
  ...entailment(a, b, tokens),
  ...entailment(b, a, tokens),
]

/** What is asked about (a document and a question), and each answer there is; a softmax chooses among them. */
export const multipleChoice = (context: Ids, answers: readonly Ids[], tokens: TaskTokens): Sequences =>
  answers.flatMap((answer) => entailment(context, answer, tokens))

/**
 * What a classifier makes of an example's states: `classes` of their sum (one sequence, or two orders), or one of the
 * sequences themselves (`choices`).
 */
export interface Task {
  readonly kind: 'classes' | 'choices'
  /** How many classes or choices. */
  readonly count: number
  /** Sequences an example: 1, 2 where texts come in both orders, `count` where they are choices. */
  readonly sequences: number
}

export const classesTask = (count: number): Task => ({ kind: 'classes', count, sequences: 1 })
export const similarityTask = (count: number): Task => ({ kind: 'classes', count, sequences: 2 })
export const choicesTask = (count: number): Task => ({ kind: 'choices', count, sequences: count })

export interface FineTuneBatch {
  /** int32 [examples * sequences, seq], filled up with token 0 */
  readonly inputIds: Int32Array
  /** [examples * sequences, seq]: the token that follows; −100 after the end */
  readonly shiftLabels: Int32Array
  /** [examples * sequences]: where each `extract` stands, counted through all sequences */
  readonly extractAt: Int32Array
  /** [examples]: the class, or the right choice; −100 for an example that only fills a batch up */
  readonly labels: Int32Array
}

export interface FineTuneShape {
  readonly examples: number
  readonly seq: number
}

export const fineTuneInputs = (task: Task, { examples, seq }: FineTuneShape): InputSpecs => ({
  inputIds: int32(examples * task.sequences, seq),
  shiftLabels: int32(examples * task.sequences, seq),
  extractAt: int32(examples * task.sequences),
  labels: int32(examples),
})

/** A labelled example. */
export interface Example {
  readonly sequences: Sequences
  readonly label: number
}

/**
 * Examples side by side; the last of a split may be fewer than the shape has.
 *
 * @throws RangeError where a sequence is too long, or an example has another number of them than the task
 */
export function fineTuneBatch(examples: readonly Example[], task: Task, shape: FineTuneShape): FineTuneBatch {
  const { seq } = shape
  const rows = shape.examples * task.sequences
  const batch = {
    inputIds: new Int32Array(rows * seq),
    shiftLabels: new Int32Array(rows * seq).fill(IGNORED_LABEL),
    extractAt: Int32Array.from({ length: rows }, (_, row) => row * seq),
    labels: new Int32Array(shape.examples).fill(IGNORED_LABEL),
  }
  for (const [i, { sequences, label }] of examples.entries()) {
    if (sequences.length !== task.sequences) {
      throw new RangeError(`fine-tuning: the task has ${task.sequences} sequences an example, got ${sequences.length}`)
    }
    batch.labels[i] = label
    for (const [k, ids] of sequences.entries()) {
      if (ids.length > seq) throw new RangeError(`fine-tuning: a sequence has ${ids.length} tokens, and seq is ${seq}`)
      const at = (i * task.sequences + k) * seq
      batch.inputIds.set(ids, at)
      batch.shiftLabels.set(ids.slice(1), at)
      batch.extractAt[i * task.sequences + k] = at + ids.length - 1
    }
  }
  return batch
}

/** Epochs of examples, each in an order of its own: batch `step` is a pure function of the seed and `step`. */
export function fineTuneLoader(
  examples: readonly Example[],
  task: Task,
  shape: FineTuneShape,
  seed: number,
): { readonly batchesPerEpoch: number; batchAt(step: number): FineTuneBatch } {
  const batchesPerEpoch = Math.floor(examples.length / shape.examples)
  if (batchesPerEpoch === 0) {
    throw new RangeError(`fine-tuning: ${examples.length} examples do not fill a batch of ${shape.examples}`)
  }
  let epoch: { number: number; order: Uint32Array } = { number: -1, order: new Uint32Array() }
  return {
    batchesPerEpoch,
    batchAt(step) {
      const number = Math.floor(step / batchesPerEpoch)
      if (epoch.number !== number) epoch = { number, order: new StepRandom(seed, number).permutation(examples.length) }
      const first = (step % batchesPerEpoch) * shape.examples
      const chosen = Array.from(epoch.order.subarray(first, first + shape.examples), (i) => examples[i])
      return fineTuneBatch(chosen, task, shape)
    },
  }
}

/** A split in order, every example once: what an evaluator reads. */
export function* fineTuneSplit(
  examples: readonly Example[],
  task: Task,
  shape: FineTuneShape,
): Generator<Record<keyof FineTuneBatch, TensorData>> {
  const specs = fineTuneInputs(task, shape)
  for (let start = 0; start < examples.length; start += shape.examples) {
    const batch = fineTuneBatch(examples.slice(start, start + shape.examples), task, shape)
    const tensor = (name: keyof FineTuneBatch): TensorData => ({
      dtype: 'int32',
      shape: specs[name].shape as readonly number[],
      data: batch[name],
    })
    yield {
      inputIds: tensor('inputIds'),
      shiftLabels: tensor('shiftLabels'),
      extractAt: tensor('extractAt'),
      labels: tensor('labels'),
    }
  }
}

export interface FineTuneOptions {
  /** λ of eq. 5. Default 0.5; 0 leaves the language model's loss out. */
  readonly lmCoef?: number
  /** Before the classifier. Default 0.1. */
  readonly dropout?: number
  /** Of the classifier's first weights. Default 0.02. */
  readonly initializerRange?: number
}

/**
 * W_y h: the scores of an example's classes or choices (eq. 3).
 *
 * @param states - [examples * sequences, dModel], at `extract`
 * @returns [examples, count]
 */
export function taskLogits(scope: Scope, states: Tensor, task: Task, options: FineTuneOptions = {}): Tensor {
  const { dropout = 0.1, initializerRange = 0.02 } = options
  const classifier = (x: Tensor, features: number): Tensor =>
    linear(scope.at('classifier'), scope.dropout(x, dropout), features, { init: normal(initializerRange) })
  const grouped = [-1, task.sequences, states.shape[1]]
  if (task.kind === 'choices') return classifier(states, 1).reshape([-1, task.count])
  return classifier(states.reshape(grouped).sum({ axis: 1 }), task.count)
}

/**
 * L₃ = L₂ + λ L₁ (eq. 5): the mean over examples of the task's loss and of λ times the mean loss a token of their texts.
 * Answers also with the two parts, and with the share of examples that are classified right.
 */
export function fineTuneObjective(model: CausalLm, task: Task, options: FineTuneOptions = {}): Objective {
  const { lmCoef = 0.5 } = options
  return (scope, { inputIds, shiftLabels, extractAt, labels }) => {
    const { logits, lastHiddenState } = model.forward(scope, { inputIds })
    const scores = taskLogits(scope, takeRows(lastHiddenState, extractAt), task, options)
    const counts = indicator(labels.equal(IGNORED_LABEL).not()) // [examples]
    const over = (perExample: Tensor): SumAndCount => ({ sum: sum(perExample.mul(counts)), count: sum(counts) })
    const taskLoss = crossEntropy(scores, labels, { reduction: 'none' })
    const accuracy = over(indicator(argMax(scores, 1).cast('int32').equal(labels)))
    if (lmCoef === 0) return { loss: over(taskLoss), accuracy } as Record<'loss' | 'accuracy', SumAndCount>

    const tokens = indicator(shiftLabels.equal(IGNORED_LABEL).not())
    const perToken = crossEntropy(logits, shiftLabels, { reduction: 'none' })
    const perSequence = perToken.sum({ axis: 1 }).div(maximum(tokens.sum({ axis: 1 }), 1))
    const lmLoss = perSequence.reshape([-1, task.sequences]).mean({ axis: 1 })
    const loss = over(taskLoss.add(lmLoss.mul(lmCoef)))
    return { loss, task: over(taskLoss), languageModel: over(lmLoss), accuracy }
  }
}

/**
 * Rows for new tokens at the end of tables of a vocabulary, drawn from N(0, 0.02²) as the paper's code does.
 *
 * @param tables - the parameters with a row a token: of GPT-1, whose head is tied, `transformer.tokens_embed.weight`
 * @throws Error where a table is not among the weights
 */
export function addTokens(
  weights: ReadonlyMap<string, TensorData>,
  tables: readonly string[],
  count: number,
  seed: number,
): Map<string, TensorData> {
  const extended = new Map(weights)
  for (const [i, name] of tables.entries()) {
    const table = weights.get(name)
    if (!table) throw new Error(`there is no table ${name} to add tokens to`)
    const [rows, width] = table.shape
    const data = new Float32Array((rows + count) * width)
    data.set(table.data as Float32Array)
    const random = new StepRandom(seed, i)
    for (let at = rows * width; at < data.length; at++) data[at] = 0.02 * random.normal()
    extended.set(name, { dtype: 'float32', shape: [rows + count, width], data })
  }
  return extended
}
