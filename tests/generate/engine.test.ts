import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { textEvents } from '../../src/generate/text-events.ts'
import type { EndEvent, GenerationRequest, TokenEvent } from '../../src/generate/types.ts'
import { loadModel } from '../../src/load/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import '../../src/runtime/node.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'

/** One character a token, as many as the fixture's vocabulary has. */
const ALPHABET = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTU'
const SLOTS = 3

let decoder: CachedDecoder
let tokenizer: Tokenizer

beforeAll(async () => {
  const { model, weights } = await loadModel(fileURLToPath(new URL('../parity/llama', import.meta.url)))
  tokenizer = tokenizerFromJson(charTokenizerJson(ALPHABET))
  decoder = await CachedDecoder.create(model as CausalLm, weights, { slots: SLOTS })
})
afterAll(() => decoder.release())

const newEngine = (): Engine => new Engine(decoder)

interface Answer {
  ids: number[]
  text: string
  tokens: TokenEvent[]
  end: EndEvent
}

async function ask(engine: Engine, request: GenerationRequest): Promise<Answer> {
  const tokens: TokenEvent[] = []
  for await (const event of textEvents(engine, tokenizer, request)) {
    if (event.type === 'token') tokens.push(event)
    else if (event.type === 'end') {
      const text = tokens.map((token) => token.text).join('')
      return { ids: tokens.map(({ id }) => id), text, tokens, end: event }
    }
  }
  throw new Error('the answer has no end')
}

const prompt = fc.array(fc.nat(ALPHABET.length - 1), { minLength: 1, maxLength: 30 })
const request = fc.record({
  promptIds: prompt,
  maxNewTokens: fc.integer({ min: 1, max: 20 }),
  temperature: fc.constantFrom(0, 0.7, 1.5),
  topP: fc.constantFrom(1, 0.8),
  topK: fc.constantFrom(0, 5),
  repetitionPenalty: fc.constantFrom(1, 1.3),
  seed: fc.nat(1000),
})

