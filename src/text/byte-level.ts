/**
 * GPT-2's spelling of bytes: each of the 256 bytes as one visible character, so that a vocabulary of byte strings can
 * be written as text. Printable Latin-1 bytes stand for themselves, the rest for U+0100 and on, in order.
 */
const SPELLING: readonly string[] = (() => {
  let next = 0x100
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    return String.fromCharCode(printable ? byte : next++)
  })
})()

const BYTES = new Map(SPELLING.map((character, byte) => [character, byte]))

/** The 256 characters in the order in which GPT-2's vocabulary and byte-level trainers number them. */
export const BYTE_ALPHABET: readonly string[] = [...SPELLING].sort((a, b) => (a < b ? -1 : 1))

const encoder = new TextEncoder()

/** Text as the spelling of its UTF-8 bytes: `' é'` becomes `'ĠÃ©'`. */
export function bytesToSpelling(text: string): string {
  if (/^[!-~]*$/.test(text)) return text
  let spelling = ''
  for (const byte of encoder.encode(text)) spelling += SPELLING[byte]
  return spelling
}

/** The bytes that a vocabulary entry spells; those of its own UTF-8 where it is not a spelling (an added token). */
export function spellingToBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length)
  for (let i = 0; i < token.length; i++) {
    const byte = BYTES.get(token[i])
    if (byte === undefined) return encoder.encode(token)
    bytes[i] = byte
  }
  return bytes
}

/** GPT-2's regular expression for words (`encoder.py` of the release), in JavaScript's dialect. */
export const GPT2_WORDS =
  /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu

/** The spelling of a byte in vocabularies with byte fallback. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`

/** The byte that such a token spells. */
export function byteOfToken(token: string): number | undefined {
  const byte = /^<0x([0-9A-Fa-f]{2})>$/.exec(token)
  return byte ? Number.parseInt(byte[1], 16) : undefined
}

/** The ids of the 256 byte tokens, where the vocabulary has them all. */
export function byteTokens(vocab: ReadonlyMap<string, number>): number[] | undefined {
  const ids: number[] = []
  for (let byte = 0; byte < 256; byte++) {
    const id = vocab.get(byteToken(byte))
    if (id === undefined) return undefined
    ids.push(id)
  }
  return ids
}
