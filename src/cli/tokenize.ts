import { Command } from 'commander'
import { withDownloadBar } from './download-bar.ts'

interface TokenizeOptions {
  decode?: boolean
  json?: boolean
  specialTokens: boolean
  skipSpecialTokens?: boolean
}

export const tokenizeCommand = (): Command =>
  new Command('tokenize')
    .description('turn text on standard input into token ids, or with --decode ids into text')
    .argument('<model>', 'a tokenizer.json, a model folder, hf:owner/name, gguf:FILE or the name of a shipped model')
    .option('--decode', 'read ids (separated by spaces, commas or newlines, or a JSON array) and print their text')
    .option('--json', 'print {"ids": [...], "tokens": [...]}, or {"text": "..."} with --decode')
    .option('--no-special-tokens', 'encode without the tokens that the tokenizer puts around a text')
    .option('--skip-special-tokens', 'decode without special tokens')
    .addHelpText('after', '\nExample:\n  printf %s "Hello, world!" | jackdaw tokenize path/to/tokenizer.json')
    .action(async (model: string, options: TokenizeOptions) => {
      const tokenizer = await openTokenizer(model)
      const input = await readStandardInput()
      if (options.decode) {
        const text = tokenizer.decode(parseIds(input, tokenizer.vocabSize), options)
        process.stdout.write(options.json ? `${JSON.stringify({ text })}\n` : text)
      } else {
        const { ids, tokens } = tokenizer.tokenize(input, { addSpecialTokens: options.specialTokens })
        process.stdout.write(options.json ? `${JSON.stringify({ ids, tokens })}\n` : `${ids.join(' ')}\n`)
      }
    })

/** The tokenizer of a model reference, or of a `tokenizer.json` or vocabulary file. */
async function openTokenizer(model: string) {
  const [{ stat }, { loadTokenizer }, { tokenizerFromGguf }, { resolveModelRef }, { openGguf }] = await Promise.all([
    import('node:fs/promises'),
    import('../text/load.ts'),
    import('../text/gguf-tokenizer.ts'),
    import('../hub/open.ts'),
    import('../hub/gguf/file.ts'),
  ])
  const isThere = (await stat(model).catch(() => undefined)) !== undefined
  const isReference = /^(gguf|hf):/.test(model) || model.endsWith('.gguf') || (!isThere && !/[/\\]|\.json$/.test(model))
  const files = isReference
    ? await withDownloadBar((onProgress) => resolveModelRef(model, { onProgress }))
    : { kind: 'folder', path: model }
  if (files.kind !== 'gguf') return loadTokenizer(files.path)
  const file = openGguf(files.path)
  try {
    return tokenizerFromGguf(file.metadata)
  } finally {
    file.close()
  }
}

/** All of standard input as it is, with a newline at the end if there is one. */
async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(chunks))
}

function parseIds(input: string, vocabSize: number): number[] {
  const words = input
    .trim()
    .replace(/^\[(.*)\]$/s, '$1')
    .split(/[\s,]+/)
    .filter((word) => word !== '')
  return words.map((word) => {
    const id = Number(word)
    if (/^\d+$/.test(word) && id < vocabSize) return id
    const shown = JSON.stringify(word.length > 40 ? `${word.slice(0, 40)}…` : word)
    throw new Error(`${shown} is not a token id: ids are integers from 0 to ${vocabSize - 1}`)
  })
}
