import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Automaton, type State } from '../../src/generate/automaton.ts'
import { CompiledGrammar, Constraint } from '../../src/generate/constrained.ts'
import { parseGrammar } from '../../src/generate/gbnf.ts'
import { type Grammar, GrammarError, special } from '../../src/generate/grammar.ts'
import { jsonObjectGrammar, jsonSchemaGrammar } from '../../src/generate/json-schema.ts'
import { Draws, sample } from '../../src/generate/sampling.ts'
import { Vocabulary } from '../../src/generate/vocabulary.ts'
import { isValid } from './valid-json.ts'

const encoder = new TextEncoder()

/** Every byte, pieces of JSON, parts of characters, words; the last id ends a text. */
const PIECES: (string | number[])[] = [
  ...['"', '":', '": ', '", "', '{"', '"}', '[', ']', '},', ', ', ':', 'true', 'false', 'null', 'nu', '12', '0.5', '-'],
  ...['name', 'na', 'me', ' a', 'cat', '\\', '\\u', '00', 'é', '日本', '🐦', '{"name": "', '"]}', '1e5', 'null}', '""'],
  [0xc3],
  [0xa9, 0x22],
  [0xe6, 0x97],
  [0xf0, 0x9f],
  [0x90, 0xa6],
]
const TOKENS = [
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...PIECES.map((p) => (typeof p === 'string' ? encoder.encode(p) : Uint8Array.from(p))),
]
const END = TOKENS.length
const VOCABULARY = new Vocabulary(TOKENS, END + 1)

/** Where a token leads, byte by byte. */
function behind(automaton: Automaton, state: State, id: number): State | null {
  let at: State | null = state
  for (const byte of TOKENS[id]) at = at && automaton.step(at, byte)
  return at
}

const allowed = (mask: Uint32Array): number[] =>
  TOKENS.map((_, id) => id).filter((id) => (mask[id >>> 5] >>> (id & 31)) & 1)

/** A text of random tokens, as a model with these logits would write it; undefined where it did not come to its end. */
function write(grammar: Grammar, seed: number, most = 400): string | undefined {
  const constraint = new Constraint(new CompiledGrammar(new Automaton(grammar), VOCABULARY))
  const draws = new Draws(seed)
  const bytes: number[] = []
  for (let i = 0; i < most; i++) {
    if (constraint.isFinal) return text(bytes)
    // Later, what closes is likelier, so that texts end.
    const logits = Float32Array.from(
      { length: END + 1 },
      (_, id) => 3 * draws.next() + (id === END || closes(id) ? i / 20 : 0),
    )
    constraint.apply(logits, new Set([END]))
    const id = sample(logits, {}, draws)
    if (id === END) return text(bytes)
    bytes.push(...TOKENS[id])
    constraint.advance(id)
  }
  return undefined
}

const closes = (id: number): boolean =>
  id < END && TOKENS[id].length === 1 && [0x22, 0x5d, 0x7d].includes(TOKENS[id][0])
const text = (bytes: number[]): string => new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes))

