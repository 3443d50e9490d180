import type { Tokenizer } from '../text/tokenizer.ts'
import type { Blank, Prompt } from './decoder.ts'

/** Filling the blanks of a text with a model that was taught to (GLM: Du et al., 2021, arXiv 2103.10360). */

/** Tokens that stand for blanks: of a few words, of sentences, of the rest of a text. */
const MASKS = ['[MASK]', '[sMASK]', '[gMASK]'] as const

/** Tokens with a meaning of their own, as the released vocabularies call them. */
export interface BlankIds {
  readonly maskIds: readonly number[]
  /** Of the rest of a text. */
  readonly restId?: number
  readonly startId: number
  readonly endId: number
}

/** @throws Error where the vocabulary lacks what fills a blank */
export function blankIdsOf(tokenizer: Pick<Tokenizer, 'idOf'>, name: string): BlankIds {
  const maskIds = MASKS.map((mask) => tokenizer.idOf(mask)).filter((id) => id !== undefined)
  const [startId, endId] = ['<|startofpiece|>', '<|endofpiece|>'].map((token) => tokenizer.idOf(token))
  if (maskIds.length === 0 || startId === undefined || endId === undefined) {
    throw new Error(`${name} fills blanks, and its tokenizer lacks [MASK], <|startofpiece|> or <|endofpiece|>`)
  }
  return { maskIds, restId: tokenizer.idOf('[gMASK]'), startId, endId }
}

/** A text with blanks: one without any is to be gone on with, so that its rest is one. */
export function withBlank(ids: readonly number[], { maskIds, restId }: BlankIds): readonly number[] {
  if (ids.some((id) => maskIds.includes(id))) return ids
  if (restId === undefined) throw new Error('the text has no blank: write [MASK] where something is to be filled in')
  return [...ids, restId]
}

/** Where the blanks of a text stand. */
export const blanksAt = (ids: readonly number[], { maskIds }: BlankIds): number[] =>
  [...ids.keys()].filter((i) => maskIds.includes(ids[i]))

/** The prompt for the blank after those that are filled: it sees the text on both sides, and these. */
export function blankPrompt(
  ids: readonly number[],
  filled: readonly (readonly number[])[],
  specials: BlankIds,
): Prompt & { readonly blanks: readonly Blank[] } {
  const places = blanksAt(ids, specials)
  const blanks = [...filled, []].map((written, i) => ({ at: places[i], ids: [specials.startId, ...written] }))
  return { promptIds: ids, bidirectional: true, blanks }
}

/**
 * Fills the blanks of a text from left to right, each in the light of those before it (§2.1.1: in any order of spans that
 * the model was taught; this one reads as people do).
 *
 * @param ids - with at least one blank
 * @param write - what belongs into the blank of a prompt, up to its end, which may be told too
 * @returns of each blank what is to stand there
 */
export async function fillBlanks(
  ids: readonly number[],
  specials: BlankIds,
  write: (prompt: Prompt) => Promise<readonly number[]>,
): Promise<number[][]> {
  const filled: number[][] = []
  while (filled.length < blanksAt(ids, specials).length) {
    const written = await write(blankPrompt(ids, filled, specials))
    const end = written.indexOf(specials.endId)
    filled.push([...(end < 0 ? written : written.slice(0, end))])
  }
  return filled
}

/** The text with its blanks filled. */
export function filledText(
  ids: readonly number[],
  filled: readonly (readonly number[])[],
  specials: BlankIds,
): number[] {
  let next = 0
  return ids.flatMap((id) => (specials.maskIds.includes(id) ? filled[next++] : [id]))
}
