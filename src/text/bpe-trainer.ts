import { BYTE_ALPHABET } from './byte-level.ts'
import { PairTable } from './pair-table.ts'
import { makePreTokenizer } from './pre-tokenizers.ts'
import type { PreTokenizerJson } from './tokenizer-json.ts'

export interface BpeTrainingProgress {
  phase: 'counting words' | 'merging'
  /** Characters read, or tokens of the vocabulary so far. */
  done: number
  /** Tokens wanted; unknown while counting. */
  total?: number
}

export interface BpeTrainingOptions {
  /** Tokens in all: special ones, the 256 bytes, merges. Fewer come out where the texts run out of pairs. */
  vocabSize: number
  /** Get the first ids, in this order. */
  specialTokens?: readonly string[]
  /** Cuts texts into words, in the dialect of `tokenizer.json`; GPT-2's by default. */
  pattern?: string
  /** Make each digit a word, as LLaMA and SmolLM do; false by default. */
  splitDigits?: boolean
  /** Pairs seen less often are not merged; 2 by default. */
  minFrequency?: number
  onProgress?: (progress: BpeTrainingProgress) => void
}

/**
 * Trains a byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909, on bytes as in GPT-2): the most
 * frequent adjacent pair of tokens becomes a token, again and again; of equally frequent pairs, the one with the
 * smallest ids. The same texts give the same tokenizer.
 *
 * @returns the object to save as `tokenizer.json` and to give to `tokenizerFromJson`.
 */
export function trainByteLevelBpe(texts: Iterable<string>, options: BpeTrainingOptions): object {
  const { vocabSize, specialTokens = [], minFrequency = 2, onProgress } = options
  const smallest = new Set(specialTokens).size + BYTE_ALPHABET.length
  if (!Number.isInteger(vocabSize) || vocabSize < smallest) {
    throw new Error(`vocabSize must be at least ${smallest} (the special tokens and 256 bytes), got ${vocabSize}`)
  }
  const preTokenizerJson = wordsOf(options)
  const counts = countWords(texts, preTokenizerJson, onProgress)

  const tokens = [...new Set([...specialTokens, ...BYTE_ALPHABET])]
  const vocab = new Map(tokens.map((token, id) => [token, id]))
  const corpus = new Corpus(counts, vocab)
  const merges: [string, string][] = []
  while (tokens.length < vocabSize) {
    const pair = corpus.popMostFrequent(minFrequency)
    if (pair === -1) break
    const left = tokens[corpus.firstOf(pair)]
    const right = tokens[corpus.secondOf(pair)]
    // Two pairs may spell the same token, as ab+c and a+bc.
    const merged = left + right
    let id = vocab.get(merged)
    if (id === undefined) {
      id = tokens.length
      tokens.push(merged)
      vocab.set(merged, id)
    }
    merges.push([left, right])
    corpus.merge(pair, id)
    if (merges.length % 256 === 0) onProgress?.({ phase: 'merging', done: tokens.length, total: vocabSize })
  }
  onProgress?.({ phase: 'merging', done: tokens.length, total: vocabSize })

  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [...new Set(specialTokens)].map((content, id) => ({ id, content, ...flags })),
    normalizer: null,
    pre_tokenizer: preTokenizerJson,
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges,
    },
  }
}

function wordsOf({ pattern, splitDigits = false }: BpeTrainingOptions): PreTokenizerJson {
  const bytes = {
    type: 'ByteLevel' as const,
    add_prefix_space: false,
    trim_offsets: true,
    use_regex: pattern === undefined,
  }
  const before: PreTokenizerJson[] = []
  if (splitDigits) before.push({ type: 'Digits', individual_digits: true })
  if (pattern !== undefined) {
    before.push({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false })
  }
  return before.length === 0 ? bytes : { type: 'Sequence', pretokenizers: [...before, bytes] }
}

/** How often each word occurs, words spelled as bytes. */
function countWords(
  texts: Iterable<string>,
  preTokenizerJson: PreTokenizerJson,
  onProgress: BpeTrainingOptions['onProgress'],
): Map<string, number> {
  const preTokenizer = makePreTokenizer(preTokenizerJson)
  const raw = new Map<string, number>()
  let done = 0
  for (const text of texts) {
    for (const word of preTokenizer.split(text, true)) raw.set(word, (raw.get(word) ?? 0) + 1)
    done += text.length
    onProgress?.({ phase: 'counting words', done })
  }
  const spelled = new Map<string, number>()
  for (const [word, count] of raw) {
    const spelling = preTokenizer.spell(word)
    spelled.set(spelling, (spelled.get(spelling) ?? 0) + count)
  }
  return spelled
}

/**
 * The words of the texts as ids, with the counts of adjacent pairs kept up to date as pairs are merged. A pair is
 * known by its index; a heap orders pairs by count and is corrected only when a pair comes to its top.
 */
class Corpus {
  #symbols: Int32Array
  #starts: Int32Array
  #ends: Int32Array
  #wordCounts: number[]
  #pairs = new PairTable(1 << 16)
  #firsts: number[] = []
  #seconds: number[] = []
  #counts: number[] = []
  /** Words that a pair was seen in; it may have gone from some of them since. */
  #words: number[][] = []
  #heap: PairHeap

