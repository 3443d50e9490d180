import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fitConversation } from '../../src/generate/fit-conversation.ts'
import type { ChatMessage } from '../../src/generate/types.ts'
import { MockModel } from '../server/mock-model.ts'

/** A byte a token, `<role>content\n` a message. */
const chat = new MockModel({ contextLength: 400 })
const base = new MockModel({ contextLength: 400, canChat: false })
/** A quarter of the context is the answer's. */
const ROOM = 300

const content = (max: number) => fc.string({ minLength: 1, maxLength: max, unit: fc.constantFrom(...'abc def.') })
const conversation = fc
  .record({
    system: fc.option(content(60)),
    exchanges: fc.array(fc.tuple(content(90), content(90)), { maxLength: 12 }),
    question: content(450),
  })
  .map(({ system, exchanges, question }): ChatMessage[] => [
    ...(system === null ? [] : [{ role: 'system' as const, content: system }]),
    ...exchanges.flatMap(([asked, answered]): ChatMessage[] => [
      { role: 'user', content: asked },
      { role: 'assistant', content: answered },
    ]),
    { role: 'user', content: question },
  ])

describe('a conversation before a model', () => {
  it('is whole where it fits; otherwise whole exchanges are left out from its start, and nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(conversation, async (messages) => {
        const { promptIds, omitted } = await fitConversation(chat, messages)
        const system = messages.filter(({ role }) => role === 'system')
        const turns = messages.slice(system.length)
        const kept = turns.slice(omitted)
        expect(promptIds).toEqual(chat.renderChat([...system, ...kept]))
        expect(kept[0].role).toBe('user')
        expect(kept.at(-1)).toBe(messages.at(-1))
        if (kept.length > 1) expect(promptIds.length).toBeLessThanOrEqual(ROOM)
        if (chat.renderChat(messages).length <= ROOM) expect(omitted).toBe(0)
      }),
    )
  })

  it('that goes on past the context begins as the turn before, most of the time', async () => {
    const messages: ChatMessage[] = []
    const starts: number[] = []
    for (let turn = 0; turn < 60; turn++) {
      messages.push({ role: 'user', content: `question ${turn}` })
      starts.push((await fitConversation(chat, messages)).omitted)
      messages.push({ role: 'assistant', content: `answer ${turn}` })
    }
    expect([...starts].sort((a, b) => a - b)).toEqual(starts)
    expect(starts.at(-1)).toBeGreaterThan(90)
    expect(new Set(starts).size).toBeLessThan(60 / 2)
  })

  it('leaves the answer what it may take, and no more than a quarter of the context', async () => {
    const messages: ChatMessage[] = [
      { role: 'user', content: 'a'.repeat(150) },
      { role: 'assistant', content: 'b'.repeat(150) },
      { role: 'user', content: 'c' },
    ]
    expect((await fitConversation(chat, messages)).omitted).toBe(2)
    expect((await fitConversation(chat, messages, 350)).omitted).toBe(2)
    expect((await fitConversation(chat, messages, 10)).omitted).toBe(0)
  })

  it('may end in the beginning of an answer, which stays', async () => {
    const { promptIds } = await fitConversation(chat, [
      { role: 'user', content: 'a'.repeat(290) },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'c' },
      { role: 'assistant', content: 'the answer begins' },
    ])
    expect(chat.decode(promptIds)).toBe('<user>c\n<assistant>the answer begins\n<assistant>')
  })

  it('is the end of the text, where the model only continues', async () => {
    await fc.assert(
      fc.asyncProperty(content(900), async (text) => {
        const { promptIds, omitted } = await fitConversation(base, [{ role: 'user', content: text }])
        expect(base.decode(promptIds)).toBe(text.slice(-ROOM))
        expect(omitted).toBe(Math.max(0, text.length - ROOM))
      }),
    )
  })

  it('keeps what the tokenizer puts before every text, where its end is taken', async () => {
    const model = new MockModel({ contextLength: 400, canChat: false })
    const encode = model.encode.bind(model)
    model.encode = (text) => [1, ...encode(text)]
    const { promptIds, omitted } = await fitConversation(model, [{ role: 'user', content: 'x'.repeat(500) }])
    expect(promptIds).toEqual([1, ...encode('x'.repeat(ROOM - 1))])
    expect(omitted).toBe(201)
  })
})
