import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { loadServedModel } from '../../src/generate/served.ts'
import type { ServedModel } from '../../src/generate/types.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { captureLogger, failure, noStore } from './support.ts'

/** OpenAI's client against real models of 47 tokens, each a letter: what the mock cannot tell. */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUabcdefghijklmnopqrstuvwxyz'
/** As many letters, of which JSON can be written. */
const JSON_ALPHABET = '{}[]":, -.0123456789abcdefghijklmnopqrstuvwxyz_'
const textOf = (ids: readonly number[]) => ids.map((id) => ALPHABET[id]).join('')

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-tiny-'))
const log = captureLogger()
let server: RunningServer
let client: OpenAI

function checkpoint(name: string, alphabet = ALPHABET): string {
  const path = join(folder, alphabet === ALPHABET ? name : `${name}-json`)
  cpSync(fileURLToPath(new URL(`../parity/${name}`, import.meta.url)), path, { recursive: true })
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(charTokenizerJson(alphabet)))
  return path
}

beforeAll(async () => {
  const models = await Promise.all(
    [checkpoint('llama'), checkpoint('t5'), checkpoint('t5-gated'), checkpoint('llama', JSON_ALPHABET)].map((path) =>
      loadServedModel(path),
    ),
  )
  server = await listen({ models, store: noStore(), logger: log.logger, host: '127.0.0.1', port: 0 })
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await server?.close()
  rmSync(folder, { recursive: true, force: true })
  expect(log.errors).toEqual([])
})

describe('an answer in a form', () => {
  const schema = {
    type: 'object',
    properties: {
      bird: { enum: ['jackdaw', 'rook'] },
      eggs: { type: 'integer', minimum: 3, maximum: 6 },
      seen: { type: 'array', items: { type: 'boolean' }, maxItems: 3 },
    },
    required: ['bird', 'eggs'],
    additionalProperties: false,
  }

  it('has it, whatever the weights say, in every one of many side by side', async () => {
    const response_format = { type: 'json_schema' as const, json_schema: { name: 'bird', schema, strict: true } }
    const ask = { model: 'llama-json', messages: [{ role: 'user' as const, content: 'a bird' }], response_format }
    const { choices } = await client.chat.completions.create({ ...ask, n: 12, temperature: 1.5, seed: 3 })
    expect(new Set(choices.map(({ message }) => message.content)).size).toBeGreaterThan(3)
    for (const { message, finish_reason } of choices) {
      const { bird, eggs, seen = [] } = JSON.parse(message.content ?? '')
      expect(finish_reason).toBe('stop')
      expect(['jackdaw', 'rook']).toContain(bird)
      expect([3, 4, 5, 6]).toContain(eggs)
      for (const one of seen) expect(typeof one).toBe('boolean')
    }
  })

  it('that its tokens cannot write is an error with one sentence, and no other answer suffers', async () => {
    const ask = (grammar: string) =>
      client.post('/completions', { body: { model: 'llama-json', prompt: 'a', max_tokens: 5, grammar } })
    const [failed, written] = await Promise.all([
      failure(ask('root ::= "A"')),
      ask('root ::= "ab" "c"?') as Promise<OpenAI.Completion>,
    ])
    expect(failed).toMatchObject({ status: 400 })
    expect(failed.message).toContain('no token of the model goes on as the grammar asks')
    expect(written.choices[0].text).toMatch(/^abc?$/)
  })
})

