import {
  arange,
  concat,
  crossEntropy,
  customGradient,
  type Dim,
  embedding,
  expandDims,
  full,
  indicator,
  linear,
  type Tensor,
  takeRows,
  where,
} from '../tensor/index.ts'
import type { ConfigTable } from './config.ts'
import type { KvCache } from './kv-cache.ts'
import type { Scope } from './scope.ts'
import {
  float32,
  type InputSpecs,
  int32,
  optional,
  type Tensors,
  type Traced,
  type TraceOptions,
  trace,
} from './trace.ts'

/** What the parts above models may rely on: a model is a function of a scope and named tensors. */

/** What a model is for, and so what may be asked of it. */
export type ModelKind =
  | 'causal'
  | 'encoder-decoder'
  | 'encoder'
  | 'question-answering'
  | 'reward'
  | 'policy'
  | 'vision'
  | 'diffusion'

export interface Model {
  readonly kind: ModelKind
  /** What `forward` takes, by name. */
  readonly inputs: InputSpecs
  /** The checkpoint's own configuration, saved with the weights as config.json. */
  toConfig(): Record<string, unknown>
  /**
   * Records the computation. Inputs and outputs have the reference implementation's names in camelCase: `inputIds`,
   * `attentionMask`, `labels` → `logits`, and `loss` where labels are given.
   */
  forward(scope: Scope, inputs: Tensors): Tensors
}

/** Records a model's plainest run, on inputs of any size: what loading, saving and exporting it start from. */
export const traceModel = (model: Model, options: Pick<TraceOptions, 'onDeclare'> = {}): Traced =>
  trace((scope, inputs) => model.forward(scope, inputs), model.inputs, { name: model.constructor.name, ...options })

/** A class of models: `new Llama(LlamaConfig.read(json))` is made from a checkpoint's config.json. */
export interface ModelClass<C extends object = object> {
  /** Its hyperparameters, and the names of its architectures. */
  readonly table: ConfigTable<C>
  /** Names under which checkpoints without a head leave parameters out: `transformer.`. */
  readonly baseModelPrefix: string
  /** Names of the head and of the table of tokens, which may be one parameter. */
  readonly tiedHead?: { readonly head: string; readonly table: string }
  /** Other names under which checkpoints may have a parameter, tried in order. */
  readonly aliases?: (name: string) => readonly string[]
  new (config: Partial<C>): Model
}

/**
 * A model as its paper's file writes it: the static `table` of its hyperparameters, what kind it is, its inputs, and
 * `forward`.
 */
export abstract class Network<C extends object> implements Model {
  static readonly baseModelPrefix: string = ''

  readonly config: C
  abstract readonly kind: ModelKind
  abstract readonly inputs: InputSpecs

  /** What is left out is as the table of the configuration has it. */
  constructor(config: Partial<C> = {}) {
    this.config = tableOf<C>(this).complete(config)
  }

  toConfig(): Record<string, unknown> {
    return tableOf<C>(this).write(this.config)
  }

  abstract forward(scope: Scope, inputs: Tensors): Tensors
}

/** The table that the model's class names. */
function tableOf<C extends object>(model: Network<C>): ConfigTable<C> {
  const { table, name } = model.constructor as unknown as ModelClass<C> & { name: string }
  if (!table) throw new Error(`internal: the class ${name} has no static table of its configuration`)
  return table
}

export type CausalInputs = {
  /** int32 [batch, seq]; or else `inputsEmbeds`. */
  readonly inputIds?: Tensor
  /** [batch, seq, dModel]: what the tokens' embeddings would be. */
  readonly inputsEmbeds?: Tensor
  /** [batch, seq], 1 for tokens and 0 for padding. */
  readonly attentionMask?: Tensor
  /** int32 [batch, seq]; counted from 0, or on from what is cached, where left out. */
  readonly positionIds?: Tensor
  /** int32 [batch, seq]: tokens whose embeddings are added, in models that mark segments so. */
  readonly tokenTypeIds?: Tensor
  /** int32 [batch, seq]: the input ids again, −100 where they do not count. Token t is predicted from those before it. */
  readonly labels?: Tensor
  /** int32 [batch, seq]: in place of `labels`, the token that follows at each position, −100 where it does not count. */
  readonly shiftLabels?: Tensor
}

export type CausalOptions = {
  /** Decode over cached keys and values. */
  readonly cache?: KvCache
  /** int32 [rows]: compute logits only at these positions, counted through all sequences of the step. */
  readonly logitsAt?: Tensor
}

