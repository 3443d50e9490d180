import { describe, expect, it } from 'vitest'
import { callLocalTool } from '../../../src/agent/toolset.ts'
import { parseConversation, toJsonLine } from '../../../src/data/instruction/conversation.ts'
import { judge } from '../../../src/data/instruction/gold-judge.ts'
import { ask, phrasings } from '../../../src/data/instruction/phrasing.ts'
import { KINDS, splitOf } from '../../../src/data/instruction/turn.ts'
import { generateConversation, openWorld } from '../../../src/data/instruction/world.ts'
import { StepRandom } from '../../../src/data/random.ts'
import { scoreAssistant } from '../../../src/eval/assistant.ts'

const world = openWorld(callLocalTool)
const generate = (split: 'train' | 'heldOut', count: number, styles: 'mixed' | 'plain' = 'mixed') =>
  Array.from({ length: count }, (_, i) => generateConversation(world, new StepRandom(5, i), split, { styles }))

describe('conversations', () => {
  const train = generate('train', 400)
  const heldOut = generate('heldOut', 400)
  const all = [...train, ...heldOut]

  it('are the same from the same draws', () => {
    expect(generate('train', 20)).toEqual(train.slice(0, 20))
  })

  it('hold what the tools say, and arguments as the model is to write them', () => {
    for (const { conversation } of all) {
      conversation.messages.forEach((message, i) => {
        for (const call of message.toolCalls ?? []) {
          const result = conversation.messages[i + 1]
          expect(result).toEqual({ role: 'tool', content: callLocalTool(call), toolCallId: call.id })
          expect(call.arguments).toBe(
            JSON.stringify(JSON.parse(call.arguments), null, 1).replace(/\n ?/g, (_, at: number, text: string) =>
              text[at - 1] === ',' ? ' ' : '',
            ),
          )
          expect(result.content.split(' ').length).toBeLessThan(40)
        }
      })
    }
  })

  it('are of every kind in either part, and most facts are looked up', () => {
    for (const part of [train, heldOut]) {
      const kinds = new Set(part.flatMap(({ turns }) => turns.map(({ kind }) => kind)))
      expect(KINDS.filter((kind) => !kinds.has(kind))).toEqual([])
      const facts = part.flatMap(({ turns }) => turns.filter(({ expected }) => expected.behaviour === 'answer'))
      const lookedUp = facts.filter(({ answerAt, questionAt }) => answerAt - questionAt > 1)
      expect(lookedUp.length / facts.length).toBeGreaterThan(0.75)
    }
  })

  it('no question of one part is asked in the other, nor are its words and countries', () => {
    const first = (part: typeof all) =>
      part.flatMap(({ conversation, turns }) =>
        turns
          .filter(({ kind }) => ['meaning', 'synonyms', 'opposite', 'country', 'arithmetic'].includes(kind))
          .map(({ questionAt }) => conversation.messages[questionAt + 1].toolCalls?.[0].arguments ?? ''),
      )
    const entity = (json: string): string => {
      const said = Object.entries(JSON.parse(json) as Record<string, string>)
      const { word, name, want, expression } = Object.fromEntries(said.map(([key, value]) => [key, value.trim()]))
      return want === 'country'
        ? (world.countries.withCapital(name)?.name ?? name)
        : (expression ?? word ?? world.countries.find(name)?.name)
    }
    // Grave words are asked the meaning of in training, whatever part they belong to.
    const grave = /bomb|poison|steal|weapon|murder|kill|attack|drug|knife|thief|gun|explosion/
    for (const json of first(train))
      if (!grave.test(json)) expect([json, splitOf(entity(json))]).toEqual([json, 'train'])
    for (const json of first(heldOut)) expect([json, splitOf(entity(json))]).toEqual([json, 'heldOut'])
  })

  it('their plain answers are what the judge likes best', () => {
    for (const { conversation, turns } of [...generate('train', 150, 'plain'), ...generate('heldOut', 150, 'plain')]) {
      for (const { expected, answerAt } of turns) {
        const answer = conversation.messages[answerAt].content
        expect(answer).toBe(expected.reference)
        expect([answer, judge(answer, expected)]).toEqual([
          answer,
          { score: 1, parts: { right: 1, format: 1, concise: 1, polite: 1 } },
        ])
      }
    }
  })

  it('an answer to another question of the same kind is not right', () => {
    const plain = generate('train', 300, 'plain').flatMap(({ turns }) => turns)
    for (const kind of [
      'meaning',
      'synonyms',
      'country',
      'arithmetic',
      'date',
      'spelling',
      'editing',
      'list',
    ] as const) {
      const some = plain.filter((turn) => turn.kind === kind)
      const right = some.filter(
        ({ expected }, i) => judge(some[(i + 1) % some.length].expected.reference, expected).parts.right === 1,
      )
      expect([kind, right.length / some.length]).toEqual([kind, expect.closeTo(0, 0)])
      expect(right.length / some.length).toBeLessThan(0.15)
    }
  })

  it('fit the files that they are written to, and the context that they are read in', () => {
    for (const { conversation } of all) {
      expect(parseConversation(JSON.parse(toJsonLine(conversation)), 'line 1')).toEqual(conversation)
      expect(toJsonLine(conversation).length).toBeLessThan(4000)
    }
  })

  it('an assistant that knows is right, one that repeats the question is not', async () => {
    const plain = generate('heldOut', 60, 'plain')
    const answers = new Map(
      plain.flatMap(({ turns }) => turns.map(({ expected }) => [expected.question, expected.reference])),
    )
    const knows = await scoreAssistant(
      (all) => all.map((said) => [{ role: 'assistant', content: answers.get(said.at(-1)?.content ?? '') ?? '' }]),
      plain,
    )
    // The same words may ask twice: "and its opposite?".
    expect(knows.accuracy).toBeGreaterThan(0.9)
    const repeats = await scoreAssistant(
      (all) => all.map((said) => [{ role: 'assistant', content: said.at(-1)?.content ?? '' }]),
      plain,
    )
    expect(repeats.accuracy).toBeLessThan(0.15)
  })
})

describe('phrasings', () => {
  it('hold out a fifth of the templates, the same ones always', () => {
    const templates = Array.from({ length: 20 }, (_, i) => `how is {word} number ${i}?`)
    const { train, heldOut } = phrasings(templates)
    expect(heldOut).toHaveLength(4)
    expect([...train, ...heldOut].sort()).toEqual([...templates].sort())
    expect(new Set(phrasings([...templates].reverse()).heldOut)).toEqual(new Set(heldOut))
  })

  it('fill every slot and choice, and keep the capitals of a text', () => {
    const set = { train: ['write (this|that) in full. then stop: {text}'], heldOut: ['what is {text}?'] }
    for (let i = 0; i < 50; i++) {
      const draw = { world, random: new StepRandom(2, i), split: 'train', style: 'plain' } as const
      expect(ask(draw, set, { text: 'NATO {x}' }, true)).toMatch(
        /^[Ww]rite th(?:is|at) in full. [Tt]hen stop: NATO \{x\}$/,
      )
    }
  })
})
