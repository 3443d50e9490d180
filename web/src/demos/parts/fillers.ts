import {
  type BeamStep,
  type Blank,
  blankIdsOf,
  compile,
  fillBlanks,
  type Hypothesis,
  int32,
  largestIds,
  logSumExp,
  type Program,
  searchBeams,
  type Tensor,
  type TensorData,
  trace,
} from '../../../../src/browser.ts'
import type { Loaded } from './tab-model.ts'

/** Three ways to fill the blanks of a text: by a masked model, by an encoder and a decoder, and by GLM, which is both. */

/** What belongs into one blank, perhaps. */
export interface Choice {
  readonly text: string
  /** Its probability. */
  readonly share: number
}

export interface Filler {
  /** Of each blank, the likeliest first. */
  fill(text: string, signal: AbortSignal): Promise<Choice[][]>
}

/** How a blank is written. */
export const blankSign = /_{2,}/g

const mostChoices = 4
/** Tokens of what belongs into a blank. */
const longest = 8

export interface FillerKind {
  readonly name: string
  /** The paper that tells how to train one. */
  readonly slug: string
  readonly architecture: RegExp
  /** How it fills, in a sentence. */
  readonly does: string
  readonly open: (loaded: Loaded) => Filler
}

export const fillerKinds: readonly FillerKind[] = [
  {
    name: 'BERT',
    slug: 'bert',
    architecture: /^BertFor(MaskedLM|PreTraining)$/,
    does: 'One token for each blank, every blank on its own, from both sides.',
    open: masked,
  },
  {
    name: 'T5',
    slug: 't5',
    architecture: /^T5ForConditionalGeneration$/,
    does: 'The encoder reads the text with sentinels; the decoder writes what each stands for, one after the other.',
    open: spans,
  },
  {
    name: 'GLM',
    slug: 'glm',
    architecture: /^GLM/,
    does: 'Reads the text with blanks from both sides, then writes into each from left to right, in the same network.',
    open: infilling,
  },
]

const ints = (shape: number[], data: readonly number[]): TensorData => ({
  dtype: 'int32',
  shape,
  data: Int32Array.from(data),
})

function idOf({ tokenizer, name }: Loaded, ...tokens: readonly string[]): number {
  const id = tokens.map((token) => tokenizer.idOf(token)).find((found) => found !== undefined)
  if (id === undefined) throw new Error(`${name} has no token ${tokens.join(' or ')}`)
  return id
}

/** What a head says of every position; with both heads of pre-training it has another name. */
function logitsOf({ logits, predictionLogits = logits }: Readonly<Record<string, Tensor | undefined>>) {
  if (!predictionLogits) throw new Error('internal: the model says nothing of tokens')
  return { logits: predictionLogits }
}

/** The best few tokens of a row of logits, with their probabilities. */
function choicesOf(row: Float32Array, textOf: (id: number) => string): Choice[] {
  const total = logSumExp(row)
  return largestIds(row, mostChoices).map((id) => ({ text: textOf(id), share: Math.exp(row[id] - total) }))
}

function masked(loaded: Loaded): Filler {
  const { model, weights, tokenizer } = loaded
  const mask = tokenizer.tokenOf(idOf(loaded, '[MASK]', '<mask>')) as string
  let program: Promise<Program<{ logits: Tensor }>> | undefined
  return {
    async fill(text) {
      program ??= compile(
        trace((scope, inputs) => logitsOf(model.forward(scope, inputs)), { inputIds: int32(1, 'seq') }),
        weights,
      )
      const ids = tokenizer.encode(text.replace(blankSign, mask))
      const { logits } = await (await program)({ inputIds: ints([1, ids.length], ids) })
      const vocabSize = logits.shape[2]
      const places = [...ids.keys()].filter((at) => ids[at] === tokenizer.idOf(mask))
      return places.map((at) =>
        choicesOf((logits.data as Float32Array).subarray(at * vocabSize, (at + 1) * vocabSize), (id) =>
          tokenizer.decode([id]),
        ),
      )
    },
  }
}

/** Beams over what comes after `start`, all of it computed again at each step: these models are small. */
async function search(
  start: readonly number[],
  logitsAfter: (sequences: readonly (readonly number[])[]) => Promise<Float32Array>,
  stopTokenId: number,
  maxNewTokens: number,
  signal: AbortSignal,
): Promise<Hypothesis[]> {
  let sequences: (readonly number[])[] = [start]
  const step: BeamStep = (tokens, order) => {
    signal.throwIfAborted()
    sequences = tokens.map((id, i) => [...sequences[order[i]], id])
    return logitsAfter(sequences)
  }
  return searchBeams(await logitsAfter(sequences), step, {
    nBeams: mostChoices,
    // The score is then log P itself.
    lengthPenalty: 0,
    stopTokenIds: [stopTokenId],
    maxNewTokens,
  })
}

