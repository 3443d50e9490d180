import { bytesToSpelling } from './byte-level.ts'
import { toPattern } from './patterns.ts'
import type { NormalizerJson } from './tokenizer-json.ts'
import {
  combiningMarks,
  lowercase,
  nonspacingMarks,
  normalizeUnicode,
  removedByCleaning,
  removedByNmt,
} from './unicode.ts'

export type Normalizer = (text: string) => string

export function makeNormalizer(json: NormalizerJson): Normalizer {
  switch (json.type) {
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = json.type
      return (text) => normalizeUnicode(text, form)
    }
    case 'Nmt':
      return (text) =>
        text.replace(removedByNmt, '').replace(/[\t\n\f\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]/g, ' ')
    case 'Lowercase':
      return lowercase
    case 'StripAccents':
      return (text) => text.replace(combiningMarks, '')
    case 'ByteLevel':
      return bytesToSpelling
    case 'BertNormalizer':
      return bertNormalizer(json)
    case 'Strip': {
      const { strip_left: left, strip_right: right } = json
      return (text) => {
        const start = left ? text.search(/\P{White_Space}|$/u) : 0
        let end = text.length
        // Not by an expression: one that ends with $ is tried again at every space of a long run within the text.
        if (right) while (end > start && /\p{White_Space}/u.test(text[end - 1])) end--
        return text.slice(start, end)
      }
    }
    case 'Prepend':
      return (text) => (text === '' ? '' : json.prepend + text)
    case 'Replace': {
      const pattern = toPattern(json.pattern)
      return (text) => text.replace(pattern, () => json.content)
    }
    case 'Precompiled':
      return json.precompiled_charsmap ? precompiled(json.precompiled_charsmap) : (text) => text
    case 'Sequence': {
      const steps = json.normalizers.map(makeNormalizer)
      return (text) => steps.reduce((normalized, step) => step(normalized), text)
    }
  }
}

const chineseCharacters =
  // The sixth range begins at 2B920 in the reference too, where Unicode's block begins at 2B820.
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu

function bertNormalizer(json: Extract<NormalizerJson, { type: 'BertNormalizer' }>): Normalizer {
  const stripAccents = json.strip_accents ?? json.lowercase
  return (text) => {
    if (json.clean_text) text = text.replace(removedByCleaning, '').replace(/\p{White_Space}/gu, ' ')
    if (json.handle_chinese_chars) text = text.replace(chineseCharacters, ' $& ')
    if (stripAccents) text = normalizeUnicode(text, 'NFD').replace(nonspacingMarks, '')
    return json.lowercase ? lowercase(text) : text
  }
}

const MOST_REPLACEMENT_BYTES = 256

/**
 * SentencePiece's compiled character map: a double-array trie over UTF-8 bytes, then the replacements, each ended by
 * NUL. Follows the reference in looking up whole graphemes of fewer than six bytes first, then their characters, and
 * in taking the shortest match.
 */
function precompiled(charsmap: string): Normalizer {
  const unreadable = new Error('tokenizer.json: "normalizer.precompiled_charsmap" is damaged')
  let bytes: Uint8Array
  try {
    bytes = Uint8Array.from(atob(charsmap), (character) => character.charCodeAt(0))
  } catch {
    throw unreadable
  }
  if (bytes.length < 4) throw unreadable
  const view = new DataView(bytes.buffer)
  const trieBytes = view.getUint32(0, true)
  if (trieBytes % 4 !== 0 || trieBytes > bytes.length - 4) throw unreadable
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true))
  const replacements = bytes.subarray(4 + trieBytes)
  // What one character becomes is a word at most: U+FDFA has 33 bytes.
  for (let start = 0; start < replacements.length; ) {
    const end = replacements.indexOf(0, start)
    if ((end === -1 ? replacements.length : end) - start > MOST_REPLACEMENT_BYTES) throw unreadable
    start = end === -1 ? replacements.length : end + 1
  }
  const offset = (unit: number) => ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0

  const lookUp = (text: string): string | undefined => {
    let node = offset(units[0] ?? 0)
    for (const byte of new TextEncoder().encode(text)) {
      if (byte === 0) return undefined
      node = (node ^ byte) >>> 0
      const unit = units[node]
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return undefined
      node = (node ^ offset(unit)) >>> 0
      if ((unit & 0x100) !== 0) {
        const start = (units[node] ?? 0) & 0x7fffffff
        const end = replacements.indexOf(0, start)
        return new TextDecoder().decode(replacements.subarray(start, end === -1 ? undefined : end))
      }
    }
    return undefined
  }

  const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })
  const cache = new Map<string, string>()
  const normalizeGrapheme = (grapheme: string): string => {
    const cached = cache.get(grapheme)
    if (cached !== undefined) return cached
    const whole = new TextEncoder().encode(grapheme).length < 6 ? lookUp(grapheme) : undefined
    const normalized = whole ?? Array.from(grapheme, (character) => lookUp(character) ?? character).join('')
    if (cache.size < 10_000) cache.set(grapheme, normalized)
    return normalized
  }
  return (text) => Array.from(graphemes.segment(text), ({ segment }) => normalizeGrapheme(segment)).join('')
}
