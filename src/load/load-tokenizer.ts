import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { openGguf } from '../hub/gguf/file.ts'
import type { ModelFiles } from '../hub/open.ts'
import { tokenizerFromGguf } from '../text/gguf-tokenizer.ts'
import { loadTokenizer } from '../text/load.ts'
import type { Tokenizer } from '../text/tokenizer.ts'

const TOKENIZER_FILES = ['tokenizer.json', 'vocab.json', 'encoder.json', 'vocab.txt']

/** The tokenizer in a GGUF file's metadata: one that was made of a model without has none. */
export const ggufTokenizer = (metadata: Readonly<Record<string, unknown>>): Tokenizer | undefined =>
  'tokenizer.ggml.model' in metadata || 'tokenizer.ggml.tokens' in metadata ? tokenizerFromGguf(metadata) : undefined

/** The tokenizer that comes with a model, where one does. @throws Error with one sentence where it is damaged. */
export async function openTokenizer({ kind, path }: ModelFiles): Promise<Tokenizer | undefined> {
  if (kind === 'folder') {
    return TOKENIZER_FILES.some((file) => existsSync(join(path, file))) ? loadTokenizer(path) : undefined
  }
  const file = openGguf(path)
  try {
    return ggufTokenizer(file.metadata)
  } finally {
    file.close()
  }
}
