import fc from 'fast-check'
import { expect, it } from 'vitest'
import { parseChatFile } from '../../../src/data/instruction/chat-file.ts'
import { toJsonLine } from '../../../src/data/instruction/conversation.ts'

const said = (content: string) => ({
  messages: [
    { role: 'user' as const, content: 'Say it.' },
    { role: 'assistant' as const, content },
  ],
})

it('reads a conversation a line, whatever ends the lines', () =>
  fc.assert(
    fc.property(fc.array(fc.string(), { minLength: 1 }), fc.constantFrom('\n', '\r\n', '\n\n'), (texts, end) => {
      const conversations = texts.map(said)
      const file = `\uFEFF${conversations.map(toJsonLine).join(end)}${end}`
      expect(parseChatFile(file, 'chat.jsonl')).toEqual(conversations)
    }),
  ))

it('says which line is wrong, and what about it', () => {
  const good = toJsonLine(said('Hello.'))
  const error = (file: string) => () => parseChatFile(file, 'chat.jsonl')
  expect(error('')).toThrow('chat.jsonl is empty: it is to have a conversation a line')
  expect(error(' \n\n')).toThrow('chat.jsonl is empty')
  expect(error(`${good}\n\nHello`)).toThrow('chat.jsonl, line 3: is no JSON: "Hello"')
  expect(error(`${good}\n[1]`)).toThrow(/^chat\.jsonl, line 2: /)
  expect(error('{"messages": [{"role": "robot", "content": ""}]}')).toThrow(/^chat\.jsonl, line 1: messages\.0\.role: /)
  expect(error('{"messages": [{"role": "user", "content": "Hi"}]}')).toThrow(
    "chat.jsonl, line 1: no message is the assistant's, so there is nothing to learn from it",
  )
})

it('takes any text for a file, or says in one sentence why not', () =>
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc
          .array(fc.oneof(fc.json(), fc.constant(toJsonLine(said('x')))), { maxLength: 4 })
          .map((lines) => lines.join('\n')),
        fc
          .record(
            {
              messages: fc.oneof(
                fc.anything(),
                fc.array(
                  fc.record(
                    {
                      role: fc.constantFrom('user', 'assistant', 'tool', 'system', 'developer', 'x'),
                      content: fc.oneof(fc.string(), fc.constant(null), fc.anything()),
                      tool_calls: fc.anything(),
                    },
                    { requiredKeys: [] },
                  ),
                ),
              ),
              tools: fc.anything(),
            },
            { requiredKeys: [] },
          )
          .map((line) => {
            try {
              return JSON.stringify(line)
            } catch {
              return '{}'
            }
          }),
      ),
      (text) => {
        try {
          for (const { messages } of parseChatFile(text, 'chat.jsonl')) {
            expect(messages.some(({ role }) => role === 'assistant')).toBe(true)
          }
        } catch (error) {
          expect((error as Error).message).toMatch(/^chat\.jsonl(, line \d+: | is empty)/)
        }
      },
    ),
    { numRuns: 400 },
  ))
