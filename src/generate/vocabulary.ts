import type { Tokenizer } from '../text/tokenizer.ts'
import { specialBytes } from './grammar.ts'

/**
 * All tokens by their bytes, as a trie: one walk says of every token whether a text may go on with it. Nodes lie in the
 * order of a walk that goes down first, so that what is below a node ends where the next begins.
 */
export class Vocabulary {
  /** What leads to each node from the one above. */
  readonly byteOf: Uint8Array
  /** The node behind all that are below each. */
  readonly endOf: Int32Array
  /** Tokens that end at node i: ids[firstOf[i]] to before ids[firstOf[i + 1]]. */
  readonly firstOf: Int32Array
  readonly ids: Int32Array
  private readonly bytes: readonly (Uint8Array | undefined)[]

  /**
   * @param bytes - of each id; where there are none, no text goes on with it
   * @param size - of the model's vocabulary: ids beyond the tokenizer's have no text
   */
  constructor(
    bytes: readonly (Uint8Array | undefined)[],
    readonly size: number,
  ) {
    this.bytes = bytes
    const known = [...bytes.keys()].filter((id) => id < size && bytes[id] !== undefined && bytes[id].length > 0)
    known.sort((a, b) => compare(bytes[a] as Uint8Array, bytes[b] as Uint8Array) || a - b)
    this.ids = Int32Array.from(known)
    const byteOf: number[] = []
    const firstOf: number[] = []
    const ends: number[] = []
    const path: number[] = []
    let before: Uint8Array = new Uint8Array()
    for (const [order, id] of known.entries()) {
      const token = bytes[id] as Uint8Array
      let shared = 0
      while (shared < before.length && shared < token.length && before[shared] === token[shared]) shared++
      while (path.length > shared) ends[path.pop() as number] = byteOf.length
      for (let i = shared; i < token.length; i++) {
        path.push(byteOf.length)
        byteOf.push(token[i])
        // Nodes above have no token of their own.
        firstOf.push(order)
      }
      before = token
    }
    while (path.length > 0) ends[path.pop() as number] = byteOf.length
    // A node's tokens end where the next node's begin.
    this.byteOf = Uint8Array.from(byteOf)
    this.endOf = Int32Array.from(ends)
    this.firstOf = Int32Array.from([...firstOf, known.length])
  }

  bytesOf(id: number): Uint8Array | undefined {
    return this.bytes[id]
  }
}

function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] - b[i]
  return a.length - b.length
}

/** A tokenizer's tokens. Special ones have bytes that no text has: only a grammar that names them goes on with them. */
export function vocabularyOf(tokenizer: Tokenizer, size: number): Vocabulary {
  const bytes = Array.from({ length: Math.min(size, tokenizer.vocabSize) }, (_, id) => {
    if (!tokenizer.specialIds.has(id)) return tokenizer.bytesOf(id)
    return specialBytes(tokenizer.tokenOf(id) as string)
  })
  return new Vocabulary(bytes, size)
}
