import { TreeCache, TreeRefused } from '../nn/kv-cache.ts'
import type { CausalLm } from '../nn/model.ts'
import { int32, trace } from '../nn/trace.ts'
import type { Provider } from '../runtime/backend.ts'
import { compile, type LiveWeights, type Program, type Weights } from '../runtime/compile.ts'
import { inputName } from '../runtime/lower.ts'
import { crossEntropy, logSoftmax, max, type Tensor, type TensorData, tensorData } from '../tensor/index.ts'
import type { Score, ScoringOptions, ScoringRequest } from './log-likelihoods.ts'

/**
 * The log-likelihoods of continuations of which many begin alike: demonstrations, a question with several answers. Their
 * tokens are laid out as a tree, every beginning that texts share once, and go through the model as one sequence in which
 * a token sees only its own text (as speculative decoding verifies trees: Miao et al., SpecInfer, 2023, arXiv 2305.09781).
 */

/** Tokens of a tree that go through the graph at once: enough to spread the reading of the weights. */
const TREE_TOKENS = 256
/** A beginning that texts share is worth keeping by itself where it is at least as long. */
const LEAST_SHARED = 16
/** Logits that are computed at once, of all places and words: they take the most memory. */
const MOST_LOGITS = 1 << 24
/** Longer continuations are sequences of their own. */
const LONGEST_CONTINUATION = 256
const HIDDEN = -1e9

interface Node {
  readonly id: number
  readonly parent: Node | undefined
  readonly position: number
  /** Its place in the sequence. */
  readonly place: number
}

/** A text as the model reads it. */
interface Reading {
  readonly index: number
  /** All that is fed: the last token of a continuation is only predicted. */
  readonly ids: readonly number[]
  /** The first place that predicts a token of the continuation. */
  readonly from: number
  readonly continuationIds: readonly number[]
}

/** What all scores of a call have in common. */
interface Work {
  /** By the index of the reading. */
  readonly scores: Score[]
  readonly tell: (count: number) => void
  readonly signal?: AbortSignal
}

/** What all texts of a tree begin with, computed. */
interface Past {
  readonly ids: readonly number[]
  readonly layers: readonly TensorData[]
}

export class TreeScorer {
  private past: Past | undefined

  private constructor(
    private readonly program: Program<Record<string, Tensor>>,
    /** Of each layer, keys, then values: their names in the graph and their width. */
    private readonly layers: readonly { readonly name: string; readonly width: number }[],
    private readonly maxPositions: number,
    private readonly vocabSize: number,
  ) {}

  /** @returns undefined where the model has windows or biases of distance, which a tree has not */
  static async create(
    model: CausalLm,
    weights: Weights | LiveWeights,
    { provider, copyWeights }: { provider?: Provider; copyWeights?: boolean } = {},
  ): Promise<TreeScorer | undefined> {
    let cache: TreeCache | undefined
    const record = () =>
      trace(
        (scope, { inputIds, rows, nextIds }): Record<string, Tensor> => {
          cache = new TreeCache(inputIds.shape[1])
          const { positionIds } = cache
          const { logits } = model.forward(scope, { inputIds, positionIds }, { cache, logitsAt: rows })
          const logProbs = logSoftmax(logits)
          const kept = cache.entries.flatMap(({ key, value }, i): [string, Tensor][] => [
            [`key.${i}`, key],
            [`value.${i}`, value],
          ])
          return {
            losses: crossEntropy(logits, nextIds, { reduction: 'none' }),
            best: max(logProbs, { axis: 1 }),
            ...Object.fromEntries(kept),
          }
        },
        { inputIds: int32(1, 'seq'), rows: int32('rows'), nextIds: int32('rows') },
        { name: 'a tree of texts' },
      )
    let traced: ReturnType<typeof record>
    try {
      traced = record()
    } catch (error) {
      if (error instanceof TreeRefused) return undefined
      throw error
    }
    const { positionIds, bias, entries } = cache as unknown as TreeCache
    const pasts = entries.flatMap(({ pastKey, pastValue }) => [pastKey, pastValue])
    const leaves = [positionIds, bias, ...pasts].map((leaf) => [inputName(leaf), leaf])
    const program = await compile({ ...traced, inputs: { ...traced.inputs, ...Object.fromEntries(leaves) } }, weights, {
      on: provider,
      copyWeights,
    })
    const layers = pasts.map((past) => ({ name: inputName(past), width: past.shape[2] as number }))
    return new TreeScorer(program, layers, model.maxPositions, model.vocabSize)
  }