/** Schemas of every supported kind. */
const schemas = fc.letrec<{ any: object; leaf: object }>((tie) => ({
  leaf: fc.oneof(
    fc.constant({ type: 'boolean' }),
    fc.constant({ type: 'null' }),
    fc.constant({ type: ['string', 'null'] }),
    fc.constant({ $ref: '#/$defs/node' }),
    fc.record({
      enum: fc.array(fc.oneof(fc.string({ unit: 'grapheme' }), fc.integer(), fc.constant(null)), {
        minLength: 1,
        maxLength: 4,
      }),
    }),
    fc.record({ const: fc.jsonValue({ maxDepth: 2, noUnicodeString: false }) }),
    fc.tuple(fc.nat(6), fc.nat(6)).map(([min, more]) => ({ type: 'string', minLength: min, maxLength: min + more })),
    fc
      .constantFrom('^[a-c]+$', '^\\d{2,3}-x|y$', 'b', '^(?:é|"\\\\|[^a-z]){1,3}$', '^$')
      .map((pattern) => ({ type: 'string', pattern })),
    fc
      .tuple(fc.constantFrom('integer', 'number'), fc.integer({ min: -1200, max: 1200 }), fc.nat(1500))
      .map(([type, minimum, more]) => ({ type, minimum, maximum: minimum + more })),
    fc
      .tuple(fc.integer({ min: -200, max: 200 }), fc.integer({ min: 1, max: 400 }))
      .map(([low, more]) => ({ type: 'number', exclusiveMinimum: low / 8, exclusiveMaximum: (low + more) / 8 })),
    fc.constant({ type: 'number' }),
    fc.constant({ type: 'integer', exclusiveMinimum: -3 }),
  ),
  any: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('any'), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
    fc
      .tuple(tie('any'), fc.nat(2), fc.nat(3))
      .map(([items, min, more]) => ({ type: 'array', items, minItems: min, maxItems: min + more })),
    fc.array(tie('any'), { maxLength: 3 }).map((prefixItems) => ({ type: 'array', prefixItems })),
    fc
      .tuple(
        fc.dictionary(
          fc.oneof(fc.constantFrom('name', 'na', '__proto__', ''), fc.string({ unit: 'grapheme', maxLength: 4 })),
          tie('any'),
          { maxKeys: 4 },
        ),
        fc.nat(15),
        fc.oneof(fc.constant(false), fc.constant(undefined), tie('leaf')),
      )
      .map(([properties, bits, additionalProperties]) => ({
        type: 'object',
        properties,
        required: Object.keys(properties).filter((_, i) => (bits >> i) & 1),
        ...(additionalProperties === undefined ? {} : { additionalProperties }),
      })),
  ),
}))
const DEFS = {
  node: {
    type: 'object',
    properties: {
      value: { type: 'integer', minimum: 0, maximum: 9 },
      next: { anyOf: [{ $ref: '#/$defs/node' }, { type: 'null' }] },
    },
    required: ['value', 'next'],
  },
}

