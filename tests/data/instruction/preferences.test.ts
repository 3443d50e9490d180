import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Preference,
  parsePreference,
  readPreferences,
  readPrompts,
  toPreferenceLine,
} from '../../../src/data/instruction/preferences.ts'

const messages = [{ role: 'user', content: 'How much is 2 + 3?' }] as const

const answer = fc.string()
const ranked: fc.Arbitrary<Preference> = fc
  .array(fc.array(answer, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 5 })
  .map((answers) => ({ messages, answers }))

describe('preferences', () => {
  it('come back from their line as they were, ties too', () => {
    fc.assert(
      fc.property(ranked, (preference) => {
        expect(readPreferences(`${toPreferenceLine(preference)}\n`, 'a file')).toEqual([preference])
      }),
    )
  })

  it('are read from pairs, from rankings and from dialogues', () => {
    const lines = [
      JSON.stringify({ messages, chosen: 'Five.', rejected: 'Six.' }),
      '',
      JSON.stringify({ messages, answers: [['Five.', '5'], 'Six.'] }),
      JSON.stringify({
        chosen: '\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: 2 + 3?\n\nAssistant: Five.',
        rejected: '\n\nHuman: Hi\n\nAssistant: Hello!\n\nHuman: 2 + 3?\n\nAssistant: Six.',
      }),
    ]
    expect(readPreferences(lines.join('\n'), 'a file')).toEqual([
      { messages, answers: [['Five.'], ['Six.']] },
      { messages, answers: [['Five.', '5'], ['Six.']] },
      {
        messages: [
          { role: 'user', content: 'Hi' },
          { role: 'assistant', content: 'Hello!' },
          { role: 'user', content: '2 + 3?' },
        ],
        answers: [['Five.'], ['Six.']],
      },
    ])
  })

  it.each([
    ['{"messages": [', 'is no JSON; every line must be one object'],
    ['[1]', 'must have messages with chosen and rejected, or with answers from the best to the worst'],
    [JSON.stringify({ messages, answers: ['Five.'] }), 'answers: there must be two at least, the best first'],
    [JSON.stringify({ messages, answers: ['Five.', []] }), /^answers\.1: /],
    [JSON.stringify({ messages, chosen: 'Five.' }), /^rejected: /],
    [
      JSON.stringify({ messages: [...messages, { role: 'assistant', content: 'Five' }], chosen: '.', rejected: '!' }),
      'messages: must end before the answer, with what was asked',
    ],
    [
      JSON.stringify({ chosen: '\n\nHuman: a\n\nAssistant: b', rejected: '\n\nHuman: c\n\nAssistant: b' }),
      'chosen and rejected must be the same dialogue up to the last answer',
    ],
    [
      JSON.stringify({ chosen: 'Five.', rejected: 'Six.' }),
      'must have messages, or be a dialogue of "\\n\\nHuman: …" and "\\n\\nAssistant: …"',
    ],
  ])('that are none are refused with their line: %s', (line, sentence) => {
    const refused = (): unknown => {
      try {
        return readPreferences(`\n${line}`, 'my.jsonl')
      } catch (error) {
        return (error as Error).message
      }
    }
    const message = refused() as string
    expect(message.startsWith('my.jsonl, line 2: ')).toBe(true)
    expect(message.slice('my.jsonl, line 2: '.length)).toMatch(sentence)
  })

  it('of whatever JSON are read or refused in one sentence', () => {
    const nearly = fc.record(
      {
        messages: fc.oneof(fc.constant(messages), fc.jsonValue()),
        chosen: fc.oneof(fc.constant('\n\nHuman: a\n\nAssistant: b'), fc.string(), fc.jsonValue()),
        rejected: fc.oneof(fc.constant('\n\nHuman: a\n\nAssistant: c'), fc.string(), fc.jsonValue()),
        answers: fc.oneof(fc.array(fc.oneof(fc.string(), fc.array(fc.string()))), fc.jsonValue()),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(fc.oneof(nearly, fc.jsonValue()), (json) => {
        try {
          const { messages, answers } = parsePreference(json, 'a file, line 1')
          expect(messages.length).toBeGreaterThan(0)
          // One rank alone is of several answers that are as good.
          expect(answers.flat().length).toBeGreaterThan(1)
        } catch (error) {
          expect((error as Error).message).toMatch(/^a file, line 1: [^\n]+$/)
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('prompts', () => {
  it('are conversations up to what was asked', () => {
    const conversation = JSON.stringify({ messages: [...messages, { role: 'assistant', content: 'Five.' }] })
    expect(readPrompts(`${conversation}\n{"prompt": "Hi"}\n`, 'a file')).toEqual([
      messages,
      [{ role: 'user', content: 'Hi' }],
    ])
    expect(() => readPrompts('{"messages": [{"role": "assistant", "content": "Hi"}]}', 'a file')).toThrow(
      'a file, line 1: messages: nothing is asked',
    )
    expect(() => readPrompts('{"prompt": 3}', 'a file')).toThrow('a file, line 1: prompt: must be a text')
  })
})
