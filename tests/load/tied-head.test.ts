import { expect, it } from 'vitest'
import { settleHead } from '../../src/load/tied-head.ts'
import { GPT2 } from '../../src/models/gpt2.ts'

/** A checkpoint of bare numbers. */
const stored = (tensors: Record<string, readonly number[]>) => ({
  names: () => Object.keys(tensors),
  info: (name: string) => ({ type: 'F32', shape: [tensors[name].length / 2, 2], byteLength: 4 * tensors[name].length }),
  read: (name: string, into = new Float32Array(tensors[name].length), firstRow = 0) => {
    into.set(tensors[name].slice(2 * firstRow, 2 * firstRow + into.length))
    return into
  },
})

const TABLE = 'transformer.wte.weight'

it('lets a head that is stored, and is not the table, count for itself whatever config.json says', () => {
  const other = stored({ [TABLE]: [1, 2, 3, 4], 'lm_head.weight': [1, 2, 3, 5] })
  expect(settleHead({ tie_word_embeddings: true }, other, GPT2).config.tie_word_embeddings).toBe(false)
  const withoutPrefix = stored({ 'wte.weight': [1, 2, 3, 4], 'lm_head.weight': [1, 2, 3, 5] })
  expect(settleHead({}, withoutPrefix, GPT2).config.tie_word_embeddings).toBe(false)
  const wider = stored({ [TABLE]: [1, 2], 'lm_head.weight': [1, 2, 3, 4] })
  expect(settleHead({}, wider, GPT2).config.tie_word_embeddings).toBe(false)
})

it('takes a head that is the table for the table, and leaves everything else as it is', () => {
  const same = settleHead({}, stored({ [TABLE]: [1, 2, 3, 4], 'lm_head.weight': [1, 2, 3, 4] }), GPT2)
  expect(same).toEqual({ config: {}, names: new Set([TABLE]) })
  const alone = settleHead({ tie_word_embeddings: true }, stored({ [TABLE]: [1, 2] }), GPT2)
  expect(alone).toEqual({ config: { tie_word_embeddings: true }, names: new Set([TABLE]) })
})