  /** Whether a request is one for a tree: what is to be scored is not as long as to be a sequence of its own. */
  takes({ contextIds, continuationIds }: ScoringRequest): boolean {
    const length = contextIds.length + continuationIds.length - 1
    const predicts = continuationIds.length > 0 && continuationIds.length <= LONGEST_CONTINUATION
    return contextIds.length > 0 && predicts && length <= this.maxPositions
  }

  async score(requests: readonly ScoringRequest[], { onProgress, signal }: ScoringOptions = {}): Promise<Score[]> {
    const readings = requests
      .map(({ contextIds, continuationIds }, index): Reading => {
        const ids = [...contextIds, ...continuationIds.slice(0, -1)]
        return { index, ids, from: contextIds.length - 1, continuationIds }
      })
      .sort((a, b) => compareIds(a.ids, b.ids))
    const scores = new Array<Score>(requests.length)
    let done = 0
    const tell = (count: number): void => onProgress?.((done += count), requests.length)
    await this.scoreAfter(this.empty(), readings, { scores, tell, signal })
    return scores
  }

  /**
   * Scores readings that begin with the past, in order of their ids: families that do not fit a tree after what they
   * begin with, all others in common trees.
   */
  private async scoreAfter(past: Past, readings: readonly Reading[], work: Work): Promise<void> {
    const depth = past.ids.length
    const few: Reading[] = []
    for (const family of families(readings, depth + LEAST_SHARED)) {
      const shared = sharedBeginning(family)
      if (nodesOf(family, depth) <= TREE_TOKENS || shared.length < depth + LEAST_SHARED) few.push(...family)
      else await this.scoreAfter(await this.extend(past, shared, work.signal), family, work)
    }
    for (let start = 0; start < few.length; ) {
      const { texts, nodes } = layOut(few, start, depth, MOST_LOGITS / this.vocabSize)
      await this.run(texts, nodes, past, work.scores, work.signal)
      start += texts.length
      work.tell(texts.length)
    }
  }

  /** The past and what follows it: from the call before where it was nearly the same. */
  private async extend(past: Past, ids: readonly number[], signal?: AbortSignal): Promise<Past> {
    const isFirst = past.ids.length === 0
    const held = isFirst ? this.past : undefined
    if (held && sharedLength(held.ids, ids) === held.ids.length && ids.length < held.ids.length + LEAST_SHARED)
      return held
    for (let start = past.ids.length; start < ids.length; start += TREE_TOKENS) {
      const piece = ids.slice(start, start + TREE_TOKENS)
      const nodes: Node[] = []
      for (const [place, id] of piece.entries()) {
        nodes.push({ id, parent: nodes[place - 1], position: start + place, place })
      }
      const results = await this.feed(nodes, past, [0], [0], signal)
      const { layers: before } = past
      const layers = this.layers.map(({ width }, i): TensorData => {
        const own = results[`${i % 2 === 0 ? 'key' : 'value'}.${i >> 1}`].data as Float32Array
        if (start === 0) return tensorData('float32', [1, piece.length, width], own)
        const joined = new Float32Array((start + piece.length) * width)
        joined.set(before[i].data as Float32Array)
        joined.set(own, start * width)
        return tensorData('float32', [1, start + piece.length, width], joined)
      })
      past = { ids: ids.slice(0, start + piece.length), layers }
    }
    if (isFirst) this.past = past
    return past
  }

  /** Nothing: one position that nobody sees, since a tensor has at least one. */
  private empty(): Past {
    return {
      ids: [],
      layers: this.layers.map(({ width }) => tensorData('float32', [1, 1, width], new Float32Array(width))),
    }
  }

  private async run(
    texts: readonly Text[],
    nodes: readonly Node[],
    past: Past,
    scores: Score[],
    signal?: AbortSignal,
  ): Promise<void> {
    // A place that several texts go on from differently is asked about once for each of its next tokens.
    const rows: number[] = []
    const nextIds: number[] = []
    const found = new Map<string, number>()
    const asked = texts.map(({ reading, path }) =>
      reading.continuationIds.map((id, i) => {
        const place = path[reading.from + i - past.ids.length].place
        const key = `${place} ${id}`
        const row = found.get(key) ?? rows.length
        if (row === rows.length) {
          found.set(key, row)
          rows.push(place)
          nextIds.push(id)
        }
        return row
      }),
    )
    const { losses, best } = await this.feed(nodes, past, rows, nextIds, signal)
    for (const [i, { reading }] of texts.entries()) {
      const perToken = asked[i].map((row) => -Number(losses.data[row]))
      scores[reading.index] = {
        logProb: perToken.reduce((a, b) => a + b, 0),
        perToken,
        isGreedy: asked[i].every((row, j) => perToken[j] >= Number(best.data[row])),
      }
    }
  }

