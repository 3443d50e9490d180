import { describe, expect, it } from 'vitest'
import { loadModel } from '../../src/load/load.ts'
import '../../src/runtime/node.ts'
import type { Tokenizer } from '../../src/text/tokenizer.ts'
import { heldOutSplit, itemsAt, judgeNamed } from '../../src/train/alignment.ts'
import { answerText, answerTokens, promptTokens } from '../../src/train/chat-tokens.ts'

const { tokenizer } = (await loadModel('jackdaw-base')) as { tokenizer: Tokenizer }

describe('what is asked and what is answered', () => {
  it('is written in the chat template, and an answer ends with a token of its own', () => {
    const prompt = promptTokens(tokenizer, [{ role: 'user', content: 'Hello' }])
    expect(tokenizer.decode(prompt)).toBe('<|im_start|>user\n Hello<|im_end|>\n<|im_start|>assistant\n')
    const answer = answerTokens(tokenizer, 'A bird.')
    expect(answer.at(-1)).toBe(tokenizer.idOf('<|im_end|>'))
    expect(answerText(tokenizer, answer)).toBe('A bird.')
  })

  it('is every item once an epoch, whatever the step begins with', () => {
    const at = itemsAt(['a', 'b', 'c', 'd', 'e'], 2, 7)
    const ten = Array.from({ length: 5 }, (_, step) => at(step)).flat()
    expect(ten.slice(0, 5).sort()).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(ten.slice(5).sort()).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(itemsAt(['a', 'b', 'c', 'd', 'e'], 2, 7)(3)).toEqual(at(3))
  })

  it('is kept apart by the seed, and never all of it', () => {
    const { train, heldOut } = heldOutSplit([1, 2, 3, 4, 5], 0.3, 1)
    expect([train.length, heldOut.length]).toEqual([3, 2])
    expect([...train, ...heldOut].sort()).toEqual([1, 2, 3, 4, 5])
    expect(heldOutSplit([1, 2], 1, 1).train.length).toBe(1)
  })
})

describe('rules', () => {
  const scores = async (rule: string, ...answers: string[]): Promise<number[]> => {
    const episodes = answers.map((answer) => {
      const ids = answerTokens(tokenizer, answer)
      return { promptIds: [1], ids, logProbs: [], ended: true }
    })
    return (await judgeNamed(rule, { tokenizer }, 20)).score(episodes)
  }

  it('judge by length, by a word and by what an answer contains', async () => {
    const length = answerTokens(tokenizer, 'the sea').length
    expect(await scores('rule:length', 'the sea')).toEqual([length / 20])
    expect(await scores('rule:brevity', 'the sea')).toEqual([1 - length / 20])
    expect(await scores('rule:word=the', 'The sea, the ship', 'lather', '')).toEqual([0.5, 0, 0])
    expect(await scores('rule:contains==', 'a = b', 'a b')).toEqual([1, 0])
  })

  it('are named, or refused', async () => {
    await expect(judgeNamed('rule:toString', { tokenizer }, 20)).rejects.toThrow(
      'rules are length, brevity, contains, word',
    )
  })
})
