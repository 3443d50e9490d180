/** A text as one long stream of token ids, in memory and as a file. */

export type TokenArray = Uint16Array | Uint32Array

/** What `TokenDataset` needs of a tokenizer. */
export interface TokenEncoder {
  readonly vocabSize: number
  encode(text: string): ArrayLike<number>
}

/*
 * The file, little-endian: "JDTOKENS", version (uint32), vocabulary size (uint32), number of tokens (uint64), then the
 * tokens, two bytes each where the vocabulary fits into them and four otherwise. There is nothing else to disagree.
 */
const MAGIC = 'JDTOKENS'
const VERSION = 1
export const HEADER_BYTES = 24
const MAX_VOCAB_SIZE = 2 ** 31

/** Says in one sentence why a token file is refused. */
export class TokenFileError extends Error {
  override name = 'TokenFileError'
}

const bytesPerToken = (vocabSize: number): 2 | 4 => (vocabSize <= 0x10000 ? 2 : 4)

export function newTokens(vocabSize: number, length: number): TokenArray {
  return bytesPerToken(vocabSize) === 2 ? new Uint16Array(length) : new Uint32Array(length)
}

/** Token ids, each below `vocabSize`. Immutable by convention; `slice` and `split` are views that copy nothing. */
export class TokenDataset {
  readonly tokens: TokenArray
  readonly vocabSize: number

  private constructor(tokens: TokenArray, vocabSize: number) {
    this.tokens = tokens
    this.vocabSize = vocabSize
  }

  /**
   * Copies the ids, save where they already are the array that the vocabulary needs.
   *
   * @throws RangeError where the vocabulary size is not an integer in [1, 2^31] or a token lies outside the vocabulary.
   */
  static from(tokens: ArrayLike<number>, vocabSize: number): TokenDataset {
    if (!Number.isInteger(vocabSize) || vocabSize < 1 || vocabSize > MAX_VOCAB_SIZE) {
      throw new RangeError(`TokenDataset: vocabSize must be an integer from 1 to 2^31, got ${vocabSize}`)
    }
    return new TokenDataset(asTokenArray(tokens, vocabSize), vocabSize)
  }

  get length(): number {
    return this.tokens.length
  }

  static fromText(tokenizer: TokenEncoder, text: string): TokenDataset {
    return TokenDataset.from(tokenizer.encode(text), tokenizer.vocabSize)
  }

  /** Encodes documents one by one and ends each with `endOfText`, as GPT-2 does. */
  static fromDocuments(tokenizer: TokenEncoder, documents: Iterable<string>, endOfText: number): TokenDataset {
    let tokens = newTokens(tokenizer.vocabSize, 1 << 16)
    let length = 0
    for (const text of documents) {
      const ids = tokenizer.encode(text)
      requireTokens(ids, tokenizer.vocabSize)
      const needed = length + ids.length + 1
      if (needed > tokens.length) {
        const grown = newTokens(tokenizer.vocabSize, Math.max(needed, tokens.length * 2))
        grown.set(tokens.subarray(0, length))
        tokens = grown
      }
      tokens.set(ids, length)
      tokens[needed - 1] = endOfText
      length = needed
    }
    if (length > 0) requireTokens([endOfText], tokenizer.vocabSize)
    return TokenDataset.from(tokens.slice(0, length), tokenizer.vocabSize)
  }

  /** Tokens `start` (included) to `end` (excluded) as a view; negative positions count from the end. */
  slice(start: number, end?: number): TokenDataset {
    return new TokenDataset(this.tokens.subarray(start, end), this.vocabSize)
  }

  /** The first `trainFraction` of the stream for training, the rest for validation: nanoGPT's 90 % and 10 %. */
  split(trainFraction = 0.9): { train: TokenDataset; validation: TokenDataset } {
    if (!(trainFraction >= 0 && trainFraction <= 1)) {
      throw new RangeError(`TokenDataset.split: trainFraction must lie between 0 and 1, got ${trainFraction}`)
    }
    const middle = Math.floor(this.length * trainFraction)
    return { train: this.slice(0, middle), validation: this.slice(middle) }
  }

