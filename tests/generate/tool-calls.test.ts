import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { JACKDAW_CHAT_TEMPLATE } from '../../src/data/instruction/conversation.ts'
import { Automaton, type State } from '../../src/generate/automaton.ts'
import {
  type CallDelta,
  CallList,
  CallReader,
  type CallStyle,
  callGrammar,
  templateMessages,
  toolTemplateOf,
} from '../../src/generate/tool-calls.ts'
import type { ChatMessage } from '../../src/generate/types.ts'
import { renderChat } from '../../src/text/chat-template.ts'

const NAMES = new Set(['look', 'count'])
const LOOK = {
  name: 'look',
  parameters: { type: 'object', properties: { word: { type: 'string' } }, required: ['word'] },
}

/** An answer, read in pieces. */
function read(style: CallStyle, pieces: readonly string[]): { text: string; calls: [string, string][] } {
  const reader = new CallReader(style, NAMES)
  const list = new CallList()
  let text = ''
  const take = (said: { text: string; calls: readonly CallDelta[] }) => {
    text += said.text
    list.add(said.calls)
  }
  for (const piece of pieces) take(reader.push(piece))
  take(reader.flush())
  return { text, calls: list.calls.map(({ name, arguments: json }) => [name, json]) }
}

const ANSWERS: [CallStyle, string, string, [string, string][]][] = [
  ['hermes', 'Well.', 'Well.', []],
  [
    'hermes',
    'Let me look.\n<tool_call>\n{"name": "look", "arguments": {"word": "a}\\"]"}}\n</tool_call>',
    'Let me look.',
    [['look', '{"word": "a}\\"]"}']],
  ],
  [
    'hermes',
    '<tool_call>{"name":"look","arguments":{}}</tool_call><tool_call>{"arguments": {"a": [1, 2]}, "name": "count"}</tool_call> So.',
    ' So.',
    [
      ['look', '{}'],
      ['count', '{"a":[1,2]}'],
    ],
  ],
  ['hermes', 'A <tool_call>of nothing</tool_call>, and <tool', 'A <tool_call>of nothing</tool_call>, and <tool', []],
  [
    'hermes',
    '<tool_call>{"name": "fly", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "fly", "arguments": {}}</tool_call>',
    [],
  ],
  ['hermes', '<tool_call>{"name": "lo', '<tool_call>{"name": "lo', []],
  [
    'mistral',
    '[TOOL_CALLS] [{"name": "look", "arguments": {"word": "]"}}, {"name": "count", "arguments": {}}]',
    '',
    [
      ['look', '{"word": "]"}'],
      ['count', '{}'],
    ],
  ],
  ['mistral', 'See [1].', 'See [1].', []],
  ['llama3', '{"name": "look", "parameters": {"word": "é🐦"}}', '', [['look', '{"word": "é🐦"}']]],
  ['llama3', '{"word": 3}', '{"word": 3}', []],
  ['llama3', 'In words {"name": "look", "parameters": {}}', 'In words {"name": "look", "parameters": {}}', []],
]

describe('reading calls', () => {
  it.each(ANSWERS)('%s: %s', (style, answer, text, calls) => {
    expect(read(style, [answer])).toEqual({ text, calls })
  })

  it('does not depend on where an answer is cut', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...ANSWERS),
        fc.array(fc.nat(120), { maxLength: 40 }),
        ([style, answer, text, calls], cuts) => {
          const places = [0, ...cuts.map((cut) => cut % (answer.length + 1)), answer.length].sort((a, b) => a - b)
          const pieces = places.slice(1).map((end, i) => answer.slice(places[i], end))
          expect(read(style, pieces)).toEqual({ text, calls })
        },
      ),
      { numRuns: 300 },
    )
  })

  it('loses nothing of what is no call', () => {
    const bits = fc.constantFrom(
      '<tool_call>',
      '</tool_call>',
      '<tool',
      '{',
      '}',
      '"name"',
      ':',
      '"look"',
      'x',
      '\n',
      '[TOOL_CALLS]',
    )
    fc.assert(
      fc.property(
        fc.constantFrom<CallStyle>('hermes', 'mistral', 'llama3'),
        fc.array(bits, { maxLength: 12 }),
        (style, pieces) => {
          const { text, calls } = read(style, pieces)
          if (calls.length === 0) expect(text.replaceAll('\n', '')).toBe(pieces.join('').replaceAll('\n', ''))
        },
      ),
    )
  })
})