  constructor(counts: ReadonlyMap<string, number>, vocab: ReadonlyMap<string, number>) {
    let length = 0
    for (const word of counts.keys()) length += word.length
    this.#symbols = new Int32Array(length)
    this.#starts = new Int32Array(counts.size)
    this.#ends = new Int32Array(counts.size)
    this.#wordCounts = [...counts.values()]
    this.#heap = new PairHeap(this.#counts, this.#firsts, this.#seconds)
    let at = 0
    let index = 0
    for (const [word, count] of counts) {
      this.#starts[index] = at
      for (let i = 0; i < word.length; i++) this.#symbols[at++] = vocab.get(word[i])!
      this.#ends[index] = at
      for (let i = this.#starts[index]; i + 1 < at; i++) {
        this.#add(this.#symbols[i], this.#symbols[i + 1], count, index)
      }
      index++
    }
    for (let pair = 0; pair < this.#counts.length; pair++) this.#heap.push(pair)
  }

  firstOf(pair: number): number {
    return this.#firsts[pair]
  }

  secondOf(pair: number): number {
    return this.#seconds[pair]
  }

  /** Takes the most frequent pair from the heap; -1 where none is left that occurs often enough. */
  popMostFrequent(minFrequency: number): number {
    for (;;) {
      const top = this.#heap.pop()
      if (top === undefined || top.count < Math.max(1, minFrequency)) return -1
      if (this.#counts[top.pair] === top.count) return top.pair
      if (this.#counts[top.pair] > 0) this.#heap.push(top.pair)
    }
  }

  /** Replaces the pair by the token `id` in all words. */
  merge(pair: number, id: number): void {
    const first = this.#firsts[pair]
    const second = this.#seconds[pair]
    const symbols = this.#symbols
    const grown = new Set<number>()
    for (const word of this.#words[pair]) {
      const start = this.#starts[word]
      const end = this.#ends[word]
      const count = this.#wordCounts[word]
      let to = start
      for (let from = start; from < end; ) {
        if (symbols[from] !== first || from + 1 >= end || symbols[from + 1] !== second) {
          symbols[to++] = symbols[from++]
          continue
        }
        if (to > start) {
          this.#add(symbols[to - 1], first, -count, word)
          grown.add(this.#add(symbols[to - 1], id, count, word))
        }
        symbols[to++] = id
        from += 2
        if (from < end) {
          this.#add(second, symbols[from], -count, word)
          grown.add(this.#add(id, symbols[from], count, word))
        }
      }
      this.#ends[word] = to
    }
    this.#counts[pair] = 0
    this.#words[pair] = []
    for (const index of grown) if (this.#counts[index] > 0) this.#heap.push(index)
  }

  /** Adds to the count of a pair. @returns its index. */
  #add(first: number, second: number, count: number, word: number): number {
    let pair = this.#pairs.get(first, second)
    if (pair === -1) {
      pair = this.#counts.length
      this.#pairs.set(first, second, pair)
      this.#firsts.push(first)
      this.#seconds.push(second)
      this.#counts.push(0)
      this.#words.push([])
    }
    this.#counts[pair] += count
    if (count > 0) {
      const words = this.#words[pair]
      if (words.length === 0 || words[words.length - 1] !== word) words.push(word)
    }
    return pair
  }
}

/** A binary heap of pairs, each with its count at the time it was pushed. */
class PairHeap {
  #pairs: number[] = []
  #pushedCounts: number[] = []
  #counts: readonly number[]
  #firsts: readonly number[]
  #seconds: readonly number[]

  constructor(counts: readonly number[], firsts: readonly number[], seconds: readonly number[]) {
    this.#counts = counts
    this.#firsts = firsts
    this.#seconds = seconds
  }

  push(pair: number): void {
    const count = this.#counts[pair]
    let i = this.#pairs.length
    this.#pairs.push(pair)
    this.#pushedCounts.push(count)
    while (i > 0) {
      const parent = (i - 1) >> 1
      if (!this.#precedes(pair, count, this.#pairs[parent], this.#pushedCounts[parent])) break
      this.#place(i, this.#pairs[parent], this.#pushedCounts[parent])
      i = parent
    }
    this.#place(i, pair, count)
  }

  pop(): { pair: number; count: number } | undefined {
    if (this.#pairs.length === 0) return undefined
    const top = { pair: this.#pairs[0], count: this.#pushedCounts[0] }
    const pair = this.#pairs.pop()!
    const count = this.#pushedCounts.pop()!
    const size = this.#pairs.length
    if (size === 0) return top
    let i = 0
    for (let child = 1; child < size; child = 2 * i + 1) {
      const right = child + 1
      if (
        right < size &&
        this.#precedes(this.#pairs[right], this.#pushedCounts[right], this.#pairs[child], this.#pushedCounts[child])
      ) {
        child = right
      }
      if (!this.#precedes(this.#pairs[child], this.#pushedCounts[child], pair, count)) break
      this.#place(i, this.#pairs[child], this.#pushedCounts[child])
      i = child
    }
    this.#place(i, pair, count)
    return top
  }

  #place(i: number, pair: number, count: number): void {
    this.#pairs[i] = pair
    this.#pushedCounts[i] = count
  }

  #precedes(a: number, countA: number, b: number, countB: number): boolean {
    if (countA !== countB) return countA > countB
    if (this.#firsts[a] !== this.#firsts[b]) return this.#firsts[a] < this.#firsts[b]
    return this.#seconds[a] < this.#seconds[b]
  }
}