describe('JSON of a schema', () => {
  it('whatever the logits, every text that ends is valid', () => {
    let ended = 0
    fc.assert(
      fc.property(schemas.any, fc.nat(), (inner, seed) => {
        const schema = { ...inner, $defs: DEFS }
        const written = write(jsonSchemaGrammar(schema), seed)
        if (written === undefined) return
        ended++
        expect(isValid(JSON.parse(written), schema), `${written} of ${JSON.stringify(schema)}`).toBe(true)
      }),
      { numRuns: 150 },
    )
    expect(ended).toBeGreaterThan(100)
  })

  it('the checker of these tests finds fault', () => {
    expect(isValid({ a: 1 }, { type: 'object', properties: { a: { type: 'string' } } })).toBe(false)
    expect(isValid('aé', { type: 'string', pattern: '^[a-c]+$' })).toBe(false)
    expect(isValid([1, 2], { type: 'array', items: { type: 'integer' }, maxItems: 1 })).toBe(false)
    expect(isValid({ value: 3, next: { value: 12, next: null } }, { ...DEFS.node, $defs: DEFS })).toBe(false)
  })

  it('any object is a JSON object', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const written = write(jsonObjectGrammar, seed)
        if (written !== undefined) expect(Object.getPrototypeOf(JSON.parse(written))).toBe(Object.prototype)
      }),
      { numRuns: 40 },
    )
  })

  /** Whether a text is one of the grammar. */
  const takes = (schema: unknown, written: string): boolean => {
    const automaton = new Automaton(jsonSchemaGrammar(schema))
    let state: State | null = automaton.start
    for (const byte of encoder.encode(written)) state = state && automaton.step(state, byte)
    return state?.accepts ?? false
  }

  it('takes what is meant, and nothing beside it', () => {
    const schema = {
      type: 'object',
      properties: {
        a: { type: 'integer' },
        b: { type: 'string', format: 'date' },
        c: { type: 'array', items: { type: 'boolean' } },
      },
      required: ['b'],
      additionalProperties: false,
    }
    expect(takes(schema, '{"b":"2026-11-30"}')).toBe(true)
    expect(takes(schema, '{"a": -12, "b": "2026-11-30", "c": [true,false]}')).toBe(true)
    for (const wrong of [
      '{}',
      '{"b":"2026-02-30"}',
      '{"a":1}',
      '{"b":"2026-11-30","a":1}',
      '{"b":"2026-11-30","d":1}',
      '{ "b":"2026-11-30"}',
      '{"b":  "2026-11-30"}',
      '{"a":01,"b":"2026-11-30"}',
      '{"b":"2026-11-30"',
    ]) {
      expect(takes(schema, wrong), wrong).toBe(false)
    }
    expect(takes({ type: 'number', minimum: 0.25, exclusiveMaximum: 12.5 }, '0.25')).toBe(true)
    expect(takes({ type: 'number', minimum: 0.25, exclusiveMaximum: 12.5 }, '12.49')).toBe(true)
    for (const wrong of ['0.249', '0', '12.5', '12.50', '12.6', '-1', '13']) {
      expect(takes({ type: 'number', minimum: 0.25, exclusiveMaximum: 12.5 }, wrong), wrong).toBe(false)
    }
    expect(takes({ type: 'integer', minimum: -9007199254740991, maximum: 9007199254740991 }, '9007199254740991')).toBe(
      true,
    )
    expect(takes({ type: 'integer', minimum: -9007199254740991, maximum: 9007199254740991 }, '9007199254740992')).toBe(
      false,
    )
    expect(takes({}, '{"a": [1, {"b": "\\ud83d"}]}'), 'half of a pair is no text').toBe(false)
    expect(
      takes(
        {
          type: 'object',
          propertyNames: { enum: ['x', 'y'] },
          additionalProperties: { type: 'null' },
          required: ['x'],
        },
        '{"x":null}',
      ),
    ).toBe(true)
  })

  it('of integers between two ends, those and no others are there', () => {
    fc.assert(
      fc.property(fc.integer({ min: -300, max: 300 }), fc.nat(500), (min, more) => {
        const automaton = new Automaton(jsonSchemaGrammar({ type: 'integer', minimum: min, maximum: min + more }))
        for (let value = -350; value <= 850; value += 7) {
          let state: State | null = automaton.start
          for (const byte of encoder.encode(String(value))) state = state && automaton.step(state, byte)
          expect(state?.accepts ?? false, String(value)).toBe(value >= min && value <= min + more)
        }
      }),
      { numRuns: 15 },
    )
  })

  it('of decimals between two ends, those and no others are there', () => {
    const bound = fc.integer({ min: -400, max: 400 }).map((n) => n / 16)
    fc.assert(
      fc.property(bound, bound, fc.boolean(), (a, b, isOut) => {
        fc.pre(a !== b)
        const [min, max] = a < b ? [a, b] : [b, a]
        const ends = isOut ? { exclusiveMinimum: min, exclusiveMaximum: max } : { minimum: min, maximum: max }
        const schema = { type: 'number', ...ends }
        const near = [min, max].flatMap((end) => [end, end - 0.001, end + 0.001, end - 1 / 16, end + 1 / 16, end * 1.5])
        for (const value of [...near, 0, 3, -7.25]) {
          const written = String(Math.round(value * 1e6) / 1e6)
          expect(takes(schema, written), `${written} in ${JSON.stringify(ends)}`).toBe(isValid(Number(written), schema))
        }
      }),
      { numRuns: 60 },
    )
  })

  it('a pattern takes what JavaScript’s regular expressions take', () => {
    const atom = fc.constantFrom('a', 'b', '[a-c]', '[^b"]', '.', '\\d', '\\W', 'é', '"', '\\n', '(?:)', '\\\\')
    const { pattern } = fc.letrec<{ pattern: string }>((tie) => ({
      pattern: fc.oneof(
        { depthSize: 'small' },
        atom,
        fc.tuple(atom, fc.constantFrom('*', '+', '?', '{2}', '{1,2}', '{0,}', '*?')).map((both) => both.join('')),
        fc.tuple(tie('pattern'), tie('pattern')).map((both) => both.join('')),
        fc.tuple(tie('pattern'), tie('pattern')).map((both) => `(${both.join('|')})`),
        tie('pattern').map((inner) => `(?:${inner})?`),
      ),
    }))
    const anchored = fc
      .tuple(fc.boolean(), pattern, fc.boolean())
      .map(([begins, inner, ends]) => `${begins ? '^' : ''}${inner}${ends ? '$' : ''}`)
    const texts = fc
      .array(fc.constantFrom('a', 'b', 'c', '1', 'é', '"', '\n', '\\', ' '), { maxLength: 5 })
      .map((parts) => parts.join(''))
    fc.assert(
      fc.property(anchored, fc.array(texts, { minLength: 4, maxLength: 4 }), (source, samples) => {
        for (const sample of samples) {
          const taken = takes({ type: 'string', pattern: source }, JSON.stringify(sample))
          expect(taken, `${JSON.stringify(sample)} by ${source}`).toBe(new RegExp(source).test(sample))
        }
      }),
      { numRuns: 150 },
    )
  })

  const refused: [string, unknown, string][] = [
    [
      'a keyword that it does not know',
      { type: 'object', patternProperties: {} },
      "the schema's patternProperties is not supported",
    ],
    [
      'where it lies',
      { type: 'object', properties: { a: { type: 'array', contains: {} } } },
      "the schema's properties.a.contains is not supported",
    ],
    ['no schema', 7, 'the schema must be an object, true or false'],
    [
      'a reference elsewhere',
      { $ref: 'https://example.com/a' },
      'the schema\'s $ref refers to "https://example.com/a", which is not in the schema',
    ],
    [
      'schemas that two values could fit',
      { oneOf: [{ type: 'number' }, { type: 'integer' }] },
      "the schema's oneOf is only supported of schemas that differ in their type or in a required property of fixed values",
    ],
    ['an object without an end', { type: 'object', properties: { a: { $ref: '#' } }, required: ['a'] }, 'has no end'],
    ['a reference to itself', { $ref: '#' }, 'has no end'],
    ['an unknown format', { type: 'string', format: 'iri' }, 'the schema\'s format is "iri", which is not supported'],
    [
      'a pattern that looks ahead',
      { type: 'string', pattern: '(?=a)b' },
      'the pattern "(?=a)b" looks ahead or behind, which no grammar can',
    ],
    [
      'lengths that exclude each other',
      { type: 'string', minLength: 3, maxLength: 2 },
      'the schema has a greatest length below its least',
    ],
  ]
  it.each(refused)('refuses %s', (_, schema, sentence) => {
    expect(() => new Automaton(jsonSchemaGrammar(schema))).toThrow(sentence)
    expect(() => new Automaton(jsonSchemaGrammar(schema))).toThrow(GrammarError)
  })

  it('any JSON at all is a schema, or refused with a sentence', () => {
    const words = fc.constantFrom(
      'type',
      'properties',
      'items',
      'enum',
      'anyOf',
      '$ref',
      'required',
      'minItems',
      'pattern',
      'a',
    )
    const values = fc.constantFrom<unknown>(
      'object',
      'array',
      'string',
      '#',
      '#/a',
      3,
      -1,
      null,
      [],
      {},
      ['a'],
      '(',
      '[a-',
    )
    const nested = fc.letrec((tie) => ({
      any: fc.oneof(
        { depthSize: 'small' },
        values,
        fc.dictionary(words, tie('any'), { maxKeys: 3 }),
        fc.array(tie('any'), { maxLength: 2 }),
      ),
    }))
    fc.assert(
      fc.property(nested.any, (schema) => {
        try {
          new Automaton(jsonSchemaGrammar(schema))
        } catch (error) {
          expect(error).toBeInstanceOf(GrammarError)
          expect((error as Error).message).toMatch(/^(the|a) /)
        }
      }),
      { numRuns: 300 },
    )
  })
})

