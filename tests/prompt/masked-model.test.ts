import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { forward } from '../../src/load/run.ts'
import { maskedFiller } from '../../src/prompt/cloze.ts'
import { openMaskedModel } from '../../src/prompt/masked-model.ts'
import { classify } from '../../src/prompt/verbalizer.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'

const root = mkdtempSync(join(tmpdir(), 'jackdaw-masked-'))
afterAll(() => rmSync(root, { recursive: true }))

const WORDS = Array.from({ length: 42 }, (_, i) => `w${i}`)
const VOCABULARY = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...WORDS]
const idOf = (word: string): number => VOCABULARY.indexOf(word)

/** A tiny BERT with a vocabulary of words beside it. */
function tinyBert(fixture: string): string {
  const path = join(root, fixture)
  cpSync(fileURLToPath(new URL(`../parity/${fixture}`, import.meta.url)), path, { recursive: true })
  writeFileSync(join(path, 'vocab.txt'), VOCABULARY.join('\n'))
  return path
}

/** log P of a token at a place, from a full pass. */
async function logProbAt(folder: string, ids: number[], place: number, id: number): Promise<number> {
  const outputs = await forward(openCheckpoint(folder), { input_ids: tensorData('int32', [1, ids.length], ids) })
  const { data } = outputs.logits ?? outputs.prediction_logits
  const row = (data as Float32Array).subarray(place * VOCABULARY.length, (place + 1) * VOCABULARY.length)
  return row[id] - Math.log(row.reduce((sum, x) => sum + Math.exp(x), 0))
}

describe.each(['bert', 'bert-masked-lm-untied'])('a masked model: %s', (fixture) => {
  it('fills a blank with the probabilities that its head gives at the masks', async () => {
    const folder = tinyBert(fixture)
    const model = await openMaskedModel(folder)
    const [one, two] = await maskedFiller(model).score([
      { before: 'w1 w2 ', answer: 'w7', after: ' w3' },
      { before: 'w1 ', answer: 'w7 w9', after: '' },
    ])
    const [cls, sep, mask] = ['[CLS]', '[SEP]', '[MASK]'].map(idOf)
    const first = [cls, idOf('w1'), idOf('w2'), mask, idOf('w3'), sep]
    expect(one.logProb).toBeCloseTo(await logProbAt(folder, first, 3, idOf('w7')), 4)
    const second = [cls, idOf('w1'), mask, mask, sep]
    const expected = [await logProbAt(folder, second, 2, idOf('w7')), await logProbAt(folder, second, 3, idOf('w9'))]
    expect(two.tokens).toBe(2)
    expect(two.logProb).toBeCloseTo(expected[0] + expected[1], 4)
    const [labels] = await classify(maskedFiller(model), '[X] [Z] w3', ['w1 w2'], { a: ['w7'], b: ['w8', 'w9'] })
    const p = await Promise.all(
      ['w7', 'w8', 'w9'].map((word) => logProbAt(folder, first, 3, idOf(word)).then(Math.exp)),
    )
    expect(labels.a).toBeCloseTo(p[0] / (p[0] + (p[1] + p[2]) / 2), 4)
    model.release()
  })
})

it('a model without such a head, or without a mask, is told', async () => {
  await expect(openMaskedModel(tinyBert('bert-encoder'))).rejects.toThrow('it has no masked-LM head')
  await expect(openMaskedModel(tinyBert('bert-classifier'))).rejects.toThrow('it has no masked-LM head')
  await expect(openMaskedModel('jackdaw-base')).rejects.toThrow('has no tokenizer with a mask, so it fills no blanks')
})
