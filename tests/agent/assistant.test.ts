import fc from 'fast-check'
import { expect, it } from 'vitest'
import { messageOf } from '../../src/agent/assistant.ts'
import { callLocalTool } from '../../src/agent/toolset.ts'
import type { Message } from '../../src/data/instruction/conversation.ts'
import { generateConversation, openWorld } from '../../src/data/instruction/world.ts'
import { StepRandom } from '../../src/data/random.ts'
import { scoreAssistant } from '../../src/eval/assistant.ts'

it('reads a call with its arguments as they were written', () => {
  const { content, toolCalls } = messageOf(
    '<tool_call>{"name": "dictionary", "arguments": {"word": "a \\"b\\" {c}", "want":  "kind"}}</tool_call>',
  )
  expect(content).toBe('')
  expect(toolCalls).toMatchObject([{ name: 'dictionary', arguments: '{"word": "a \\"b\\" {c}", "want":  "kind"}' }])
})

it('takes for an answer what is no whole call', () => {
  const texts = fc.oneof(
    fc.string(),
    fc.constantFrom('<tool_call>', '<tool_call>{"name": "dates"}</tool_call>', '<tool_call>{"name": "dates", "arg'),
  )
  fc.assert(fc.property(texts, (text) => void expect(messageOf(text).content).toBe(text.trim())))
})

it('is scored on every turn, each asked after what was said before', async () => {
  const world = openWorld(callLocalTool)
  const asked = Array.from({ length: 40 }, (_, i) =>
    generateConversation(world, new StepRandom(3, i), 'heldOut', { styles: 'plain' }),
  )
  const told = new Map(
    asked.flatMap(({ conversation: { messages }, turns }) =>
      turns.map(({ questionAt, answerAt }) => [
        JSON.stringify(messages.slice(0, questionAt + 1)),
        messages.slice(questionAt + 1, answerAt + 1),
      ]),
    ),
  )
  const knows = (conversations: readonly (readonly Message[])[]) =>
    conversations.map((said) => told.get(JSON.stringify(said)) ?? [])
  const best = await scoreAssistant(knows, asked)
  const turns = asked.reduce((sum, one) => sum + one.turns.length, 0)
  expect(best).toMatchObject({ asked: turns, right: turns, accuracy: 1 })
  const mute = await scoreAssistant((all) => all.map(() => [{ role: 'assistant', content: 'Well.' }]), asked)
  expect(mute.accuracy).toBeLessThan(0.1)
  expect(mute.wrong).toHaveLength(mute.asked - mute.right)
})