  private feed(
    nodes: readonly Node[],
    { ids, layers }: Past,
    rows: readonly number[],
    nextIds: readonly number[],
    signal?: AbortSignal,
  ): Promise<Record<string, TensorData>> {
    const seq = nodes.length
    const before = layers[0].shape[1]
    const total = before + seq
    const bias = new Float32Array(seq * total).fill(HIDDEN)
    for (const node of nodes) {
      const row = node.place * total
      if (ids.length > 0) bias.fill(0, row, row + before)
      for (let seen: Node | undefined = node; seen; seen = seen.parent) bias[row + before + seen.place] = 0
    }
    const int32 = (values: readonly number[], ...shape: number[]): TensorData => tensorData('int32', shape, values)
    return this.program(
      {
        inputIds: int32(
          nodes.map(({ id }) => id),
          1,
          seq,
        ),
        positionIds: int32(
          nodes.map(({ position }) => position),
          1,
          seq,
        ),
        rows: int32(rows, rows.length),
        nextIds: int32(nextIds, rows.length),
        bias: tensorData('float32', [1, 1, seq, total], bias),
        ...Object.fromEntries(layers.map((layer, i) => [this.layers[i].name, layer])),
      },
      { signal },
    )
  }

  release(): void {
    this.program.release()
  }
}

/** A reading with its way through a tree: the nodes of its ids after the past. */
interface Text {
  readonly reading: Reading
  readonly path: readonly Node[]
}

/** Runs of readings of which each has at least so many tokens from the one before. */
function families(readings: readonly Reading[], least: number): Reading[][] {
  const found: Reading[][] = []
  for (const reading of readings) {
    const family = found[found.length - 1]
    const before = family?.[family.length - 1]
    if (before && sharedLength(before.ids, reading.ids) >= least) family.push(reading)
    else found.push([reading])
  }
  return found
}

/** What readings in order of their ids all begin with, up to where any of them is asked about. */
function sharedBeginning(family: readonly Reading[]): readonly number[] {
  const [first, last] = [family[0], family[family.length - 1]]
  const shared = family.length === 1 ? first.ids.length : sharedLength(first.ids, last.ids)
  return first.ids.slice(0, Math.min(shared, ...family.map(({ from }) => from)))
}

/** Tokens of their tree after the past. */
function nodesOf(family: readonly Reading[], past: number): number {
  return family.reduce((sum, { ids }, i) => {
    const shared = i === 0 ? past : sharedLength(family[i - 1].ids, ids)
    return sum + ids.length - shared
  }, 0)
}

/** A tree of readings from `start` on, as many as fit. */
function layOut(
  readings: readonly Reading[],
  start: number,
  past: number,
  mostRows: number,
): { texts: Text[]; nodes: Node[] } {
  const texts: Text[] = []
  const nodes: Node[] = []
  let rows = 0
  for (const reading of readings.slice(start)) {
    const before = texts[texts.length - 1]
    const shared = before ? sharedLength(before.reading.ids, reading.ids) - past : 0
    const added = reading.ids.length - past - shared
    rows += reading.continuationIds.length
    if (before && (nodes.length + added > TREE_TOKENS || rows > mostRows)) break
    const path = before ? before.path.slice(0, shared) : []
    for (let i = past + shared; i < reading.ids.length; i++) {
      const node = { id: reading.ids[i], parent: path[path.length - 1], position: i, place: nodes.length }
      nodes.push(node)
      path.push(node)
    }
    texts.push({ reading, path })
  }
  return { texts, nodes }
}

function sharedLength(a: readonly number[], b: readonly number[]): number {
  let length = 0
  while (length < a.length && length < b.length && a[length] === b[length]) length++
  return length
}

function compareIds(a: readonly number[], b: readonly number[]): number {
  const at = sharedLength(a, b)
  return (a[at] ?? -1) - (b[at] ?? -1)
}
