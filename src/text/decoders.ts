import { byteOfToken, spellingToBytes } from './byte-level.ts'
import { toPattern } from './patterns.ts'
import { isLinearPattern } from './plain.ts'
import { prependScheme } from './pre-tokenizers.ts'
import type { DecoderJson, FlatDecoderJson } from './tokenizer-json.ts'

/**
 * One step from tokens to text, as a stream: pieces go in one by one, and each comes out as soon as nothing that
 * follows can change it. Decoding at once is the same steps followed by `flush`, so the two cannot differ.
 */
export interface DecoderStep {
  push(piece: string): string[]
  flush(): string[]
}

const encoder = new TextEncoder()

/** Steps of a decoder, characters that a match is replaced by, and characters that grow out of what is decoded at once. */
const MOST_STEPS = 32
const MOST_REPLACEMENT = 64
const MOST_TEXT = 1 << 24

/** Makes fresh steps (they hold state) for one text. */
export function makeDecoder(json: DecoderJson): () => DecoderStep[] {
  const flat = flatDecoder(json)
  if (flat.length > MOST_STEPS)
    throw new Error(`tokenizer.json: "decoder" has ${flat.length} steps; ${MOST_STEPS} are the most`)
  const makers: (() => DecoderStep)[] = []
  let joined = false
  for (const step of flat) {
    makers.push(makeStep(step, joined))
    joined ||= step.type === 'Fuse' || step.type === 'ByteLevel'
  }
  return () => makers.map((make) => make())
}

/** The steps of a decoder, in order. */
export const flatDecoder = (json: DecoderJson): FlatDecoderJson[] =>
  json.type === 'Sequence' ? json.decoders.flatMap(flatDecoder) : [json]

/** @param joined - an earlier step has joined the pieces into one text, of which this step sees parts. */
function makeStep(json: FlatDecoderJson, joined: boolean): () => DecoderStep {
  switch (json.type) {
    case 'ByteLevel':
      return whole(byteLevel(), joined)
    case 'ByteFallback':
      return whole(byteFallback, joined)
    case 'Fuse':
      return () => pieceByPiece((piece) => piece)
    case 'Strip':
      if (joined) return () => stripJoined(json.content, json.start, json.stop)
      return () => pieceByPiece((piece) => strip(piece, json.content, json.start, json.stop))
    case 'Replace': {
      // Between two tokens of an answer there is no time for more.
      if (!isLinearPattern(json.pattern) || json.content.length > MOST_REPLACEMENT) {
        throw new Error('tokenizer.json: "decoder" has a replacement that may take for ever or become very long')
      }
      const pattern = toPattern(json.pattern)
      return whole(() => pieceByPiece((piece) => replaced(piece, pattern, json.content)), joined)
    }
    case 'WordPiece':
      return whole(
        () =>
          pieceByPiece((piece, i) => {
            const text = i === 0 ? piece : piece.startsWith(json.prefix) ? piece.slice(json.prefix.length) : ` ${piece}`
            return json.cleanup ? cleanUp(text) : text
          }),
        joined,
      )
    case 'Metaspace': {
      const dropsFirst = prependScheme(json) !== 'never'
      return whole(
        () => pieceByPiece((piece, i) => piece.replaceAll(json.replacement, i === 0 && dropsFirst ? '' : ' ')),
        joined,
      )
    }
    case 'BPEDecoder':
      return whole(() => bpeDecoder(json.suffix), joined)
    case 'CTC':
      return whole(() => {
        let last: string | undefined
        return pieceByPiece((piece) => {
          if (piece === last) return ''
          last = piece
          const text = json.pad_token ? piece.replaceAll(json.pad_token, '') : piece
          return json.cleanup ? cleanUp(text).replaceAll(json.word_delimiter_token, ' ') : text
        })
      }, joined)
  }
}

function replaced(piece: string, pattern: RegExp, content: string): string {
  const text = piece.replace(pattern, () => content)
  if (text.length > MOST_TEXT && text.length > piece.length)
    throw new Error('the tokenizer makes too much text of one token')
  return text
}

function pieceByPiece(decode: (piece: string, index: number) => string): DecoderStep {
  let index = 0
  return { push: (piece) => [decode(piece, index++)], flush: () => [] }
}