function spans(loaded: Loaded): Filler {
  const { model, weights, tokenizer } = loaded
  const sentinel = (i: number) => idOf(loaded, `<extra_id_${i}>`)
  const start = (model as typeof model & { decoderStartTokenId: number }).decoderStartTokenId
  let program: Promise<Program<{ logits: Tensor }>> | undefined
  return {
    async fill(text, signal) {
      program ??= compile(
        trace((scope, inputs) => logitsOf(model.forward(scope, inputs)), {
          inputIds: int32('batch', 'seq'),
          decoderInputIds: int32('batch', 'targetSeq'),
        }),
        weights,
      )
      const run = await program
      let blanks = 0
      const ids = tokenizer.encode(text.replace(blankSign, () => `<extra_id_${blanks++}>`))
      const logitsAfter = async (sequences: readonly (readonly number[])[]) => {
        const [batch, length] = [sequences.length, sequences[0].length]
        const { logits } = await run({
          inputIds: ints([batch, ids.length], new Array<readonly number[]>(batch).fill(ids).flat()),
          decoderInputIds: ints([batch, length], sequences.flat()),
        })
        return lastRows(logits, batch)
      }
      // Each blank from its sentinel up to the next, what was likeliest before it kept.
      const filled: Choice[][] = []
      let before: number[] = [start]
      for (let i = 0; i < blanks; i++) {
        before = [...before, sentinel(i)]
        const found = await search(before, logitsAfter, sentinel(i + 1), longest, signal)
        filled.push(found.map(({ ids, score }) => choice(loaded, ids, sentinel(i + 1), score)))
        before.push(...found[0].ids.filter((id) => id !== sentinel(i + 1)))
      }
      return filled
    },
  }
}

function infilling(loaded: Loaded): Filler {
  const { model, weights, tokenizer, name } = loaded
  const specials = blankIdsOf(tokenizer, name)
  let program: Promise<Program<{ logits: Tensor }>> | undefined
  return {
    async fill(text, signal) {
      program ??= compile(
        trace((scope, inputs) => logitsOf(model.forward(scope, inputs)), {
          inputIds: int32('batch', 'seq'),
          positionIds: int32('batch', 2, 'seq'),
          sep: int32('batch'),
        }),
        weights,
      )
      const run = await program
      const partA = tokenizer.encode(text.replace(blankSign, '[MASK]'))
      const filled: Choice[][] = []
      await fillBlanks(partA, specials, async ({ blanks = [] }) => {
        const before = blanks.slice(0, -1)
        const { at } = blanks[before.length]
        const rowOf = (ids: readonly number[]) => asRow(partA, [...before, { at, ids }])
        const logitsAfter = async (sequences: readonly (readonly number[])[]) => {
          const rows = sequences.map(rowOf)
          const [batch, seq] = [rows.length, rows[0].inputIds.length]
          const { logits } = await run({
            inputIds: ints(
              [batch, seq],
              rows.flatMap(({ inputIds }) => inputIds),
            ),
            positionIds: ints(
              [batch, 2, seq],
              rows.flatMap(({ positionIds }) => positionIds.flat()),
            ),
            sep: ints([batch], new Array<number>(batch).fill(partA.length)),
          })
          return lastRows(logits, batch)
        }
        const found = await search([specials.startId], logitsAfter, specials.endId, longest, signal)
        filled.push(found.map(({ ids, score }) => choice(loaded, ids, specials.endId, score)))
        return found[0].ids
      })
      return filled
    },
  }
}

/** A text and what is written into its blanks, with two positions a token (Du et al., §2.2): where its blank stands in the text, and where in the blank it stands. */
function asRow(partA: readonly number[], blanks: readonly Blank[]) {
  const partB = blanks.flatMap(({ at, ids }) => ids.map((id, i) => ({ id, at, inBlank: i + 1 })))
  return {
    inputIds: [...partA, ...partB.map(({ id }) => id)],
    positionIds: [
      [...partA.keys(), ...partB.map(({ at }) => at)],
      [...partA.map(() => 0), ...partB.map(({ inBlank }) => inBlank)],
    ],
  }
}

/** Logits after the last token of each sequence: [batch, vocabSize] */
function lastRows({ shape, data }: TensorData, batch: number): Float32Array {
  const [, seq, vocabSize] = shape
  const rows = new Float32Array(batch * vocabSize)
  for (let i = 0; i < batch; i++) {
    const end = (i + 1) * seq * vocabSize
    rows.set((data as Float32Array).subarray(end - vocabSize, end), i * vocabSize)
  }
  return rows
}

const choice = ({ tokenizer }: Loaded, ids: readonly number[], stopId: number, score: number): Choice => ({
  text: tokenizer.decode(ids.filter((id) => id !== stopId)),
  share: Math.exp(score),
})
