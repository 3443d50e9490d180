import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  type Conversation,
  JACKDAW_CHAT_TEMPLATE,
  parseConversation,
  toJsonLine,
  toWireMessage,
  toWireTool,
} from '../../../src/data/instruction/conversation.ts'
import { renderChat } from '../../../src/text/chat-template.ts'

const asked: Conversation = {
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'What is 2 + 3?' },
    {
      role: 'assistant',
      content: '',
      toolCalls: [{ id: 'c1', name: 'calculator', arguments: '{"expression": "2+3"}' }],
    },
    { role: 'tool', content: '5', toolCallId: 'c1' },
    { role: 'assistant', content: 'Five.' },
  ],
}

const rendered = ({ messages, tools }: Conversation, addGenerationPrompt = false): string =>
  renderChat(JACKDAW_CHAT_TEMPLATE, messages.map(toWireMessage), { addGenerationPrompt, tools: tools?.map(toWireTool) })

describe('conversations', () => {
  it('come back from their line as they were', () => {
    expect(parseConversation(JSON.parse(toJsonLine(asked)), 'a line')).toEqual(asked)
    const offered = { ...asked, tools: [{ name: 'calculator', parameters: { type: 'object' } }] }
    expect(parseConversation(JSON.parse(toJsonLine(offered)), 'a line')).toEqual(offered)
  })

  it('are refused with the place and what is wrong there, whatever they are', () => {
    expect(() => parseConversation({ messages: [] }, 'chat.jsonl, line 3')).toThrow(
      'chat.jsonl, line 3: messages: must have a message',
    )
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        try {
          parseConversation(json, 'chat.jsonl, line 1')
        } catch (error) {
          expect((error as Error).message).toMatch(/^chat\.jsonl, line 1: \S/)
        }
      }),
    )
  })

  it('are written in turns, each of which begins as the prompt that asked for it', () => {
    expect(rendered(asked)).toBe(
      [
        '<|im_start|>system\n Be brief.<|im_end|>',
        '<|im_start|>user\n What is 2 + 3?<|im_end|>',
        '<|im_start|>assistant\n<tool_call>{"name": "calculator", "arguments": {"expression": "2+3"}}</tool_call><|im_end|>',
        '<|im_start|>tool\n 5<|im_end|>',
        '<|im_start|>assistant\nFive.<|im_end|>\n',
      ].join('\n'),
    )
    for (const end of [2, 4]) {
      const prompt = rendered({ messages: asked.messages.slice(0, end) }, true)
      expect(rendered({ messages: asked.messages.slice(0, end + 1) }).startsWith(prompt)).toBe(true)
    }
  })

  it('name the tools of a request once, with what the system says', () => {
    const text = rendered({ ...asked, tools: [{ name: 'weather', description: 'Of a city.' }] })
    expect(text).toMatch(
      /^<\|im_start\|>system\nBe brief\.\n\nTools:\n<tools>\n\{"name": "weather", "description": "Of a city\."\}\n<\/tools><\|im_end\|>\n<\|im_start\|>user/,
    )
    expect(text.match(/Be brief/g)).toHaveLength(1)
  })
})
