import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadServedModel } from '../../src/generate/served.ts'
import type { ServedModel } from '../../src/generate/types.ts'
import { lacksShared, sharedPath } from '../shared.ts'

/** Where the two best logits are this close, rounding may choose either. */
const DECISIVE_MARGIN = 0.02

interface Case {
  messages?: { role: 'user' | 'assistant' | 'system'; content: string }[]
  prompt: string
  inputIds: number[]
  newIds: number[]
  margins: number[]
}

describe.skipIf(lacksShared('models/smollm2.json'))('SmolLM2-135M-Instruct from GGUF', () => {
  const { cases } = lacksShared('models/smollm2.json')
    ? { cases: [] }
    : (JSON.parse(readFileSync(sharedPath('models/smollm2.json'), 'utf8')) as { cases: Case[] })
  let model: ServedModel

  beforeAll(async () => {
    model = await loadServedModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`, {
      slots: 4,
      contextLength: 512,
    })
  })
  afterAll(() => {})

  async function answer(promptIds: readonly number[], maxNewTokens: number): Promise<number[]> {
    const ids: number[] = []
    for await (const event of model.generate({ promptIds, maxNewTokens, temperature: 0 })) {
      if (event.type === 'token') ids.push(event.id)
    }
    return ids
  }

  /** The reference's tokens up to the first that rounding may change, without the one that ends the text. */
  function certain({ newIds, margins }: Case): number[] {
    const open = margins.findIndex((margin) => margin < DECISIVE_MARGIN)
    const ids = open < 0 ? newIds : newIds.slice(0, open)
    return ids[ids.length - 1] === 2 ? ids.slice(0, -1) : ids
  }

  it('renders conversations as the reference does', async () => {
    for (const { messages, inputIds } of cases) if (messages) expect(await model.renderChat(messages)).toEqual(inputIds)
  })

  it('chooses the reference tokens under greedy decoding, alone and several at once', async () => {
    const answers = await Promise.all(cases.map(({ inputIds, newIds }) => answer(inputIds, newIds.length)))
    cases.forEach((reference, i) => {
      const expected = certain(reference)
      expect(answers[i].slice(0, expected.length), reference.prompt).toEqual(expected)
    })
  }, 300_000)
})
