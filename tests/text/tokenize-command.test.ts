import { Readable } from 'node:stream'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { tokenizeCommand } from '../../src/cli/tokenize.ts'
import { lacksShared, sharedPath } from '../shared.ts'

/** Runs the command on the given standard input. @returns its standard output. */
async function tokenize(input: string, ...args: string[]): Promise<string> {
  let output = ''
  vi.spyOn(process, 'stdin', 'get').mockReturnValue(Readable.from([Buffer.from(input)]) as typeof process.stdin)
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    output += chunk
    return true
  })
  await tokenizeCommand().parseAsync(args, { from: 'user' })
  return output
}

afterEach(() => {
  vi.restoreAllMocks()
})

const GPT2 = sharedPath('parity/tokenizers/gpt2/tokenizer.json')
const BERT = sharedPath('parity/tokenizers/bert')
const SMOLLM = 'models/SmolLM2-135M-Instruct.Q4_1.gguf'

describe.skipIf(lacksShared('parity/tokenizers'))('jackdaw tokenize', () => {
  it('prints the ids of its input, byte for byte', async () => {
    expect(await tokenize('Hello, world!\n', GPT2)).toBe('15496 11 995 0 198\n')
    expect(await tokenize('', GPT2)).toBe('\n')
    expect(JSON.parse(await tokenize('\ufeffHi', GPT2, '--json'))).toEqual({
      ids: [171, 119, 123, 17250],
      tokens: ['ï', '»', '¿', 'Hi'],
    })
  })

  it('adds special tokens unless told not to', async () => {
    expect(await tokenize('hello', BERT)).toBe('101 7592 102\n')
    expect(await tokenize('hello', BERT, '--no-special-tokens')).toBe('7592\n')
  })

  it('decodes ids in any of the forms', async () => {
    for (const input of ['15496 11 995', '15496,11,995\n', '[15496,\n 11, 995]']) {
      expect(await tokenize(input, GPT2, '--decode')).toBe('Hello, world')
      expect(await tokenize(input, GPT2, '--decode', '--json')).toBe('{"text":"Hello, world"}\n')
    }
    expect(await tokenize('101 7592 102', BERT, '--decode')).toBe('[CLS] hello [SEP]')
    expect(await tokenize('101 7592 102', BERT, '--decode', '--skip-special-tokens')).toBe('hello')
  })

  it('says in one sentence what is no id', async () => {
    await expect(tokenize('1 x', GPT2, '--decode')).rejects.toThrow(
      '"x" is not a token id: ids are integers from 0 to 50256',
    )
    await expect(tokenize('50257', GPT2, '--decode')).rejects.toThrow('"50257" is not a token id')
    await expect(tokenize('-1', GPT2, '--decode')).rejects.toThrow('"-1" is not a token id')
  })

  it('says in one sentence that there is no such model', async () => {
    await expect(tokenize('', '/nowhere/tokenizer.json')).rejects.toThrow(
      '/nowhere/tokenizer.json: there is no such file or folder',
    )
  })

  it.skipIf(lacksShared(SMOLLM))('reads the tokenizer of a GGUF file', async () => {
    expect(await tokenize('<|im_start|>user\nhi<|im_end|>', `gguf:${sharedPath(SMOLLM)}`)).toBe('1 4093 198 6004 2\n')
  })
})
