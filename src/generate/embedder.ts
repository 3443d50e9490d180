import type { Pooling, SentenceEncoding } from '../load/sentence-transformer.ts'
import type { TextEncoder } from '../nn/model.ts'
import { int32, trace } from '../nn/trace.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import type { CompileOptions } from '../runtime/compiled.ts'
import {
  arange,
  at,
  concat,
  expandDims,
  indicator,
  l2Normalize,
  max,
  sqrt,
  type Tensor,
  type TensorData,
  where,
} from '../tensor/index.ts'

/** Texts that go through the graph at once, and scores of attention that one head then has: its memory. */
const MOST_TEXTS = 32
const MOST_SCORES = 1 << 21

/** Less than any state. */
const NEVER = -1e9

/** One vector for a text: an encoder's states, pooled as the model's folder says. */
export class Embedder {
  private constructor(
    private readonly program: Program<{ embeddings: Tensor }>,
    /** Tokens of the longest text. */
    readonly maxLength: number,
    /** Numbers of a vector. */
    readonly width: number,
  ) {}

  static async create(
    model: TextEncoder,
    weights: Weights | LiveWeights,
    { pooling, normalize, maxLength = model.maxPositions }: Omit<SentenceEncoding, 'lowerCase'>,
    options: CompileOptions = {},
  ): Promise<Embedder> {
    const traced = trace(
      (scope, { inputIds, attentionMask }) => {
        const states = model.encode(scope, { inputIds, attentionMask })
        const parts = pooling.map((mode) => POOLING[mode](states, expandDims(indicator(attentionMask.equal(1)), 2)))
        const vector = parts.length === 1 ? parts[0] : concat(parts, 1)
        return { embeddings: normalize ? l2Normalize(vector) : vector }
      },
      { inputIds: int32('batch', 'seq'), attentionMask: int32('batch', 'seq') },
      { name: 'embedding' },
    )
    const width = traced.outputs.embeddings.shape[1] as number
    return new Embedder(await compile(traced, weights, options), Math.min(maxLength, model.maxPositions), width)
  }

  /**
   * Texts of about one length go through the model together.
   *
   * @param texts - the ids of each, those that the tokenizer puts around a text included
   * @returns a vector for each, in their order
   * @throws RangeError where a text has no tokens, or more than the model takes
   */
  async embed(texts: readonly (readonly number[])[], signal?: AbortSignal): Promise<Float32Array[]> {
    const wrong = texts.find(({ length }) => length === 0 || length > this.maxLength)
    if (wrong) throw new RangeError(`a text to embed has 1 to ${this.maxLength} tokens, got ${wrong.length}`)
    const vectors = new Array<Float32Array>(texts.length)
    for (const group of groups(texts.map(({ length }) => length))) {
      signal?.throwIfAborted()
      const { data } = await this.run(
        group.map((i) => texts[i]),
        signal,
      )
      for (const [row, i] of group.entries()) {
        vectors[i] = (data as Float32Array).slice(row * this.width, (row + 1) * this.width)
      }
    }
    return vectors
  }

  private async run(texts: readonly (readonly number[])[], signal?: AbortSignal): Promise<TensorData> {
    const longest = Math.max(...texts.map(({ length }) => length))
    const [ids, mask] = [0, 0].map(() => new Int32Array(texts.length * longest))
    for (const [row, text] of texts.entries()) {
      ids.set(text, row * longest)
      mask.fill(1, row * longest, row * longest + text.length)
    }
    const fed = (data: Int32Array): TensorData => ({ dtype: 'int32', shape: [texts.length, longest], data })
    const { embeddings } = await this.program({ inputIds: fed(ids), attentionMask: fed(mask) }, { signal })
    return embeddings
  }

  release(): void {
    this.program.release()
  }
}

/** Which texts go together: neighbours in length, as many as memory allows. */
function groups(lengths: readonly number[]): number[][] {
  const all: number[][] = []
  for (const i of [...lengths.keys()].sort((a, b) => lengths[b] - lengths[a])) {
    const group = all.at(-1)
    const fits = group && group.length < MOST_TEXTS && (group.length + 1) * lengths[group[0]] ** 2 <= MOST_SCORES
    if (fits) group.push(i)
    else all.push([i])
  }
  return all
}

/** Σ over the tokens of a text: [batch, dModel]. */
const total = (states: Tensor, isToken: Tensor): Tensor => states.mul(isToken).sum({ axis: 1 })
const lengthOf = (isToken: Tensor): Tensor => isToken.sum({ axis: 1 }) // [batch, 1]
/** 1, 2, 3, … at a text's tokens: [batch, seq, 1]. */
const places = (isToken: Tensor): Tensor => isToken.mul(expandDims(arange(isToken.shape[1]).add(1).cast('float32'), 1))

/** From states [batch, seq, dModel] and 1 where there is a token [batch, seq, 1] to [batch, dModel]. */
const POOLING: Readonly<Record<Pooling, (states: Tensor, isToken: Tensor) => Tensor>> = {
  cls: (states) => at(states, 1, 0),
  max: (states, isToken) => max(where(isToken.equal(1), states, NEVER), { axis: 1 }),
  mean: (states, isToken) => total(states, isToken).div(lengthOf(isToken)),
  'mean-sqrt-length': (states, isToken) => total(states, isToken).div(sqrt(lengthOf(isToken))),
  'weighted-mean': (states, isToken) => total(states, places(isToken)).div(lengthOf(places(isToken))),
  last: (states, isToken) => total(states, indicator(places(isToken).equal(expandDims(lengthOf(isToken), 1)))),
}
