import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { excludedWith, unseenSplit } from '../../../src/data/instruction/flan.ts'
import {
  P3_CLUSTERS,
  p3Set,
  parseP3,
  parseRationales,
  readP3,
  readRationales,
} from '../../../src/data/instruction/p3.ts'
import { temporaryFolder } from '../../hub/temporary.ts'
import { lacksShared, sharedPath } from '../../shared.ts'

const folder = temporaryFolder()
const line = (template: string, prompt: string, answer: string) => JSON.stringify({ template, prompt, answer })
const ROWS = [
  line('paws_Meaning', 'Do a and b mean the same?\n', 'Yes'),
  line('paws_Meaning', 'Do c and d mean the same?\n', 'No'),
  line('paws_Meaning', 'Do e and f mean the same?\n', 'No'),
  line('x_generate_question', 'Ask for Rome.', 'What is the capital of Italy?'),
]

describe('P3', () => {
  it('is read packed or not, by template, with the options that its answers show', () => {
    for (const [name, bytes] of [
      ['paws.jsonl', Buffer.from(ROWS.join('\n'))],
      ['paws.jsonl.gz', gzipSync(`${ROWS.join('\r\n')}\n\n`)],
    ] as const) {
      const path = join(folder, name)
      writeFileSync(path, bytes)
      const set = readP3(path)
      expect([set.name, set.clusters, set.size]).toEqual(['paws', ['paraphrase'], 3])
      expect(set.templates).toEqual([
        { inverted: false, size: 3 },
        { inverted: true, size: 1 },
      ])
      expect(set.prompt(0, 1)).toEqual({ input: 'Do c and d mean the same?', target: 'No', options: ['No', 'Yes'] })
      expect(set.prompt(1, 0)).toEqual({ input: 'Ask for Rome.', target: 'What is the capital of Italy?' })
    }
  })

  it('takes answers that differ from row to row for no options', () => {
    const set = p3Set('free', [], parseP3([1, 2, 3].map((i) => line('t', `${i}?`, `${i}`)).join('\n'), 'free'))
    expect(set.prompt(0, 0).options).toBeUndefined()
  })

  it('says in a sentence what is wrong, and where', () => {
    expect(() => parseP3(`${ROWS[0]}\nno`, 'a.jsonl')).toThrow('a.jsonl, line 2: is not JSON')
    expect(() => parseP3('{"template":"t","prompt":"p"}', 'a.jsonl')).toThrow('a.jsonl, line 1: “answer”: ')
    expect(() => parseP3('\n', 'a.jsonl')).toThrow('a.jsonl: is empty')
    expect(() => readP3(join(folder, 'missing.jsonl'))).toThrow('missing.jsonl: there is no such file')
    const broken = join(folder, 'broken.jsonl.gz')
    writeFileSync(broken, gzipSync(ROWS.join('\n')).subarray(0, 40))
    expect(() => readP3(broken)).toThrow('is damaged')
  })

  it('and rationales: whatever is in a file, there are examples or one sentence', () => {
    const damaged = fc
      .record({ at: fc.nat(ROWS.join('\n').length), text: fc.string(), cut: fc.nat(20) })
      .map(({ at, text, cut }) => ROWS.join('\n').slice(0, at) + text + ROWS.join('\n').slice(at + cut))
    const oneOf = fc.oneof(
      fc.string(),
      damaged,
      fc.array(fc.jsonValue()).map((all) => all.map((value) => JSON.stringify(value)).join('\n')),
      fc.array(fc.array(fc.string()).map((fields) => fields.join('\t'))).map((lines) => lines.join('\n')),
    )
    fc.assert(
      fc.property(oneOf, (text) => {
        for (const parse of [parseP3, parseRationales]) {
          try {
            expect(parse(text, 'FILE').length).toBeGreaterThan(0)
          } catch (error) {
            expect((error as Error).message).toMatch(/^FILE(, line \d+)?: [^\n]+$/)
          }
        }
      }),
      { numRuns: 500 },
    )
  })

  it.skipIf(lacksShared('data/instruction/p3'))(
    'of 33 files: all have clusters, and paraphrases can be held out',
    () => {
      const path = sharedPath('data/instruction/p3')
      const files = readdirSync(path).filter((file) => file.endsWith('.jsonl.gz'))
      const sets = files.map((file) => readP3(join(path, file)))
      expect(sets).toHaveLength(33)
      expect(sets.filter(({ clusters }) => clusters.length === 0)).toEqual([])
      const names = new Set(Object.values(P3_CLUSTERS).flat())
      expect(new Set(sets.map(({ name }) => name))).toEqual(names)
      const { train, unseen } = unseenSplit(sets, 'paraphrase')
      expect(unseen.map(({ name }) => name).sort()).toEqual(['glue_mrpc', 'glue_qqp', 'paws'])
      expect(train).toHaveLength(30)
      // Questions that paraphrases answer with two words each.
      const asked = unseen.flatMap((set) => set.templates.flatMap((_, i) => set.prompt(i, 0).options ?? []))
      expect(asked.length).toBe(2 * 22)
      expect(excludedWith('topics')).toEqual(new Set(['topics']))
    },
  )
})

describe('rationales', () => {
  it('have their line ends back', () => {
    const [{ fields }] = parseRationales('How many?\\nOptions:\\n(A) 1\t(A)\tOne.\\nSo (A).\n', 'cot.tsv')
    expect(fields).toEqual({ question: 'How many?\nOptions:\n(A) 1', answer: '(A)', rationale: 'One.\nSo (A).' })
  })

  it('say which line is not one of three fields', () => {
    expect(() => parseRationales('a\tb\tc\na\tb\n', 'cot.tsv')).toThrow('cot.tsv, line 2: has 2 fields;')
    expect(() => parseRationales('a\t\tc', 'cot.tsv')).toThrow('cot.tsv, line 1: has an empty field;')
  })

  it.skipIf(lacksShared('data/cot'))('of the seven files', () => {
    const path = sharedPath('data/cot')
    for (const file of readdirSync(path)) expect(readRationales(join(path, file)).length).toBeGreaterThan(100)
  })
})
