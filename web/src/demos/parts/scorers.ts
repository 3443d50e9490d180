import { logSumExp } from '../../../../src/browser.ts'
import type { TabModel } from '../../../../src/server/wire.ts'
import { getStatus, listTabModels, postScored } from '../../client.ts'
import { openCausal } from './tab-model.ts'

/** A text, and what is to follow it. */
export interface Pair {
  readonly text: string
  readonly answer: string
}

/** A model that tells how probable an answer is, on the server or in this tab. */
export interface Scorer {
  readonly name: string
  /** log P of each answer after its text. */
  score(pairs: readonly Pair[], signal: AbortSignal): Promise<number[]>
}

/** Those that are served first, and of these those that chat: they are larger. */
export async function listScorers(): Promise<Scorer[]> {
  const [{ models }, tab] = await Promise.all([getStatus(), listTabModels()])
  const served = models
    .filter(({ singleTurn }) => !singleTurn)
    .sort((a, b) => Number(b.canChat) - Number(a.canChat))
    .map(({ id }) => onServer(id))
  const own = tab.models.filter(
    ({ name, architecture, hasTokenizer }) =>
      hasTokenizer && /(LMHeadModel|ForCausalLM)$/.test(architecture) && !served.some((one) => one.name === name),
  )
  return [...served, ...own.map(inTab)]
}

const onServer = (id: string): Scorer => ({
  name: id,
  async score(pairs, signal) {
    const { choices } = await postScored(
      id,
      pairs.map(({ text, answer }) => text + answer),
      signal,
    )
    return pairs.map(({ text }, i) => {
      const { text_offset: offsets, token_logprobs: logProbs } = choices[i].logprobs
      // A token that begins within the text and ends in the answer counts for the answer.
      return logProbs.reduce<number>(
        (sum, logProb, at) =>
          (offsets[at + 1] ?? Number.POSITIVE_INFINITY) > text.length ? sum + (logProb ?? 0) : sum,
        0,
      )
    })
  },
})

const inTab = (entry: TabModel): Scorer => ({
  name: entry.name,
  async score(pairs, signal) {
    const model = await openCausal(entry)
    const scores: number[] = []
    for (const { text, answer } of pairs) {
      signal.throwIfAborted()
      const whole = model.tokenizer.encode(text + answer).slice(-model.maxPositions)
      const before = model.tokenizer.encode(text)
      const shared = before.findIndex((id, at) => id !== whole[at])
      const from = shared < 0 ? before.length : shared
      const at = Array.from({ length: whole.length - from }, (_, i) => from + i - 1)
      const logits = await model.logits([whole], at)
      scores.push(
        at.reduce((sum, place, i) => {
          const row = logits.subarray(i * model.vocabSize, (i + 1) * model.vocabSize)
          return sum + row[whole[place + 1]] - logSumExp(row)
        }, 0),
      )
    }
    return scores
  },
})
