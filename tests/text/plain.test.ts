import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPlainText } from '../../src/text/plain.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import {
  GPT2_WORDS,
  GPT4O_WORDS,
  isLinear,
  LLAMA3_WORDS,
  QWEN2_WORDS,
  TEKKEN_WORDS,
} from '../../src/text/word-patterns.ts'

const words = { type: 'WordLevel', vocab: { a: 0, b: 1, '<s>': 2 }, unk_token: 'a' }
const splitBy = (Regex: string) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated' })

/** Milliseconds that it takes. */
function timed(run: () => unknown): number {
  const start = performance.now()
  run()
  return performance.now() - start
}

describe('regular expressions that take time proportional to the text', () => {
  it.each([
    ...[GPT2_WORDS, GPT4O_WORDS, LLAMA3_WORDS, QWEN2_WORDS, TEKKEN_WORDS],
    ...['\\s+', ' {2,}', '\\p{N}', '\\p{N}{1,3}', '[0-9][0-9][0-9]', '\\w+|[^\\w\\s]+', '[aeiou\\s]'],
    "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+",
    ...['[\\p{P}\\$\\+<=>\\^~\\|]+', ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*', '``', "''"],
  ])('are known: %s', (pattern) => {
    expect(isLinear(pattern)).toBe(true)
  })

  it.each([
    ...[
      '(a|aa)+$',
      '\\s+$',
      'a*a*b',
      '\\s+(?!\\S)',
      '(?=a)',
      '\\s*[\\r\\n]+',
      'a+?b',
      '[a[b]]',
      '\\1',
      '^a',
      'a$',
      '.*x',
    ],
    ...['a?'.repeat(20), 'x{1,60}x{1,60}x{1,60}y', '\\bx', '[a&&b]', '(a)', 'a++', '['],
  ])('are not taken for that: %s', (pattern) => {
    expect(isLinear(pattern)).toBe(false)
  })

  it('take no longer on any text: forty thousand characters in a moment', () => {
    const unit = fc.constantFrom('a', 'A', ' ', '\n', '1', '.', "'", 'é', '\u0301', 'ᵃ', ' \t')
    fc.assert(
      fc.property(fc.array(unit, { minLength: 1, maxLength: 4 }), fc.array(unit, { maxLength: 3 }), (run, end) => {
        const text = run.join('').repeat(40_000 / run.join('').length) + end.join('')
        for (const pattern of [GPT2_WORDS, GPT4O_WORDS, LLAMA3_WORDS, QWEN2_WORDS, TEKKEN_WORDS]) {
          const tokenizer = tokenizerFromJson({ pre_tokenizer: splitBy(pattern), model: words })
          expect(tokenizer.isPlain).toBe(true)
          expect(timed(() => tokenizer.encode(text))).toBeLessThan(2000)
        }
      }),
      { numRuns: 30 },
    )
  })
})

describe('a tokenizer is plain', () => {
  const isPlain = (json: object) => tokenizerFromJson({ model: words, ...json }).isPlain
  const replace = (pattern: object, content: string) => ({ type: 'Replace', pattern, content })
  const steps = (...normalizers: object[]) => ({ normalizer: { type: 'Sequence', normalizers } })

  it('with the parts of real ones, and not with what may take for ever or grow without end', () => {
    expect(isPlain({})).toBe(true)
    expect(isPlain(steps({ type: 'NFC' }, replace({ Regex: ' {2,}' }, ' '), replace({ String: ' ' }, '▁')))).toBe(true)
    expect(isPlain({ pre_tokenizer: splitBy('(a|aa)+$') })).toBe(false)
    expect(isPlain(steps(replace({ Regex: '(a|aa)+$' }, '')))).toBe(false)
    expect(isPlain(steps(...Array.from({ length: 8 }, () => replace({ String: 'a' }, 'aaaaaaaaaa'))))).toBe(false)
    expect(isPlain({ added_tokens: [{ id: 3, content: 'a'.repeat(1000) }] })).toBe(false)
    const long = { type: 'Unigram', vocab: [['a'.repeat(1000), 0]], unk_id: 0 }
    expect(isPlain({ model: long })).toBe(false)
    expect(isPlain({ model: { ...words, type: 'WordPiece', max_input_chars_per_word: 1e6 } })).toBe(false)
  })

  it('or refused, where something else would have to run its parts between two tokens, or while loading', () => {
    const decoder = { type: 'Replace', pattern: { Regex: '(a|aa)+$' }, content: '' }
    expect(() => isPlain({ decoder })).toThrow('"decoder" has a replacement that may take for ever')
    const added_tokens = [{ id: 3, content: `${'a'.repeat(40)}b`, normalized: true }]
    expect(() => isPlain({ added_tokens, ...steps(replace({ Regex: '(a|aa)+$' }, '')) })).toThrow(
      '"normalizer" may take for ever on a text, so "added_tokens" cannot be normalized with it',
    )
  })

  it('and loads in no time with ids that leave gaps of millions', () => {
    const added_tokens = [{ id: 2 ** 24 - 1, content: '<e>', special: true }]
    const load = () => tokenizerFromJson({ added_tokens, normalizer: { type: 'NFC' }, model: words })
    expect(timed(load)).toBeLessThan(500)
    expect([...load().specialIds]).toEqual([2 ** 24 - 1])
    expect(load().decode([2 ** 24 - 1])).toBe('<e>')
  })
})

describe('texts', () => {
  it('with thousands of marks on one letter are not plain: to order them takes the square', () => {
    expect(isPlainText(`a${'\u0301\u0323'.repeat(100)}`)).toBe(false)
    expect(isPlainText('Tiếng Việt, नमस्ते, שָׁלוֹם')).toBe(true)
  })

  it('are stripped in no time, however many spaces they have within', () => {
    const tokenizer = tokenizerFromJson({
      normalizer: { type: 'Strip', strip_left: true, strip_right: true },
      model: words,
    })
    expect(timed(() => tokenizer.encode(`x${' '.repeat(300_000)}x`))).toBeLessThan(500)
    expect(tokenizer.tokenize('  b \u3000').ids).toEqual([1])
    expect(tokenizer.tokenize('   ').ids).toEqual([])
  })
})
