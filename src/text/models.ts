import { makeBpe } from './bpe.ts'
import { byteTokens } from './byte-level.ts'
import { PairTable } from './pair-table.ts'
import type { ModelJson } from './tokenizer-json.ts'
import { quote } from './unicode.ts'

/** What turns one word into ids: byte-pair encoding, WordPiece, Unigram or whole words. */
export interface WordModel {
  encode(word: string): number[]
  /** The text that each id of `encode(word)` covers; only where that is not the id's vocabulary entry. */
  surfaces?(word: string): string[]
}

/** @param vocab - token to id. @throws Error where the parts of the file contradict each other. */
export function makeModel(json: ModelJson, vocab: ReadonlyMap<string, number>): WordModel {
  switch (json.type) {
    case 'BPE':
      return { encode: makeBpe(json, vocab) }
    case 'WordPiece':
      return { encode: wordPiece(json, vocab) }
    case 'WordLevel': {
      const unk = required(json.unk_token, vocab)
      return { encode: (word) => [vocab.get(word) ?? unk()] }
    }
    case 'Unigram':
      return unigram(json, vocab)
  }
}

/** The id of the unknown token, asked for only when a word needs it: a vocabulary may cover everything. */
const required = (token: string, vocab: ReadonlyMap<string, number>) => (): number => {
  const id = vocab.get(token)
  if (id === undefined) throw new Error(`tokenizer.json: the vocabulary lacks its unknown token ${quote(token)}`)
  return id
}

/** Greedy longest match from the left (BERT, arXiv 1810.04805). */
function wordPiece(json: Extract<ModelJson, { type: 'WordPiece' }>, vocab: ReadonlyMap<string, number>) {
  const { continuing_subword_prefix: prefix, max_input_chars_per_word: maxCharacters } = json
  const unk = required(json.unk_token, vocab)
  return (word: string): number[] => {
    /** Where characters begin, and the last ends. */
    const places = [0]
    for (let at = 0; at < word.length; places.push(at)) at += word.codePointAt(at)! > 0xffff ? 2 : 1
    const characters = places.length - 1
    if (characters > maxCharacters) return [unk()]
    const ids: number[] = []
    for (let start = 0; start < characters; ) {
      let end = characters
      let id: number | undefined
      for (; end > start; end--) {
        const piece = word.slice(places[start], places[end])
        id = vocab.get(start > 0 ? prefix + piece : piece)
        if (id !== undefined) break
      }
      if (id === undefined) return [unk()]
      ids.push(id)
      start = end
    }
    return ids
  }
}

/** How much less likely than the least likely token an unknown character is. */
const UNKNOWN_PENALTY = 10

/** The likeliest segmentation under a unigram language model, by Viterbi (Kudo 2018, arXiv 1804.10959). */
function unigram(json: Extract<ModelJson, { type: 'Unigram' }>, vocab: ReadonlyMap<string, number>): WordModel {
  const scores = json.vocab.map(([, score]) => score)
  const unkId = json.unk_id ?? undefined
  if (unkId !== undefined && unkId >= scores.length) {
    throw new Error(`tokenizer.json: "model.unk_id" is ${unkId}, beyond the ${scores.length} tokens of the vocabulary`)
  }
  const unkScore = scores.reduce((least, score) => Math.min(least, score), Infinity) - UNKNOWN_PENALTY
  const bytes = byteTokens(vocab)
  const encoder = new TextEncoder()

  // A trie whose edges (node, UTF-16 unit) → node lie in one table; `tokens[node]` is the id that ends there, or -1.
  const edges = new PairTable(json.vocab.length * 4)
  const tokens: number[] = [-1]
  json.vocab.forEach(([token], id) => {
    if (token === '') return
    let node = 0
    for (let i = 0; i < token.length; i++) {
      let next = edges.get(node, token.charCodeAt(i))
      if (next === -1) {
        next = tokens.length
        tokens.push(-1)
        edges.set(node, token.charCodeAt(i), next)
      }
      node = next
    }
    tokens[node] = id
  })

  /** The segmentation, adjacent unknown characters as one piece. */
  const segment = (word: string): string[] => {
    const best = new Float64Array(word.length + 1)
    const startOf = new Int32Array(word.length + 1).fill(-1)
    const isUnknown = new Uint8Array(word.length + 1)
    const offer = (start: number, end: number, score: number, unknown: boolean) => {
      const candidate = best[start] + score
      if (startOf[end] !== -1 && candidate <= best[end]) return
      best[end] = candidate
      startOf[end] = start
      isUnknown[end] = unknown ? 1 : 0
    }
    for (let start = 0; start < word.length; ) {
      const nextCharacter = start + (word.codePointAt(start)! > 0xffff ? 2 : 1)
      let hasCharacter = false
      for (let end = start + 1, node = 0; end <= word.length; end++) {
        node = edges.get(node, word.charCodeAt(end - 1))
        if (node === -1) break
        const id = tokens[node]
        if (id === -1) continue
        offer(start, end, scores[id], id === unkId)
        hasCharacter ||= end === nextCharacter
      }
      if (!hasCharacter) {
        if (unkId === undefined) {
          throw new Error('this text has characters that the vocabulary lacks, and the tokenizer has no unknown token')
        }
        offer(start, nextCharacter, unkScore, true)
      }
      start = nextCharacter
    }
    const pieces: string[] = []
    let previousUnknown = false
    for (let end = word.length; end > 0; end = startOf[end]) {
      const piece = word.slice(startOf[end], end)
      const unknown = isUnknown[end] === 1
      if (unknown && previousUnknown) pieces[pieces.length - 1] = piece + pieces[pieces.length - 1]
      else pieces.push(piece)
      previousUnknown = unknown
    }
    return pieces.reverse()
  }

  const encodePiece = (piece: string): { ids: number[]; isBytes: boolean } => {
    const id = vocab.get(piece)
    if (id !== undefined) return { ids: [id], isBytes: false }
    if (json.byte_fallback && bytes) return { ids: Array.from(encoder.encode(piece), (b) => bytes[b]), isBytes: true }
    return { ids: [unkId!], isBytes: false }
  }
  return {
    encode: (word) => segment(word).flatMap((piece) => encodePiece(piece).ids),
    surfaces: (word) =>
      segment(word).flatMap((piece) => {
        const { ids, isBytes } = encodePiece(piece)
        return isBytes ? ids.map((id) => json.vocab[id][0]) : [piece]
      }),
  }
}
