import { byteToken } from './byte-level.ts'
import { PairTable } from './pair-table.ts'
import type { ModelJson } from './tokenizer-json.ts'
import { quote } from './unicode.ts'

/** Words of up to this many symbols are merged by scanning all pairs; longer ones with a heap. */
const SCAN_LIMIT = 32

/**
 * Byte-pair encoding of one word (Sennrich, Haddow & Birch 2016, arXiv 1508.07909): starting from characters, the
 * adjacent pair that was merged earliest in training is merged first, the leftmost among equals.
 *
 * @returns ids of a word.
 */
export function makeBpe(
  json: Extract<ModelJson, { type: 'BPE' }>,
  vocab: ReadonlyMap<string, number>,
): (word: string) => number[] {
  const prefix = json.continuing_subword_prefix ?? ''
  const suffix = json.end_of_word_suffix ?? ''
  const ranks = new PairTable(json.merges.length)
  const mergedIds = new Int32Array(json.merges.length)
  const idOf = (token: string): number => {
    const id = vocab.get(token)
    if (id === undefined) throw new Error(`tokenizer.json: "model.merges" has ${quote(token)}, "model.vocab" not`)
    return id
  }
  json.merges.forEach((merge, rank) => {
    const [left, right] = typeof merge === 'string' ? merge.split(' ') : merge
    mergedIds[rank] = idOf(left + (right.startsWith(prefix) ? right.slice(prefix.length) : right))
    ranks.set(idOf(left), idOf(right), rank)
  })
  const symbolsOf = makeSymbols(json, vocab, prefix, suffix)
  // What is returned must not keep `json`, with its thousands of strings.
  const { ignore_merges: ignoreMerges } = json

  return (word) => {
    if (ignoreMerges) {
      const id = vocab.get(word)
      if (id !== undefined) return [id]
    }
    const ids = symbolsOf(word)
    return ids.length <= SCAN_LIMIT ? mergeByScan(ids, ranks, mergedIds) : mergeByHeap(ids, ranks, mergedIds)
  }
}

/** The characters of a word as ids: byte tokens or the unknown token for those the vocabulary lacks. */
function makeSymbols(
  json: Extract<ModelJson, { type: 'BPE' }>,
  vocab: ReadonlyMap<string, number>,
  prefix: string,
  suffix: string,
): (word: string) => number[] {
  const encoder = new TextEncoder()
  const { byte_fallback: byteFallback, fuse_unk: fuseUnk } = json
  const unkToken = json.unk_token ?? undefined
  const bytesOf = (symbol: string): number[] | undefined => {
    const ids: number[] = []
    for (const byte of encoder.encode(symbol)) {
      const id = vocab.get(byteToken(byte))
      if (id === undefined) return undefined
      ids.push(id)
    }
    return ids
  }
  return (word) => {
    const ids: number[] = []
    let unk = -1
    for (let start = 0; start < word.length; ) {
      const end = start + (word.codePointAt(start)! > 0xffff ? 2 : 1)
      let symbol = word.slice(start, end)
      if (prefix && start > 0) symbol = prefix + symbol
      if (suffix && end === word.length) symbol += suffix
      start = end
      const id = vocab.get(symbol)
      if (id !== undefined) {
        if (unk !== -1) ids.push(unk)
        unk = -1
        ids.push(id)
        continue
      }
      const bytes = byteFallback ? bytesOf(symbol) : undefined
      if (bytes) {
        ids.push(...bytes)
      } else if (unkToken !== undefined) {
        if (unk !== -1 && !fuseUnk) ids.push(unk)
        unk = vocab.get(unkToken) ?? -1
        if (unk === -1) throw new Error(`tokenizer.json: the vocabulary lacks its unknown token ${quote(unkToken)}`)
      }
    }
    if (unk !== -1) ids.push(unk)
    return ids
  }
}

function mergeByScan(ids: number[], ranks: PairTable, mergedIds: Int32Array): number[] {
  while (ids.length > 1) {
    let best = -1
    let at = -1
    for (let i = 0; i + 1 < ids.length; i++) {
      const rank = ranks.get(ids[i], ids[i + 1])
      if (rank !== -1 && (best === -1 || rank < best)) {
        best = rank
        at = i
      }
    }
    if (at === -1) break
    ids.splice(at, 2, mergedIds[best])
  }
  return ids
}

/** O(n log n): a binary heap of (rank, position) packed into one number, over a doubly linked list of symbols. */
function mergeByHeap(symbols: number[], ranks: PairTable, mergedIds: Int32Array): number[] {
  const n = symbols.length
  const ids = Int32Array.from(symbols)
  const next = Int32Array.from(ids, (_, i) => (i + 1 < n ? i + 1 : -1))
  const previous = Int32Array.from(ids, (_, i) => i - 1)
  const heap = new MinHeap(n)
  const offer = (at: number) => {
    if (at === -1 || next[at] === -1) return
    const rank = ranks.get(ids[at], ids[next[at]])
    if (rank !== -1) heap.push(rank * n + at)
  }
  for (let i = 0; i + 1 < n; i++) offer(i)
  for (let key = heap.pop(); key !== -1; key = heap.pop()) {
    const at = key % n
    const right = next[at]
    // Stale where either symbol was merged away since.
    if (ids[at] === -1 || right === -1 || ranks.get(ids[at], ids[right]) !== (key - at) / n) continue
    ids[at] = mergedIds[(key - at) / n]
    ids[right] = -1
    next[at] = next[right]
    if (next[at] !== -1) previous[next[at]] = at
    offer(previous[at])
    offer(at)
  }
  return Array.from(ids.filter((id) => id !== -1))
}

/** A binary heap of non-negative numbers. */
class MinHeap {
  #keys: Float64Array
  #size = 0

  constructor(capacity: number) {
    this.#keys = new Float64Array(Math.max(capacity, 16))
  }

  push(key: number): void {
    if (this.#size === this.#keys.length) {
      const larger = new Float64Array(this.#size * 2)
      larger.set(this.#keys)
      this.#keys = larger
    }
    const keys = this.#keys
    let i = this.#size++
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (keys[parent] <= key) break
      keys[i] = keys[parent]
      i = parent
    }
    keys[i] = key
  }

  /** The smallest key, or -1. */
  pop(): number {
    if (this.#size === 0) return -1
    const keys = this.#keys
    const smallest = keys[0]
    const last = keys[--this.#size]
    let i = 0
    for (let child = 1; child < this.#size; child = 2 * i + 1) {
      if (child + 1 < this.#size && keys[child + 1] < keys[child]) child++
      if (keys[child] >= last) break
      keys[i] = keys[child]
      i = child
    }
    keys[i] = last
    return smallest
  }
}