describe('the engine', () => {
  it('answers each request in a crowd as it does alone', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 2, maxLength: 8 }), async (requests) => {
        const crowd = newEngine()
        const together = await Promise.all(requests.map((r) => ask(crowd, r)))
        for (const [i, r] of requests.entries()) {
          const alone = await ask(newEngine(), r)
          expect(together[i].ids).toEqual(alone.ids)
          expect(together[i].text).toBe(alone.text)
        }
      }),
      { numRuns: 25 },
    )
  })

  it('keeps what it computed: a prompt that begins as an earlier one did is not computed again', async () => {
    const engine = newEngine()
    const first = await ask(engine, { promptIds: [1, 2, 3, 4, 5, 6], maxNewTokens: 4, temperature: 0 })
    const turn = [1, 2, 3, 4, 5, 6, ...first.ids, 9, 8]
    const second = await ask(engine, { promptIds: turn, maxNewTokens: 5, temperature: 0 })
    // The last token of the answer was chosen, but nothing came after it: it is not in the cache.
    expect(second.end.cachedTokens).toBe(6 + first.ids.length - 1)
    expect(second.ids).toEqual((await ask(newEngine(), { promptIds: turn, maxNewTokens: 5, temperature: 0 })).ids)
  })

  it('shares the beginning of a conversation that goes on elsewhere without disturbing it', async () => {
    const engine = newEngine()
    const start = [7, 7, 3, 1, 20, 21, 22, 23, 24, 25]
    await ask(engine, {
      promptIds: [...start, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40],
      maxNewTokens: 3,
      temperature: 0,
    })
    const branch = await ask(engine, { promptIds: [...start, 11, 12], maxNewTokens: 3, temperature: 0 })
    expect(branch.end.cachedTokens).toBe(start.length)
    const again = await ask(engine, {
      promptIds: [...start, 30, 31, 32, 33, 34, 35, 36],
      maxNewTokens: 3,
      temperature: 0,
    })
    expect(again.end.cachedTokens).toBeGreaterThan(start.length)
  })

  it('ends before a stop string, wherever tokens cut it, and tells nothing of it', async () => {
    await fc.assert(
      fc.asyncProperty(prompt, fc.nat(10), fc.integer({ min: 1, max: 3 }), async (promptIds, at, length) => {
        const whole = await ask(newEngine(), { promptIds, maxNewTokens: 16, temperature: 0 })
        const stop = whole.text.slice(at, at + length)
        const stopped = await ask(newEngine(), { promptIds, maxNewTokens: 16, temperature: 0, stop: [stop] })
        expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)))
        expect(stopped.end.reason).toBe('stop')
      }),
      { numRuns: 20 },
    )
  })

  it('ends at its stop tokens without saying them, at its limit, and at the end of the context', async () => {
    const free = await ask(newEngine(), { promptIds: [5, 6, 7], maxNewTokens: 6, temperature: 0 })
    const stopped = await ask(newEngine(), { promptIds: [5, 6, 7], temperature: 0, stopTokenIds: [free.ids[3]] })
    expect(stopped.ids).toEqual(free.ids.slice(0, free.ids.indexOf(free.ids[3])))
    expect(stopped.end.reason).toBe('stop')
    expect([free.end.reason, free.end.completionTokens, free.end.promptTokens]).toEqual(['length', 6, 3])
    const long = await ask(newEngine(), { promptIds: Array.from({ length: 60 }, (_, i) => i % 40), temperature: 0 })
    expect(long.end.reason).toBe('length')
    // The last token is told and never read: it needs no place.
    expect(60 + long.end.completionTokens).toBe(decoder.capacity + 1)
  })

  it('reports log-probabilities that are normalised and rank the token chosen', async () => {
    const { tokens } = await ask(newEngine(), {
      promptIds: [3, 1, 4],
      maxNewTokens: 5,
      temperature: 0,
      topLogProbs: ALPHABET.length,
    })
    for (const { id, logProb, topLogProbs = [] } of tokens) {
      expect(topLogProbs[0].id).toBe(id)
      expect(topLogProbs[0].logProb).toBe(logProb)
      expect(topLogProbs.reduce((sum, entry) => sum + Math.exp(entry.logProb), 0)).toBeCloseTo(1, 5)
    }
  })

  it('stops at an abort, frees the place, and goes on with the others', async () => {
    const engine = newEngine()
    const stop = new AbortController()
    const stream = engine.generate({ promptIds: [1, 2], maxNewTokens: 50, temperature: 0, signal: stop.signal })
    await stream.next()
    const other = ask(engine, { promptIds: [9, 8, 7], maxNewTokens: 8, temperature: 0 })
    stop.abort(new Error('enough'))
    await expect(
      (async () => {
        for await (const _ of stream);
      })(),
    ).rejects.toThrow('enough')
    expect((await other).ids).toEqual(
      (await ask(newEngine(), { promptIds: [9, 8, 7], maxNewTokens: 8, temperature: 0 })).ids,
    )
    // A reader who just leaves does not keep a place either.
    for (let i = 0; i < 2 * SLOTS; i++)
      for await (const _ of engine.generate({ promptIds: [i], maxNewTokens: 40 })) break
    expect((await ask(engine, { promptIds: [1], maxNewTokens: 2 })).ids).toHaveLength(2)
  })

  it('refuses prompts that are empty or longer than the context', async () => {
    await expect(ask(newEngine(), { promptIds: [] })).rejects.toThrow(/no tokens/)
    await expect(ask(newEngine(), { promptIds: new Array(decoder.capacity + 1).fill(1) })).rejects.toThrow(
      `the prompt has ${decoder.capacity + 1} tokens; the model takes ${decoder.capacity}`,
    )
  })

  it('leaves memory flat over a thousand chats', async () => {
    const engine = newEngine()
    const chat = async (i: number) => {
      const promptIds = Array.from({ length: 5 + (i % 20) }, (_, j) => (i * 7 + j) % 47)
      await Promise.all([0, 1, 2, 3].map((k) => ask(engine, { promptIds, maxNewTokens: 4, seed: i + k })))
    }
    for (let i = 0; i < 100; i++) await chat(i)
    const before = process.memoryUsage().rss
    for (let i = 0; i < 250; i++) await chat(i)
    // A kept chat would hold its calls' arrays: tens of kilobytes each.
    expect(process.memoryUsage().rss - before).toBeLessThan(40e6)
  }, 120_000)
})