export type CausalOutputs = {
  /** [batch, seq, vocabSize], or [rows, vocabSize] with `logitsAt` */
  readonly logits: Tensor
  /** [batch, seq, dModel], after the last normalisation */
  readonly lastHiddenState: Tensor
  readonly loss?: Tensor
}

/** A decoder that continues text. */
export interface CausalLm extends Model {
  readonly kind: 'causal'
  readonly vocabSize: number
  /** The longest sequence it can take. */
  readonly maxPositions: number
  /**
   * Whether it reads a text with blanks in both directions, and then writes what belongs into them: `positionIds` are
   * then int32 [batch, 2, seq], where each token's blank stands in the text, and where in its blank it stands.
   */
  readonly fillsBlanks?: boolean
  /** What tokens' embeddings are multiplied by, and `inputsEmbeds` are already. Default 1. */
  readonly embeddingScale?: number
  forward(scope: Scope, inputs: CausalInputs, options?: CausalOptions): CausalOutputs
}

/** What a text comes as. */
const textInputs = (dModel: number) => ({
  inputIds: { ...int32('batch', 'seq'), unless: 'inputsEmbeds' },
  inputsEmbeds: optional(float32('batch', 'seq', dModel)),
  attentionMask: optional(int32('batch', 'seq')),
  positionIds: optional(int32('batch', 'seq')),
})

const causalInputs = (dModel: number) => ({
  ...textInputs(dModel),
  labels: optional(int32('batch', 'seq')),
  shiftLabels: optional(int32('batch', 'seq')),
})

/** A decoder that continues text, as its paper's file writes it. */
export abstract class CausalNetwork<C extends { vocabSize: number; maxPositions: number; dModel: number }>
  extends Network<C>
  implements CausalLm
{
  readonly kind = 'causal'

  readonly inputs: InputSpecs = causalInputs(this.config.dModel)

  get vocabSize(): number {
    return this.config.vocabSize
  }

  get maxPositions(): number {
    return this.config.maxPositions
  }

  abstract override forward(scope: Scope, inputs: CausalInputs, options?: CausalOptions): CausalOutputs
}

/** A causal model whose checkpoints mark segments by tokens of the vocabulary: the GPTs. */
export abstract class SegmentedCausalNetwork<
  C extends { vocabSize: number; maxPositions: number; dModel: number },
> extends CausalNetwork<C> {
  override readonly inputs = { ...causalInputs(this.config.dModel), tokenTypeIds: optional(int32('batch', 'seq')) }
}

/**
 * The rows of a table for the tokens, or the embeddings that were given in their place.
 *
 * @param table - answers with the table, [vocabSize, dModel]: not asked where there are embeddings
 * @param paddingId - the token whose row learns nothing from being looked up: `padding_idx` of reference implementations
 * @returns [batch, seq, dModel]
 */
export function embedTokens(
  table: () => Tensor,
  { inputIds, inputsEmbeds, tokenTypeIds }: Pick<CausalInputs, 'inputIds' | 'inputsEmbeds' | 'tokenTypeIds'>,
  paddingId?: number,
): Tensor {
  if (!inputIds && !inputsEmbeds) throw new Error('a language model needs inputIds, or inputsEmbeds in their place')
  const tokens = inputsEmbeds ?? tokenRows(table(), inputIds as Tensor, paddingId)
  return tokenTypeIds ? tokens.add(embedding(table(), tokenTypeIds)) : tokens
}

/**
 * The rows of a table of learned positions: those that are given, else those of the cache, else counted from 0.
 *
 * @param table - [maxPositions, dModel]
 * @param seq - tokens of each sequence
 * @returns [batch, seq, dModel], or [seq, dModel], which serves every sequence
 */
export const embedPositions = (
  table: Tensor,
  seq: Dim,
  { positionIds }: Pick<CausalInputs, 'positionIds'>,
  cache?: KvCache,
): Tensor => embedding(table, positionIds ?? cache?.positionIds ?? arange(seq))

/** The row of the table that `embedTokens` is to leave alone. */
export function paddingRow({ padTokenId, vocabSize }: { padTokenId: number | 'none'; vocabSize: number }) {
  if (padTokenId === 'none') return undefined
  return padTokenId < 0 ? vocabSize + padTokenId : padTokenId
}