const GRAMMARS: [string, Grammar][] = [
  ['any object', jsonObjectGrammar],
  [
    'a list of words',
    parseGrammar('root ::= word (", " word)*\nword ::= [a-zé日-語]+ | "12" | \'x\''.replace("'x'", '"x"')),
  ],
  [
    'what may be read in many ways',
    parseGrammar('root ::= (a | b | a b)* "}"\na ::= "na" | "n" "a" | [a-z]+\nb ::= "me" a? | "日" .'),
  ],
  ['what nests', parseGrammar('root ::= "[" root? "]" | "{" root "}" | "12"')],
  ['characters that are cut', parseGrammar('root ::= [^a-z]{2,5} "é"')],
]

describe('masks', () => {
  it.each(GRAMMARS)('of %s hold exactly the tokens that can come next, at every step', (_, grammar) => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const compiled = new CompiledGrammar(new Automaton(grammar), VOCABULARY)
        const { automaton } = compiled
        const draws = new Draws(seed)
        let state = automaton.start
        for (let i = 0; i < 25 && !state.isFinal; i++) {
          const byHand = TOKENS.map((_, id) => id).filter((id) => behind(automaton, state, id) !== null)
          expect(allowed(compiled.maskOf(state))).toEqual(byHand)
          state = behind(automaton, state, byHand[Math.floor(draws.next() * byHand.length)]) as State
        }
      }),
      { numRuns: 25 },
    )
  })

  it('a state that can be read on can be finished: nothing leads to where no token fits', () => {
    // With every byte among the tokens, there always is one.
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom(...GRAMMARS), (seed, [, grammar]) => {
        write(grammar, seed, 150)
      }),
      { numRuns: 60 },
    )
  })

  it('the end comes where a text may end, and nowhere else', () => {
    const constraint = new Constraint(
      new CompiledGrammar(new Automaton(parseGrammar('root ::= "n" "a"? ([\\"] "x" [\\"])?')), VOCABULARY),
    )
    const ends = (): boolean => {
      const logits = new Float32Array(END + 1)
      constraint.apply(logits, new Set([END]))
      return logits[END] === 0
    }
    const told: boolean[] = []
    for (const character of 'na"x"') {
      told.push(ends())
      constraint.advance(character.charCodeAt(0))
    }
    expect(told).toEqual([false, true, true, false, false])
    expect(constraint.isFinal).toBe(true)
  })

  it('special tokens are in no text, and in a grammar that names them', () => {
    const vocabulary = new Vocabulary([encoder.encode('['), Uint8Array.of(0xff, 0x43, 0xff), encoder.encode('C')], 3)
    const maskOf = (grammar: Grammar): number[] => {
      const compiled = new CompiledGrammar(new Automaton(grammar), vocabulary)
      return [0, 1, 2].filter((id) => (compiled.maskOf(compiled.automaton.start)[0] >>> id) & 1)
    }
    expect(maskOf(parseGrammar('root ::= .*'))).toEqual([0, 2])
    expect(maskOf({ root: 'root', rules: new Map([['root', special('C')]]) })).toEqual([1])
  })
})