  /** The bytes of a token file. */
  toBytes(): Uint8Array {
    const width = bytesPerToken(this.vocabSize)
    const bytes = new Uint8Array(HEADER_BYTES + this.length * width)
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < MAGIC.length; i++) bytes[i] = MAGIC.charCodeAt(i)
    view.setUint32(8, VERSION, true)
    view.setUint32(12, this.vocabSize, true)
    view.setBigUint64(16, BigInt(this.length), true)
    bytes.set(new Uint8Array(this.tokens.buffer, this.tokens.byteOffset, this.tokens.byteLength), HEADER_BYTES)
    return bytes
  }

  /**
   * Reads the bytes of a token file. Nothing is allocated before the header agrees with the number of bytes.
   *
   * @param name what the error calls the bytes
   * @throws TokenFileError where the bytes are not a whole, consistent token file.
   */
  static fromBytes(bytes: Uint8Array, name = 'token file'): TokenDataset {
    const { vocabSize, count } = readHeader(bytes, bytes.length, name)
    const tokens = newTokens(vocabSize, count)
    new Uint8Array(tokens.buffer).set(bytes.subarray(HEADER_BYTES))
    return TokenDataset.checked(tokens, vocabSize, name)
  }

  /** What a file held, whose header was read already. */
  static checked(tokens: TokenArray, vocabSize: number, name: string): TokenDataset {
    const position = firstOutside(tokens, vocabSize)
    if (position >= 0) {
      throw new TokenFileError(
        `${name}: token ${position} is ${tokens[position]}, outside the vocabulary of ${vocabSize}; write the file again`,
      )
    }
    return new TokenDataset(tokens, vocabSize)
  }
}

export function readHeader(header: Uint8Array, fileSize: number, name: string): { vocabSize: number; count: number } {
  const refuse = (why: string): never => {
    throw new TokenFileError(`${name}: ${why}`)
  }
  if (header.length < HEADER_BYTES) refuse(`not a token file: ${header.length} bytes, shorter than its header`)
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength)
  if (String.fromCharCode(...header.subarray(0, MAGIC.length)) !== MAGIC) {
    refuse(`not a token file: it does not begin with ${MAGIC}`)
  }
  const version = view.getUint32(8, true)
  if (version !== VERSION) refuse(`token file version ${version} is not known; this program reads version ${VERSION}`)
  const vocabSize = view.getUint32(12, true)
  if (vocabSize < 1 || vocabSize > MAX_VOCAB_SIZE) refuse(`vocabulary size ${vocabSize} is not in 1 … 2^31`)
  const count = view.getBigUint64(16, true)
  const expected = BigInt(HEADER_BYTES) + count * BigInt(bytesPerToken(vocabSize))
  if (expected !== BigInt(fileSize)) {
    refuse(`its header promises ${count} tokens (${expected} bytes in all), but it has ${fileSize} bytes`)
  }
  return { vocabSize, count: Number(count) }
}

/** The position of the first value that is not an integer in [0, vocabSize), or −1. */
function firstOutside(tokens: ArrayLike<number>, vocabSize: number): number {
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]
    if (!(token >= 0 && token < vocabSize && Number.isInteger(token))) return i
  }
  return -1
}

function requireTokens(tokens: ArrayLike<number>, vocabSize: number): void {
  const position = firstOutside(tokens, vocabSize)
  if (position >= 0) {
    throw new RangeError(
      `TokenDataset: token ${position} is ${tokens[position]}, which is outside the vocabulary of ${vocabSize}`,
    )
  }
}

function asTokenArray(tokens: ArrayLike<number>, vocabSize: number): TokenArray {
  requireTokens(tokens, vocabSize)
  const narrow = bytesPerToken(vocabSize) === 2
  if (narrow ? tokens instanceof Uint16Array : tokens instanceof Uint32Array) return tokens as TokenArray
  return narrow ? Uint16Array.from(tokens) : Uint32Array.from(tokens)
}