describe('a scored prompt (echo and logprobs)', () => {
  const request = { model: 'llama', prompt: 'HelloDarkBird', temperature: 0, max_tokens: 9, logprobs: 3 }

  it('has for each token the log-probability that generating it reports', async () => {
    const written = (await client.completions.create(request)).choices[0]
    const text = request.prompt + written.text
    const scored = (await client.completions.create({ ...request, prompt: text, echo: true, max_tokens: 0 })).choices[0]
    const { tokens, token_logprobs, top_logprobs, text_offset } = scored.logprobs!
    expect(scored.text).toBe(text)
    expect(tokens).toEqual([...text])
    expect(text_offset).toEqual([...text].map((_, index) => index))
    expect(token_logprobs![0]).toBeNull()
    expect(top_logprobs![0]).toBeNull()
    const generated = token_logprobs!.slice(request.prompt.length)
    for (const [index, logProb] of generated.entries()) {
      expect(logProb).toBeCloseTo(written.logprobs!.token_logprobs![index], 4)
    }
    // Greedy: each token written is the likeliest, which is how evaluations tell.
    for (const [index, top] of top_logprobs!.slice(request.prompt.length).entries()) {
      expect(Object.keys(top)[0]).toBe(written.text[index])
      expect(Object.keys(top)).toHaveLength(3)
    }
  })

  it('goes on into the answer that comes without it, streamed and whole', async () => {
    const plain = (await client.completions.create(request)).choices[0]
    const echoed = (await client.completions.create({ ...request, echo: true })).choices[0]
    const from = request.prompt.length
    expect(echoed.text).toBe(request.prompt + plain.text)
    expect(echoed.finish_reason).toBe(plain.finish_reason)
    expect(echoed.logprobs!.tokens!.slice(from)).toEqual(plain.logprobs!.tokens)
    expect(echoed.logprobs!.text_offset!.slice(from)).toEqual(plain.logprobs!.text_offset!.map((at) => at + from))
    let text = ''
    const logProbs: (number | null)[] = []
    for await (const { choices } of await client.completions.create({ ...request, echo: true, stream: true })) {
      text += choices[0].text
      logProbs.push(...(choices[0].logprobs?.token_logprobs ?? []))
    }
    expect(text).toBe(echoed.text)
    expect(logProbs).toEqual(echoed.logprobs!.token_logprobs)
  })

  it('is the same in a crowd of prompts as alone, and may fill the context', async () => {
    const { max_model_len: length } = (await client.models.retrieve('llama')) as unknown as { max_model_len: number }
    const prompts = ['A', 'Bird', 'CrowsAndJackdaws', 'abcdefghij'.repeat(length).slice(0, length)]
    const score = async (prompt: string | string[]) =>
      (await client.completions.create({ ...request, prompt, echo: true, max_tokens: 0 })).choices
    const together = await score(prompts)
    for (const [at, prompt] of prompts.entries()) {
      const [alone] = await score(prompt)
      expect(together[at].text).toBe(prompt)
      expect(alone.logprobs!.tokens).toHaveLength(prompt.length)
      for (const [index, logProb] of alone.logprobs!.token_logprobs!.entries()) {
        if (index === 0) expect(logProb).toBeNull()
        else expect(together[at].logprobs!.token_logprobs![index]).toBeCloseTo(logProb, 4)
      }
    }
    const more = await failure(score('a'.repeat(length + 1)))
    expect(more).toMatchObject({ status: 400, code: 'context_length_exceeded', param: 'prompt' })
  })
})