/** After the pieces were joined, a step that looks at whole pieces has to wait for the end. */
function whole(make: () => DecoderStep, joined: boolean): () => DecoderStep {
  if (!joined) return make
  return () => {
    const step = make()
    let text = ''
    let pushed = false
    return {
      push: (piece) => {
        text += piece
        pushed = true
        return []
      },
      flush: () => (pushed ? [...step.push(text), ...step.flush()] : []),
    }
  }
}

/** Bytes to text; U+FFFD for what is not UTF-8. */
function byteLevel(): () => DecoderStep {
  // Most tokens are ASCII, whose text needs no decoder; either form is worked out once for all streams.
  const known = new Map<string, string | Uint8Array>()
  const textOrBytes = (token: string): string | Uint8Array => {
    let value = known.get(token)
    if (value === undefined) {
      const bytes = spellingToBytes(token)
      value = bytes.every((byte) => byte < 0x80) ? new TextDecoder().decode(bytes) : bytes
      known.set(token, value)
    }
    return value
  }
  return () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
    let mayBeInsideCharacter = false
    const emit = (text: string) => (text === '' ? [] : [text])
    return {
      push: (piece) => {
        const value = textOrBytes(piece)
        if (typeof value === 'string' && !mayBeInsideCharacter) return emit(value)
        mayBeInsideCharacter = typeof value !== 'string'
        return emit(decoder.decode(typeof value === 'string' ? encoder.encode(value) : value, { stream: true }))
      },
      flush: () => emit(decoder.decode()),
    }
  }
}

/** Runs of byte tokens to text; a run that is not UTF-8 becomes one U+FFFD for each of its bytes. */
function byteFallback(): DecoderStep {
  let run: number[] = []
  const decodeRun = (): string[] => {
    if (run.length === 0) return []
    const bytes = Uint8Array.from(run)
    run = []
    try {
      return [new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)]
    } catch {
      return ['\ufffd'.repeat(bytes.length)]
    }
  }
  return {
    push: (piece) => {
      const byte = byteOfToken(piece)
      if (byte === undefined) return [...decodeRun(), piece]
      run.push(byte)
      return []
    },
    flush: decodeRun,
  }
}

/** The suffix that ends a word becomes a space, except in the last token, so what follows a suffix waits. */
function bpeDecoder(suffix: string): DecoderStep {
  let held = ''
  return {
    push: (piece) => {
      const ended = held.replaceAll(suffix, ' ')
      const at = piece.indexOf(suffix)
      held = at === -1 ? '' : piece.slice(at)
      return [ended + (at === -1 ? piece : piece.slice(0, at))]
    },
    flush: () => [held.replaceAll(suffix, '')],
  }
}

function strip(piece: string, content: string, start: number, stop: number): string {
  let from = 0
  for (let i = 0; i < start && piece.startsWith(content, from); i++) from += content.length
  let to = piece.length
  for (let i = 0; i < stop && to - content.length >= from && piece.startsWith(content, to - content.length); i++) {
    to -= content.length
  }
  return piece.slice(from, to)
}

/** `strip` of a text that comes in parts: the beginning is decided first, and as much as may be cut off the end waits. */
function stripJoined(content: string, start: number, stop: number): DecoderStep {
  let text = ''
  let started = start === 0
  return {
    push: (piece) => {
      text += piece
      if (!started) {
        if (text.length < start * content.length && (content.repeat(start).startsWith(text) || text === '')) return []
        text = strip(text, content, start, 0)
        started = true
      }
      const keep = Math.max(0, text.length - stop * content.length)
      // Never cut a character in two.
      const splits = /[\ud800-\udbff]/.test(text[keep - 1] ?? '') ? keep - 1 : keep
      const ready = text.slice(0, splits)
      text = text.slice(splits)
      return ready === '' ? [] : [ready]
    },
    flush: () => [strip(text, content, started ? 0 : start, stop)],
  }
}

/** Undoes the spaces that English tokenization put in: the reference's list, in its order. */
const CLEAN_UPS: readonly (readonly [string, string])[] = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [' do not', " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
]

const cleanUp = (text: string): string =>
  text.includes(' ') ? CLEAN_UPS.reduce((cleaned, [from, to]) => cleaned.replaceAll(from, to), text) : text
