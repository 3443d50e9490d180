/** Decoding greedily: `decode.ts FILE` in 4 bits, `decode.ts gpt2-124M` in fp32. */

import { compete } from '../contestant.ts'
import { DECODING, mostProbable, openDecoder, promptIds, shapedDecoder } from './decoder.ts'
import { versions } from './versions.ts'

const { prompt, newTokens, longPrompt, chats } = DECODING

await compete(async () => {
  const named = process.argv[2]
  const decoder = await (named === 'gpt2-124M' ? shapedDecoder(named, chats) : openDecoder(named, chats))
  const { vocabSize } = decoder
  const short = promptIds(prompt, vocabSize)
  const long = promptIds(longPrompt, vocabSize)

  /** Tokens per second of `sequences` that are continued together; their prompts are not counted. */
  const continued = (sequences: number) => async (seconds: number) => {
    const rows = Array.from({ length: sequences }, (_, row) => row)
    let spent = 0
    let done = 0
    while (spent < seconds || done === 0) {
      let ids: number[] = []
      for (const slot of rows) ids.push(mostProbable(await decoder.prefill(slot, short, 0), 0, vocabSize))
      const start = performance.now()
      for (let i = 0; i < newTokens; i++) {
        const logits = await decoder.decode(ids, new Array<number>(sequences).fill(prompt + i))
        ids = rows.map((row) => mostProbable(logits, row, vocabSize))
      }
      spent += (performance.now() - start) / 1000
      done += newTokens * sequences
    }
    return done / spent
  }

  const prompted = async (seconds: number) => {
    let spent = 0
    let done = 0
    while (spent < seconds || done === 0) {
      const start = performance.now()
      mostProbable(await decoder.prefill(0, long, 0), 0, vocabSize)
      spent += (performance.now() - start) / 1000
      done += longPrompt
    }
    return done / spent
  }

  const rounds = { decode: continued(1), prompt: prompted, chats: continued(chats) }
  await rounds.decode(0)
  return { rounds, versions: versions() }
})