describe('an encoder-decoder (T5)', () => {
  const recorded = JSON.parse(readFileSync(new URL('../parity/t5-gated/generation.json', import.meta.url), 'utf8')) as {
    input_ids: number[]
    runs: { num_beams: number; eos_token_id: number | number[]; output_ids: number[] }[]
  }
  const source = textOf(recorded.input_ids)
  const user = (content: string) => [{ role: 'user' as const, content }]
  const request = { model: 't5-gated', prompt: source, temperature: 0, max_tokens: 11 }

  it('answers as the reference does, as text and as ids, as a completion and as a chat', async () => {
    const greedy = recorded.runs.find((run) => run.num_beams === 1)!
    const ends = [greedy.eos_token_id].flat()
    // Without the start token, and without what ended it there: here another token does.
    const expected = textOf(greedy.output_ids.slice(1).filter((id) => !ends.includes(id)))
    const { choices, usage } = await client.completions.create(request)
    expect(choices[0].text.startsWith(expected)).toBe(true)
    expect(expected.length).toBeGreaterThan(0)
    expect(usage).toMatchObject({ prompt_tokens: source.length })
    const ids = await client.completions.create({ ...request, prompt: recorded.input_ids })
    expect(ids.choices[0].text).toBe(choices[0].text)
    const { prompt: _, ...rest } = request
    const chat = await client.chat.completions.create({
      ...rest,
      messages: [{ role: 'system', content: 'Unread' }, ...user('Unread'), ...user(source)],
    })
    expect(chat.choices[0].message.content).toBe(choices[0].text)
  })

  it('streams what it answers whole; n answers differ, and repeat with a seed', async () => {
    const drawn = { ...request, temperature: 1.5, seed: 4, n: 3 }
    const whole = await client.completions.create(drawn)
    const texts = ['', '', '']
    for await (const { choices } of await client.completions.create({ ...drawn, stream: true })) {
      texts[choices[0].index] += choices[0].text
    }
    expect(texts).toEqual(whole.choices.map(({ text }) => text))
    expect(new Set(texts).size).toBeGreaterThan(1)
  })

  it('ends at a stop string and reports log-probabilities', async () => {
    const drawn = { ...request, temperature: 2, seed: 1, logprobs: 2, logit_bias: { '1': -100 } }
    const { text, logprobs } = (await client.completions.create(drawn)).choices[0]
    expect(logprobs!.tokens!.join('')).toBe(text)
    for (const logProb of logprobs!.token_logprobs!) expect(logProb).toBeLessThan(0)
    const stop = text[2]
    const stopped = (await client.completions.create({ ...drawn, stop })).choices[0]
    expect(stopped).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finish_reason: 'stop' })
  })

  it('answers many at once as each alone, and another after one whose reader left', async () => {
    const prompts = [source, 'Bird', 'CrowsAndJackdaws', 'Bird']
    const drawn = { ...request, temperature: 1.5, seed: 2 }
    const alone: string[] = []
    for (const prompt of prompts) alone.push((await client.completions.create({ ...drawn, prompt })).choices[0].text)
    const long = await client.completions.create({ ...drawn, max_tokens: 900, stream: true })
    for await (const _ of long) break
    const together = await Promise.all(prompts.map((prompt) => client.completions.create({ ...drawn, prompt })))
    expect(together.map(({ choices }) => choices[0].text)).toEqual(alone)
  })

  it('has room for an answer however long the text, and says when the text is too long', async () => {
    const whole = await client.completions.create({ ...request, prompt: 'a'.repeat(2048), max_tokens: 2 })
    expect(whole.usage?.completion_tokens).toBe(2)
    const errors = await Promise.all([
      failure(client.completions.create({ ...request, prompt: 'a'.repeat(2049) })),
      failure(
        client.chat.completions.create({
          model: 't5',
          messages: user('a'.repeat(2049)),
          ...{ truncation: 'auto' },
        }),
      ),
    ])
    for (const error of errors) expect(error).toMatchObject({ status: 400, code: 'context_length_exceeded' })
  })

  it('refuses in one sentence to score a prompt, which it reads all at once', async () => {
    const error = await failure(client.completions.create({ ...request, echo: true, logprobs: 1 }))
    expect(error).toMatchObject({ status: 400, param: 'echo' })
    expect((await client.completions.create({ ...request, echo: true })).choices[0].text).toMatch(`${source}`)
  })

  it('embeds a text as the mean of its encoder’s states, which tell texts apart', async () => {
    const embed = async (input: string[]) =>
      (await client.embeddings.create({ model: 't5', input, encoding_format: 'float' })).data.map(
        (item) => item.embedding,
      )
    const [bird, other] = await embed(['Bird', 'Shine'])
    expect(Math.hypot(...bird)).toBeCloseTo(1, 5)
    expect(other).not.toEqual(bird)
    expect((await embed(['Bird']))[0]).toEqual(bird)
  })

  it('is said to be one by the status', async () => {
    const status = (await (await fetch(`${server.url}/api/status`)).json()) as { models: object[] }
    expect(status.models).toMatchObject([
      { id: 'llama', canChat: false, singleTurn: false },
      { id: 't5', canChat: true, singleTurn: true, contextLength: 2048 },
      { id: 't5-gated', canChat: true, singleTurn: true },
    ])
  })
})

describe('a server that is to be deterministic', () => {
  const collect = async (model: ServedModel, promptIds: number[]) => {
    const told: unknown[] = []
    for await (const event of model.generate({ promptIds, maxNewTokens: 12, temperature: 0, topLogProbs: 3 })) {
      if (event.type !== 'end') told.push(event)
    }
    return told
  }

  it('gives a prompt one answer, with the same log-probabilities to the last bit', async () => {
    const model = await loadServedModel(checkpoint('llama'), { deterministic: true, slots: 3 })
    expect([model.slots, model.contextLength]).toEqual([4, 63])
    const ids = [7, 1, 30, 12, 8, 8, 41]
    const first = await collect(model, ids)
    expect(await collect(model, ids)).toEqual(first)
    const crowd = await Promise.all([ids, [3, 4], ids, [9], [...ids, 5]].map((prompt) => collect(model, prompt)))
    expect(crowd[0]).toEqual(first)
    expect(crowd[2]).toEqual(first)
  })

  it('answers one text at a time where the model has an encoder', async () => {
    const model = await loadServedModel(checkpoint('t5'), { deterministic: true })
    expect(model.slots).toBe(1)
    const texts = [[1, 2, 3], [9, 8, 7, 6, 5, 4], [40]]
    const alone: unknown[] = []
    for (const text of texts) alone.push(await collect(model, text))
    expect(await Promise.all(texts.map((text) => collect(model, text)))).toEqual(alone)
  })
})
