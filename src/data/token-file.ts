/** Token files on disk; apart from `TokenDataset`, which runs in browsers too. */

import { closeSync, fstatSync, openSync, readSync, renameSync, writeFileSync } from 'node:fs'
import { HEADER_BYTES, newTokens, readHeader, TokenDataset, TokenFileError } from './token-dataset.ts'

/** Writes a token file; whoever reads `path` meanwhile sees the old file or the new one, never half of one. */
export function saveTokens(data: TokenDataset, path: string): void {
  const partial = `${path}.${process.pid}.partial`
  writeFileSync(partial, data.toBytes())
  renameSync(partial, path)
}

/** @throws TokenFileError where the file is not a whole, consistent token file. */
export function loadTokens(path: string): TokenDataset {
  const file = openSync(path, 'r')
  try {
    const size = fstatSync(file).size
    const header = new Uint8Array(HEADER_BYTES)
    const got = readSync(file, header, 0, HEADER_BYTES, 0)
    const { vocabSize, count } = readHeader(header.subarray(0, got), size, path)
    const tokens = newTokens(vocabSize, count)
    readWhole(file, new Uint8Array(tokens.buffer), HEADER_BYTES, path)
    return TokenDataset.checked(tokens, vocabSize, path)
  } finally {
    closeSync(file)
  }
}

function readWhole(file: number, into: Uint8Array, position: number, name: string): void {
  let done = 0
  while (done < into.length) {
    const got = readSync(file, into, done, into.length - done, position + done)
    if (got === 0) throw new TokenFileError(`${name}: the file became shorter while it was read`)
    done += got
  }
}
