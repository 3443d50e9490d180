import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadTokenizer, saveTokenizer } from '../../src/text/load.ts'
import type { Tokenizer } from '../../src/text/tokenizer.ts'
import { tokenizerFromClip, tokenizerFromGpt1 } from '../../src/text/word-end-bpe.ts'
import { lacksShared, sharedPath } from '../shared.ts'

/** The real vocabularies of GPT-1 and CLIP on hard text: what transformers answers, by fixtures/make_vocabularies.py. */
type Answers = readonly (readonly [ids: number[], decoded: string])[]
const recorded = JSON.parse(readFileSync(new URL('fixtures/vocabularies.json', import.meta.url), 'utf8')) as {
  texts: string[]
  gpt1: Answers
  clip: Answers
}

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-vocabularies-'))
afterAll(() => rmSync(folder, { recursive: true }))

function expectAnswers(tokenizer: Tokenizer, answers: Answers): void {
  for (const [i, text] of recorded.texts.entries()) {
    const [ids, decoded] = answers[i]
    const about = JSON.stringify(text)
    expect(tokenizer.encode(text), about).toEqual(ids)
    expect(tokenizer.decode(ids, { skipSpecialTokens: true }), about).toBe(decoded)
  }
}

describe.skipIf(lacksShared('data/vocab'))('GPT-1’s vocabulary', () => {
  const files = (vocabName: string, mergesName: string) => {
    const path = join(folder, vocabName)
    mkdirSync(path)
    copyFileSync(sharedPath('data/vocab/gpt1-encoder.json'), join(path, vocabName))
    copyFileSync(sharedPath('data/vocab/gpt1-merges.bpe'), join(path, mergesName))
    return path
  }

  it('tokenizes as the reference does, from the files of a checkpoint', async () => {
    const tokenizer = await loadTokenizer(files('vocab.json', 'merges.txt'))
    expect([tokenizer.vocabSize, tokenizer.unkTokenId]).toEqual([40478, 0])
    expectAnswers(tokenizer, recorded.gpt1)
  })

  it('is the same under the names of its release, and saved as a tokenizer.json', async () => {
    const tokenizer = await loadTokenizer(files('encoder_bpe_40000.json', 'vocab_40000.bpe'))
    expectAnswers(tokenizer, recorded.gpt1)
    await saveTokenizer(tokenizer, join(folder, 'saved-gpt1'))
    expectAnswers(await loadTokenizer(join(folder, 'saved-gpt1')), recorded.gpt1)
  })
})

describe.skipIf(lacksShared('data/vocab'))('CLIP’s vocabulary', () => {
  let tokenizer: Tokenizer
  beforeAll(async () => {
    tokenizer = await loadTokenizer(sharedPath('data/vocab/clip-bpe-16e6.txt.gz'))
  })

  it('tokenizes as the reference does, from the merges of its release', () => {
    expect([tokenizer.vocabSize, tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.padTokenId]).toEqual([
      49408, 49406, 49407, 49407,
    ])
    expectAnswers(tokenizer, recorded.clip)
  })

  it('is the same from the files of a checkpoint, and saved as a tokenizer.json', async () => {
    const path = join(folder, 'clip')
    mkdirSync(path)
    const { model } = tokenizer.toJSON() as { model: { vocab: object; merges: readonly (readonly string[])[] } }
    writeFileSync(join(path, 'vocab.json'), JSON.stringify(model.vocab))
    const merges = model.merges.map((pair) => pair.join(' '))
    writeFileSync(join(path, 'merges.txt'), ['#version: 0.2', ...merges, ''].join('\n'))
    expectAnswers(await loadTokenizer(path), recorded.clip)
    await saveTokenizer(tokenizer, join(folder, 'saved-clip'))
    expectAnswers(await loadTokenizer(join(folder, 'saved-clip')), recorded.clip)
  })
})

describe('small vocabularies of their kinds', () => {
  const vocab = (special: readonly string[]) =>
    Object.fromEntries([...special, 'a', 'b', 'a</w>', 'b</w>', 'ab</w>', '#', '#</w>'].map((token, i) => [token, i]))

  it('keep a merge whose first token is #', () => {
    const tokens = { ...vocab(['<unk>']), '##</w>': 8 }
    const tokenizer = tokenizerFromGpt1(tokens, [
      ['a', 'b</w>'],
      ['#', '#</w>'],
    ])
    expect(tokenizer.encode('ab')).toEqual([5])
    expect(tokenizer.decode([5, 3, 1, 4])).toBe('ab a ab')
  })

  it('say in one sentence which token CLIP’s lacks', () => {
    expect(() => tokenizerFromClip(vocab(['<|startoftext|>']), [])).toThrow(
      'has no token "<|endoftext|>", the eos_token',
    )
  })

  it('take the names of special tokens from a configuration', () => {
    const config = { unk_token: { content: '<none>' } }
    const tokenizer = tokenizerFromGpt1(vocab(['<none>']), [], config)
    expect(tokenizer.encode('a <none> c')).toEqual([3, 0, 0])
  })
})