function tokenRows(table: Tensor, ids: Tensor, paddingId?: number): Tensor {
  const rows = embedding(table, ids)
  if (paddingId === undefined) return rows
  const isToken = expandDims(indicator(ids.equal(paddingId).not()), 2)
  return customGradient(rows, [rows], (dy) => [dy.mul(isToken)])
}

/**
 * What a causal model answers from its last states.
 *
 * @param lastHiddenState - [batch, seq, dModel]
 * @param head - [vocabSize, dModel]
 * @param options.bias - [vocabSize]; none in most models
 * @param options.finish - what becomes of the logits: a soft cap
 */
export function causalOutputs(
  lastHiddenState: Tensor,
  head: Tensor,
  { labels, shiftLabels }: Pick<CausalInputs, 'labels' | 'shiftLabels'>,
  { logitsAt }: CausalOptions,
  { bias, finish = (logits) => logits }: { bias?: Tensor; finish?: (logits: Tensor) => Tensor } = {},
): CausalOutputs {
  const logits = finish(linear(logitsAt ? takeRows(lastHiddenState, logitsAt) : lastHiddenState, head, bias))
  const following = shiftLabels ?? (labels && nextTokens(labels))
  return { logits, lastHiddenState, loss: following && crossEntropy(logits, following) }
}

export type TextEncoderInputs = {
  /** int32 [batch, seq]; or else `inputsEmbeds`. */
  readonly inputIds?: Tensor
  /** [batch, seq, dModel]: what the tokens' embeddings would be. */
  readonly inputsEmbeds?: Tensor
  /** [batch, seq], 1 for tokens and 0 for padding. */
  readonly attentionMask?: Tensor
  /** int32 [batch, seq]: which of several texts a token belongs to; 0 where left out. */
  readonly tokenTypeIds?: Tensor
  /** int32 [batch, seq]; counted from 0 where left out. */
  readonly positionIds?: Tensor
}

/** An encoder that reads a text in both directions. */
export interface TextEncoder extends Model {
  readonly kind: 'encoder'
  readonly vocabSize: number
  /** The longest text it can take. */
  readonly maxPositions: number
  /** @returns the last states, [batch, seq, dModel] */
  encode(scope: Scope, inputs: TextEncoderInputs): Tensor
}

/** An encoder of text, as its paper's file writes it. */
export abstract class TextEncoderNetwork<C extends { vocabSize: number; maxPositions: number; dModel: number }>
  extends Network<C>
  implements TextEncoder
{
  readonly kind = 'encoder'

  /** What every such model takes. */
  protected readonly encoderInputs = {
    ...textInputs(this.config.dModel),
    tokenTypeIds: optional(int32('batch', 'seq')),
  }

  get vocabSize(): number {
    return this.config.vocabSize
  }

  get maxPositions(): number {
    return this.config.maxPositions
  }

  abstract encode(scope: Scope, inputs: TextEncoderInputs): Tensor
}

/** Keys and values of one attention layer, each [batch, seq, nHeads * headDim]. */
export interface KeysValues {
  readonly key: Tensor
  readonly value: Tensor
}

export type EncoderDecoderInputs = {
  /** int32 [batch, sourceSeq] */
  readonly inputIds: Tensor
  /** [batch, sourceSeq], 1 for tokens and 0 for padding. */
  readonly attentionMask?: Tensor
  /** int32 [batch, targetSeq]; the labels, one place later, where left out. */
  readonly decoderInputIds?: Tensor
  /** [batch, targetSeq] */
  readonly decoderAttentionMask?: Tensor
  /** int32 [batch, targetSeq], −100 where they do not count. */
  readonly labels?: Tensor
}

export type EncoderDecoderOutputs = {
  /** [batch, targetSeq, vocabSize] */
  readonly logits: Tensor
  /** [batch, sourceSeq, dModel] */
  readonly encoderLastHiddenState: Tensor
  readonly loss?: Tensor
}

export type DecodeInputs = Pick<CausalInputs, 'inputIds' | 'inputsEmbeds'> & {
  /** [batch, seq]; not over a cache. */
  readonly attentionMask?: Tensor
  /** Of every decoder layer: a batch of sources, each for the same number of sequences. */
  readonly crossKeysValues: readonly KeysValues[]
  /** [sources, sourceSeq] */
  readonly crossAttentionMask?: Tensor
}