describe('written grammars', () => {
  it.each([
    ['root ::= "a', 'the grammar cannot be read at line 1: "\\"" does not belong here'],
    ['root ::= a', 'the grammar has no rule "a"'],
    ['a ::= "b"', 'the grammar has no rule "root", which every text begins with'],
    ['root ::= "a"\nroot ::= "b"', 'the grammar cannot be read at line 2: the rule "root" is there twice'],
    ['root ::= ("a"', 'the grammar cannot be read at line 1: a parenthesis is not closed'],
    ['root ::= [b-a]', 'the grammar cannot be read at line 1: a set of characters is wrong'],
    ['root ::= root "a" | "b"', 'the rule "root" begins with itself: let it read something first'],
    ['root ::= "a" root', 'the rule "root" has no end: every text of it would have another one in it'],
    [`root ::= ${'"a"{9999} '.repeat(9)}`, 'the grammar is too large: 50000 places are the most'],
    [
      `root ::= ${'('.repeat(1000)}"a"${')'.repeat(1000)}`,
      'the grammar cannot be read at line 1: parentheses are nested more than 64 deep',
    ],
  ])('%# is refused with its sentence', (grammar, sentence) => {
    expect(() => new Automaton(parseGrammar(grammar))).toThrow(new GrammarError(sentence))
  })

  it('any text at all is a grammar, or refused with a sentence', () => {
    const bits = fc.constantFrom(
      'root',
      '::=',
      '|',
      '(',
      ')',
      '"a"',
      '[a-z]',
      '[^',
      '*',
      '{2,3}',
      '{',
      '.',
      '\n',
      ' ',
      'b',
      '#',
      '"',
      '\\',
    )
    fc.assert(
      fc.property(fc.array(bits, { maxLength: 14 }), (parts) => {
        try {
          new Automaton(parseGrammar(`root ::= ${parts.join('')}`))
        } catch (error) {
          expect(error).toBeInstanceOf(GrammarError)
        }
      }),
      { numRuns: 300 },
    )
  })

  it('a grammar of exponentially many readings ends in a sentence, not in a flood', () => {
    const rules = Array.from(
      { length: 40 },
      (_, i) => `a${i} ::= (a${i + 1} | a${i + 1} "na"?) "n"? (a${i + 1} | "a")*`,
    )
    const compiled = () =>
      new CompiledGrammar(
        new Automaton(parseGrammar(['root ::= a0*', ...rules, 'a40 ::= [a-z]+'].join('\n'))),
        VOCABULARY,
      )
    const constraint = () => {
      const one = new Constraint(compiled())
      for (let i = 0; i < 40; i++) {
        const logits = new Float32Array(END + 1)
        one.apply(logits, new Set([END]))
        one.advance('a'.charCodeAt(0))
      }
    }
    expect(constraint).toThrow(GrammarError)
  })
})
