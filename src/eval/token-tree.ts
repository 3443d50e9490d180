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
/** A beginning is kept from one tree to the next where it is at least as long. */
const LEAST_SHARED = 16
/** Places whose likelihoods are computed at once: their logits take the most memory. */
const MOST_ROWS = 512
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
    return new TreeScorer(program, layers, model.maxPositions)
  }

  /** Whether a request is one for a tree: not as long as to be a sequence of its own. */
  takes({ contextIds, continuationIds }: ScoringRequest): boolean {
    const length = contextIds.length + continuationIds.length - 1
    return contextIds.length > 0 && continuationIds.length > 0 && length <= Math.min(this.maxPositions, 4096)
  }

  async score(requests: readonly ScoringRequest[], { onProgress, signal }: ScoringOptions = {}): Promise<Score[]> {
    const readings = requests
      .map(({ contextIds, continuationIds }, index): Reading => {
        const ids = [...contextIds, ...continuationIds.slice(0, -1)]
        return { index, ids, from: contextIds.length - 1, continuationIds }
      })
      .sort((a, b) => compareIds(a.ids, b.ids))
    const scores = new Array<Score>(requests.length)
    const past = await this.pastOf(readings, signal)
    let done = 0
    for (let start = 0; start < readings.length; ) {
      const { texts, nodes } = layOut(readings, start, past.ids.length)
      await this.run(texts, nodes, past, scores, signal)
      start += texts.length
      onProgress?.((done += texts.length), requests.length)
    }
    return scores
  }

  /** What all readings begin with, from the call before where it was the same. */
  private async pastOf(readings: readonly Reading[], signal?: AbortSignal): Promise<Past> {
    const [first, last] = [readings[0], readings[readings.length - 1]]
    // At least one token of each reading is left to be read, and all that is asked about.
    const shortest = Math.min(...readings.map(({ from }) => from))
    const shared = first.ids.slice(0, Math.min(sharedLength(first.ids, last.ids), shortest))
    const held = this.past
    const holds = held && sharedLength(held.ids, shared) === held.ids.length
    if (held && holds && shared.length < held.ids.length + LEAST_SHARED) return held
    if (shared.length < LEAST_SHARED) return this.empty()
    let past = this.empty()
    for (let start = 0; start < shared.length; start += TREE_TOKENS) {
      const piece = shared.slice(start, start + TREE_TOKENS)
      const nodes: Node[] = []
      for (const [place, id] of piece.entries()) {
        nodes.push({ id, parent: nodes[place - 1], position: start + place, place })
      }
      const results = await this.feed(nodes, past, [0], [0], signal)
      const layers = this.layers.map(({ width }, i): TensorData => {
        const own = results[`${i % 2 === 0 ? 'key' : 'value'}.${i >> 1}`].data as Float32Array
        if (start === 0) return tensorData('float32', [1, piece.length, width], own)
        const before = past.layers[i].data as Float32Array
        const joined = new Float32Array(before.length + own.length)
        joined.set(before)
        joined.set(own, before.length)
        return tensorData('float32', [1, start + piece.length, width], joined)
      })
      past = { ids: shared.slice(0, start + piece.length), layers }
    }
    return (this.past = past)
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

/** A tree of readings from `start` on, as many as fit. */
function layOut(readings: readonly Reading[], start: number, past: number): { texts: Text[]; nodes: Node[] } {
  const texts: Text[] = []
  const nodes: Node[] = []
  let rows = 0
  for (const reading of readings.slice(start)) {
    const before = texts[texts.length - 1]
    const shared = before ? sharedLength(before.reading.ids, reading.ids) - past : 0
    const added = reading.ids.length - past - shared
    rows += reading.continuationIds.length
    if (before && (nodes.length + added > TREE_TOKENS || rows > MOST_ROWS)) break
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