describe('the grammar of calls', () => {
  type Rules = Parameters<typeof callGrammar>[2]
  /** `count` has a schema that no grammar can say: it may be called with any object, where it need not be. */
  const ANY = { name: 'count', parameters: { patternProperties: {} } }

  function takes(style: CallStyle, rules: Rules, text: string): boolean {
    const grammar = callGrammar(style, rules.choice === 'required' ? [LOOK] : [LOOK, ANY], rules)
    if (!grammar) throw new Error('it binds nothing')
    const automaton = new Automaton(grammar)
    let state: State | null = automaton.start
    for (const byte of new TextEncoder().encode(text)) state = state && automaton.step(state, byte)
    return state?.accepts ?? false
  }
  const look = '<tool_call>\n{"name": "look", "arguments": {"word": "a"}}\n</tool_call>'
  const count = '<tool_call>{"name": "count", "arguments": {"x": [1]}}</tool_call>'

  it.each<[CallStyle, Rules, string, boolean]>([
    ['hermes', { choice: 'auto' }, 'Words, and <tool_, é🐦.', true],
    ['hermes', { choice: 'auto' }, `Words. ${look}${count}`, true],
    ['hermes', { choice: 'auto' }, 'Many words, <and> more. '.repeat(200) + look, true],
    ['hermes', { choice: 'auto' }, `<<tool_call>${look}`, false],
    ['hermes', { choice: 'auto' }, `${look} Words.`, false],
    ['hermes', { choice: 'auto', parallel: false }, look + count, false],
    ['hermes', { choice: 'auto' }, '<tool_call>{"name": "look", "arguments": {"word": 3}}</tool_call>', false],
    ['hermes', { choice: 'required' }, look, true],
    ['hermes', { choice: 'required' }, 'Words.', false],
    ['hermes', { choice: 'none' }, 'Words <tool_cal>', true],
    ['hermes', { choice: 'none' }, 'Words <tool_call>', false],
    ['mistral', { choice: 'required' }, '[TOOL_CALLS] [{"name": "look", "arguments": {"word": "a"}}]', true],
    ['mistral', { choice: 'auto' }, 'See [1].', true],
    ['llama3', { choice: 'required' }, '{"name": "look", "parameters": {"word": "a"}}', true],
    ['llama3', { choice: 'required' }, '{"name": "look", "arguments": {"word": "a"}}', false],
  ])('%s, %j: %s is %s', (style, rules, text, expected) => {
    expect(takes(style, rules, text)).toBe(expected)
  })

  it('refuses a schema that it cannot keep to, where a call is required', () => {
    expect(() => callGrammar('hermes', [ANY], { choice: 'required' })).toThrow(
      "of the tool count, the schema's patternProperties is not supported",
    )
  })
})

describe('templates', () => {
  it.each([
    ['jackdaw’s own', JACKDAW_CHAT_TEMPLATE, { style: 'hermes', knowsTools: true, takesText: true }],
    [
      'Mistral’s',
      '{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]',
      { style: 'mistral', knowsTools: true, takesText: false },
    ],
    ['Llama 3’s', '{% if tools %}"parameters": {% endif %}', { style: 'llama3', knowsTools: true, takesText: false }],
    [
      'one that knows only turns',
      '{% for message in messages %}{{ message.content }}{% endfor %}',
      { style: 'hermes', knowsTools: false, takesText: false },
    ],
    [
      'one of another notation',
      '{% if tools %}<tool_call><function=x>{% endif %}',
      { style: 'hermes', knowsTools: false, takesText: false },
    ],
  ])('%s', (_, template, expected) => {
    expect(toolTemplateOf(template)).toEqual(expected)
  })

  const messages: ChatMessage[] = [
    { role: 'user', content: 'Look.' },
    {
      role: 'assistant',
      content: '',
      toolCalls: [
        { id: 'call_1', name: 'look', arguments: '{"word":"a"}' },
        { id: 'call_2', name: 'look', arguments: '{"word":"b"}' },
      ],
    },
    { role: 'tool', content: 'first', toolCallId: 'call_1' },
    { role: 'tool', content: 'second', toolCallId: 'call_2' },
  ]

  it('jackdaw’s own has calls as the model wrote them, which its answers are read by', () => {
    const told = templateMessages(messages, [LOOK], toolTemplateOf(JACKDAW_CHAT_TEMPLATE))
    const text = renderChat(JACKDAW_CHAT_TEMPLATE, told.messages, { tools: told.tools, addGenerationPrompt: true })
    const turn = /<\|im_start\|>assistant\n(<tool_call>.*?)<\|im_end\|>/s.exec(text)?.[1] ?? ''
    expect(read('hermes', [turn])).toEqual({
      text: '',
      calls: [
        ['look', '{"word":"a"}'],
        ['look', '{"word":"b"}'],
      ],
    })
    expect(text).toContain('"name": "look"')
    expect(text).toContain('<|im_start|>tool\n second<|im_end|>')
  })

  it('one that knows only turns is told in words: the sides alternate, nothing is left out', () => {
    const { messages: told, tools } = templateMessages(messages, [LOOK], {
      style: 'hermes',
      knowsTools: false,
      takesText: false,
    })
    expect(tools).toBeUndefined()
    expect(told.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user'])
    expect(told[0].content).toContain(JSON.stringify(LOOK))
    expect(read('hermes', [told[2].content]).calls).toEqual([
      ['look', '{"word":"a"}'],
      ['look', '{"word":"b"}'],
    ])
    expect(told[3].content).toMatch(/first[\s\S]*second/)
  })

  it('Llama’s take one call at a time, Mistral’s short ids', () => {
    const one = templateMessages(messages, [], { style: 'llama3', knowsTools: true, takesText: false })
    expect(one.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool', 'assistant', 'tool'])
    const { messages: told } = templateMessages(messages, [], { style: 'mistral', knowsTools: true, takesText: false })
    const ids = (told[1].tool_calls as { id: string }[]).map(({ id }) => id)
    expect(ids).toEqual(told.slice(2).map(({ tool_call_id }) => tool_call_id))
    for (const id of ids) expect(id).toMatch(/^[A-Za-z0-9]{9}$/)
  })
})