/** An encoder that reads a text, and a decoder that answers it. */
export interface EncoderDecoderLm extends Model {
  readonly kind: 'encoder-decoder'
  readonly vocabSize: number
  /** What every answer starts from. */
  readonly decoderStartTokenId: number
  /** Tokens of the longest source, and of the longest answer; left out where positions set no bound. */
  readonly maxPositions?: number
  /** Ends an answer that reaches its greatest length. */
  readonly forcedEndTokenId?: number
  /** Tokens that no answer has. */
  readonly barredTokenIds?: readonly number[]
  forward(scope: Scope, inputs: EncoderDecoderInputs): EncoderDecoderOutputs
  /** @returns [batch, sourceSeq, dModel] */
  encode(scope: Scope, inputs: Pick<EncoderDecoderInputs, 'inputIds' | 'attentionMask'>): Tensor
  /** What each decoder layer sees of the source: the same for every token, so it is computed once. */
  crossKeysValues(scope: Scope, encoderHiddenStates: Tensor): KeysValues[]
  decode(scope: Scope, inputs: DecodeInputs, options?: CausalOptions): CausalOutputs
}

interface EncoderDecoderConfig {
  vocabSize: number
  padTokenId: number
  decoderStartTokenId: number
}

/** A model with an encoder and a decoder, as its paper's file writes it. */
export abstract class EncoderDecoderNetwork<C extends EncoderDecoderConfig>
  extends Network<C>
  implements EncoderDecoderLm
{
  readonly kind = 'encoder-decoder'

  readonly inputs = {
    inputIds: int32('batch', 'seq'),
    attentionMask: optional(int32('batch', 'seq')),
    decoderInputIds: { ...int32('batch', 'targetSeq'), unless: 'labels' },
    decoderAttentionMask: optional(int32('batch', 'targetSeq')),
    labels: optional(int32('batch', 'targetSeq')),
  }

  get vocabSize(): number {
    return this.config.vocabSize
  }

  get decoderStartTokenId(): number {
    return this.config.decoderStartTokenId
  }

  get maxPositions(): number | undefined {
    return undefined
  }

  get forcedEndTokenId(): number | undefined {
    return undefined
  }

  get barredTokenIds(): readonly number[] {
    return []
  }

  /**
   * @param inputs.decoderInputIds - int32 [batch, targetSeq]; the labels one place later where left out
   * @returns logits [batch, targetSeq, the decoder's vocabSize]
   */
  forward(scope: Scope, inputs: EncoderDecoderInputs): EncoderDecoderOutputs {
    const { labels, attentionMask, decoderAttentionMask } = inputs
    const { decoderStartTokenId, padTokenId } = this.config
    const inputIds = inputs.decoderInputIds ?? (labels && shiftRight(labels, decoderStartTokenId, padTokenId))
    if (!inputIds) throw new Error(`${this.constructor.name} needs decoder_input_ids, or labels to make them from`)
    const encoderLastHiddenState = this.encode(scope, inputs)
    const { logits } = this.decode(scope, {
      inputIds,
      attentionMask: decoderAttentionMask,
      crossKeysValues: this.crossKeysValues(scope, encoderLastHiddenState),
      crossAttentionMask: attentionMask,
    })
    return { logits, loss: labels && crossEntropy(logits, labels), encoderLastHiddenState }
  }

  abstract encode(scope: Scope, inputs: Pick<EncoderDecoderInputs, 'inputIds' | 'attentionMask'>): Tensor
  abstract crossKeysValues(scope: Scope, encoderHiddenStates: Tensor): KeysValues[]
  abstract decode(scope: Scope, inputs: DecodeInputs, options?: CausalOptions): CausalOutputs
}

/** What every position is to predict: the next position's token, and nothing at the end. int32 [batch, seq]. */
export function nextTokens(labels: Tensor): Tensor {
  const [batch] = labels.shape
  return concat([labels.slice({ axis: 1, start: 1 }), full([batch, 1], -100, labels.dtype)], 1)
}

/**
 * What a decoder reads to answer with `labels`: the same one place late, from the start token on. Places that do not
 * count read as padding.
 *
 * @param labels - int32 [batch, seq]
 */
export function shiftRight(labels: Tensor, decoderStartTokenId: number, padTokenId: number): Tensor {
  const [batch] = labels.shape
  const ids = where(labels.equal(-100), full(labels.shape, padTokenId, labels.dtype), labels)
  return concat([full([batch, 1], decoderStartTokenId, labels.dtype), ids.slice({ axis: 1, end: -1 })], 1)
}
