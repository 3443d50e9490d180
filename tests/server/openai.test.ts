import { setMaxListeners } from 'node:events'
import OpenAI, { BadRequestError, NotFoundError, RateLimitError } from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, failure, noStore, until } from './support.ts'

/** OpenAI's own client against a real server. */

const model = new MockModel({ id: 'owner/mock' })
const base = new MockModel({ id: 'base', canChat: false, canEmbed: false })
const slow = new MockModel({ id: 'slow', delayMs: 15, length: 500 })
const broken = new MockModel({ id: 'broken', failAfter: 3 })
const tight = new MockModel({ id: 'tight', contextLength: 40, length: 1_000 })
const log = captureLogger()
let server: RunningServer
let client: OpenAI

beforeAll(async () => {
  server = await listen({
    models: [model, base, slow, broken, tight],
    store: noStore(),
    logger: log.logger,
    host: '127.0.0.1',
    port: 0,
    limits: { maxRequestsPerClient: 100 },
  })
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
afterAll(() => server.close())

const user = (content: string) => [{ role: 'user' as const, content }]
const ask = { model: 'owner/mock', messages: user('Hello'), seed: 1 }

describe('models', () => {
  it('are listed, default first, and found by ids with slashes', async () => {
    const ids: string[] = []
    for await (const { id } of client.models.list()) ids.push(id)
    expect(ids).toEqual(['owner/mock', 'base', 'slow', 'broken', 'tight'])
    expect(await client.models.retrieve('owner/mock')).toMatchObject({ object: 'model', created: 1_700_000_000 })
  })

  it('that are not there are a 404 with code model_not_found', async () => {
    for (const call of [client.models.retrieve('nope'), client.chat.completions.create({ ...ask, model: 'nope' })]) {
      const error = await failure(call)
      expect(error).toBeInstanceOf(NotFoundError)
      expect(error).toMatchObject({ code: 'model_not_found', param: 'model', type: 'not_found_error' })
    }
  })
})

describe('chat completions', () => {
  it('are the same streamed and whole, with the same usage', async () => {
    const whole = await client.chat.completions.create({ ...ask, n: 2 })
    const texts = ['', '']
    const reasons: (string | null)[] = []
    let usage: OpenAI.CompletionUsage | null | undefined
    const stream = await client.chat.completions.create({
      ...ask,
      n: 2,
      stream: true,
      stream_options: { include_usage: true },
    })
    for await (const chunk of stream) {
      expect(chunk.object).toBe('chat.completion.chunk')
      for (const { index, delta, finish_reason } of chunk.choices) {
        texts[index] += delta.content ?? ''
        if (finish_reason) reasons[index] = finish_reason
      }
      if (chunk.usage) {
        expect(chunk.choices).toEqual([])
        usage = chunk.usage
      }
    }
    expect(texts).toEqual(whole.choices.map(({ message }) => message.content))
    expect(texts[0]).not.toBe(texts[1])
    expect(reasons).toEqual(['stop', 'stop'])
    expect(usage).toMatchObject({ prompt_tokens: 23, completion_tokens: 24, total_tokens: 47 })
    expect(whole.usage).toMatchObject({ prompt_tokens: 23, completion_tokens: 24, total_tokens: 47 })
    // All but the last token of the same prompt were computed before.
    expect(usage?.prompt_tokens_details?.cached_tokens).toBe(22)
    expect(whole).toMatchObject({
      object: 'chat.completion',
      model: 'owner/mock',
      system_fingerprint: expect.stringMatching(/^jackdaw-\d/),
    })
  })

  it('repeat with a seed, and differ with another', async () => {
    const once = async (seed: number) =>
      (await client.chat.completions.create({ ...ask, seed })).choices[0].message.content
    expect(await once(5)).toBe(await once(5))
    expect(await once(5)).not.toBe(await once(6))
  })

  it('end at a stop string without it, and at max_completion_tokens with finish_reason length', async () => {
    const { choices } = await client.chat.completions.create(ask)
    const text = choices[0].message.content!
    const stop = text.slice(20, 24)
    for (const given of [stop, ['never', stop]]) {
      const stopped = await client.chat.completions.create({ ...ask, stop: given })
      expect(stopped.choices[0]).toMatchObject({
        message: { role: 'assistant', content: text.slice(0, text.indexOf(stop)), refusal: null },
        finish_reason: 'stop',
      })
    }
    const short = await client.chat.completions.create({ ...ask, max_completion_tokens: 3 })
    expect(short.choices[0].finish_reason).toBe('length')
    expect(short.usage?.completion_tokens).toBe(3)
  })

  it('pass every sampling option to the engine under its own name', async () => {
    await client.chat.completions.create({
      ...ask,
      temperature: 0.5,
      top_p: 0.9,
      presence_penalty: 0.1,
      frequency_penalty: -0.2,
      logit_bias: { '65': -100 },
      max_tokens: 7,
      ...{ top_k: 40, min_p: 0.05, repetition_penalty: 1.1 },
    })
    expect(model.requests.at(-1)).toMatchObject({
      temperature: 0.5,
      topP: 0.9,
      topK: 40,
      minP: 0.05,
      repetitionPenalty: 1.1,
      presencePenalty: 0.1,
      frequencyPenalty: -0.2,
      logitBias: { 65: -100 },
      maxNewTokens: 7,
      seed: 1,
    })
  })

  it('take other servers’ names, and what the chat template is to be told', async () => {
    const more = {
      repeat_penalty: 1.2,
      min_tokens: 3,
      stop_token_ids: [65, 66],
      max_tokens: -1,
      chat_template_kwargs: { enable_thinking: false, style: 'brief' },
      // These ask for nothing.
      tools: [],
      typical_p: 1,
      mirostat_mode: 0,
      ignore_eos: false,
      response_format: { type: 'text' },
    }
    await client.post('/chat/completions', { body: { ...ask, ...more } })
    expect(model.requests.at(-1)).toMatchObject({ repetitionPenalty: 1.2, minNewTokens: 3, stopTokenIds: [65, 66] })
    expect(model.variables.at(-1)).toEqual({ enable_thinking: false, style: 'brief' })
    expect(model.requests.at(-1)!.maxNewTokens).toBe(model.contextLength - model.requests.at(-1)!.promptIds.length)
  })

  it('leave alone what they do not know', async () => {
    const more = { session_id: 'x', temperatur: 1, cache_prompt: true, user: 7, metadata: { a: 1 } }
    const whole = await client.chat.completions.create(ask)
    const { choices } = (await client.post('/chat/completions', { body: { ...ask, ...more } })) as typeof whole
    expect(choices).toEqual(whole.choices)
  })

  it('take content in parts, and developer as system', async () => {
    await client.chat.completions.create({
      model: 'owner/mock',
      messages: [
        {
          role: 'developer',
          content: [
            { type: 'text', text: 'Be' },
            { type: 'text', text: ' brief.' },
          ],
        },
        { role: 'user', content: [{ type: 'text', text: 'Hi' }] },
      ],
    })
    expect(model.decode(model.requests.at(-1)!.promptIds)).toBe('<system>Be brief.\n<user>Hi\n<assistant>')
  })

  it('report log-probabilities per token, the same streamed and whole', async () => {
    const request = { ...ask, logprobs: true, top_logprobs: 2, max_tokens: 4 }
    const whole = (await client.chat.completions.create(request)).choices[0]
    expect(whole.logprobs?.content).toHaveLength(4)
    const first = whole.logprobs!.content![0]
    expect(whole.message.content!.startsWith(first.token)).toBe(true)
    expect(Buffer.from(first.bytes!).toString()).toBe(first.token)
    expect(first.top_logprobs.map(({ logprob }) => logprob)).toEqual([-0.25, -0.5])
    const streamed: unknown[] = []
    for await (const { choices } of await client.chat.completions.create({ ...request, stream: true })) {
      streamed.push(...(choices[0].logprobs?.content ?? []))
    }
    expect(streamed).toEqual(whole.logprobs?.content)
  })

  it('of a base model go on with the last user message, and the answer begun to it', async () => {
    await client.chat.completions.create({
      model: 'base',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Hello.' },
        { role: 'assistant', content: 'Hi.' },
        { role: 'user', content: 'Once upon' },
        { role: 'assistant', content: ' a time' },
      ],
    })
    expect(base.decode(base.requests.at(-1)!.promptIds)).toBe('Once upon a time')
  })

  it('fill what the context still holds, and refuse a prompt that leaves no room', async () => {
    const { usage, choices } = await client.chat.completions.create({ model: 'tight', messages: user('Hello') })
    expect(usage?.total_tokens).toBe(40)
    expect(choices[0].finish_reason).toBe('length')
    const error = await failure(client.chat.completions.create({ model: 'tight', messages: user('long '.repeat(10)) }))
    expect(error).toBeInstanceOf(BadRequestError)
    expect(error).toMatchObject({ code: 'context_length_exceeded', param: 'messages' })
    expect(error.message).toContain('40 tokens')
  })

  it('leave the oldest exchanges out where asked to, and refuse a conversation that is too long where not', async () => {
    const messages = [...user('Hello'), { role: 'assistant' as const, content: 'It is long' }, ...user('And now')]
    const ask = (truncation?: string) => client.chat.completions.create({ model: 'tight', messages, ...{ truncation } })
    for (const truncation of [undefined, 'disabled']) {
      expect(await failure(ask(truncation))).toMatchObject({ code: 'context_length_exceeded', param: 'messages' })
    }
    await ask('auto')
    expect(tight.decode(tight.requests.at(-1)!.promptIds)).toBe('<user>And now\n<assistant>')
    expect(await failure(ask('some'))).toMatchObject({ status: 400, param: 'truncation' })
  })
})

describe('bad requests', () => {
  it.each([
    [{ temperature: 3 }, 'temperature'],
    [{ temperature: 'hot' }, 'temperature'],
    [{ messages: [] }, 'messages'],
    [
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }] },
      'messages.0.content.0.type',
    ],
    [{ messages: [{ role: 'king', content: 'x' }] }, 'messages.0.role'],
    [{ messages: [...user('a'), ...user('b')] }, 'messages'],
    [{ top_logprobs: 2 }, 'top_logprobs'],
    [{ logit_bias: { '99999': 1 } }, 'logit_bias'],
    [{ logit_bias: { word: 1 } }, 'logit_bias.word'],
    [{ tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools'],
    [{ response_format: { type: 'json' } }, 'response_format.type'],
    [{ functions: [{ name: 'f' }] }, 'functions'],
    [{ guided_json: 7 }, 'guided_json'],
    [{ mirostat: 2 }, 'mirostat'],
    [{ ignore_eos: true }, 'ignore_eos'],
    [{ stop_token_ids: [999_999] }, 'stop_token_ids'],
    [{ chat_template_kwargs: { messages: 'mine' } }, 'chat_template_kwargs.messages'],
    [{ chat_template_kwargs: { documents: [{}] } }, 'chat_template_kwargs.documents'],
    [{ chat_template: '{{ messages }}' }, 'chat_template'],
    [{ max_tokens: -2 }, 'max_tokens'],
    [{ n: 0 }, 'n'],
    [{ stop: '' }, 'stop'],
    [{ max_tokens: 0 }, 'max_tokens'],
  ])('%j is a 400 that names %s', async (change, param) => {
    const error = await failure(client.post('/chat/completions', { body: { ...ask, ...change } }))
    expect(error).toMatchObject({ status: 400, param, type: 'invalid_request_error' })
  })
})

describe('completions', () => {
  const request = { model: 'owner/mock', prompt: 'Once', seed: 3 }

  it('answer every prompt of a batch n times, in order, as they answer each alone', async () => {
    const prompts = ['Once', 'Twice', 'Thrice']
    const { choices } = await client.completions.create({ ...request, prompt: prompts, n: 2 })
    expect(choices.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5])
    for (const [at, prompt] of prompts.entries()) {
      const alone = await client.completions.create({ ...request, prompt, n: 2 })
      expect(choices.slice(2 * at, 2 * at + 2).map(({ text }) => text)).toEqual(alone.choices.map(({ text }) => text))
    }
  })

  it('are the same for a prompt as text and as token ids, streamed and whole', async () => {
    const ids = model.encode('Once')
    const text = (await client.completions.create(request)).choices[0].text
    for (const prompt of [ids, [ids]]) {
      expect((await client.completions.create({ ...request, prompt })).choices[0].text).toBe(text)
    }
    let streamed = ''
    for await (const { choices } of await client.completions.create({ ...request, prompt: ids, stream: true })) {
      streamed += choices[0].text
    }
    expect(streamed).toBe(text)
  })

  it('echo the prompt, also alone', async () => {
    const { text } = (await client.completions.create(request)).choices[0]
    expect((await client.completions.create({ ...request, echo: true })).choices[0].text).toBe(`Once${text}`)
    const alone = await client.completions.create({
      ...request,
      prompt: model.encode('Once'),
      echo: true,
      max_tokens: 0,
    })
    expect(alone.choices[0]).toMatchObject({ text: 'Once', finish_reason: 'length' })
    expect(alone.usage?.completion_tokens).toBe(0)
  })

  it('report log-probabilities with offsets that lead to their tokens', async () => {
    const { text, logprobs } = (await client.completions.create({ ...request, logprobs: 3, max_tokens: 5 })).choices[0]
    expect(logprobs?.tokens).toHaveLength(5)
    for (const [index, token] of logprobs!.tokens!.entries()) {
      expect(text.startsWith(token, logprobs!.text_offset![index])).toBe(true)
      expect(Object.keys(logprobs!.top_logprobs![index])).toHaveLength(3)
    }
  })

  it.each([
    [{ prompt: [999_999] }, 'prompt'],
    [{ prompt: [] }, 'prompt'],
    [{ prompt: '' }, 'prompt'],
    [{ prompt: ['a', [1]] }, 'prompt'],
    [{ best_of: 3 }, 'best_of'],
    [{ suffix: 'end' }, 'suffix'],
  ])('with %j are a 400 that names %s', async (change, param) => {
    expect(await failure(client.post('/completions', { body: { ...request, ...change } }))).toMatchObject({
      status: 400,
      param,
    })
  })
})

describe('embeddings', () => {
  it('are the same vectors for text and ids, one and many, float and base64', async () => {
    const embed = async (input: OpenAI.EmbeddingCreateParams['input'], encoding_format?: 'float' | 'base64') =>
      (await client.embeddings.create({ model: 'owner/mock', input, encoding_format })).data.map(
        (item) => item.embedding,
      )
    const [jackdaw] = await embed('jackdaw', 'float')
    expect(Math.hypot(...jackdaw)).toBeCloseTo(1, 6)
    // Left to itself the client asks for base64, and decodes it.
    expect(await embed('jackdaw')).toEqual([jackdaw])
    expect(await embed(['crow', 'jackdaw'], 'float')).toHaveLength(2)
    expect((await embed(['crow', 'jackdaw']))[1]).toEqual(jackdaw)
    expect((await embed([model.encode('crow'), model.encode('jackdaw')]))[1]).toEqual(jackdaw)
    expect(await embed(model.encode('jackdaw'))).toEqual([jackdaw])
    const { usage } = await client.embeddings.create({ model: 'owner/mock', input: ['crow', 'jackdaw'] })
    expect(usage).toEqual({ prompt_tokens: 11, total_tokens: 11 })
  })

  it('of a model that makes none, of nothing and of too much are refused', async () => {
    const embed = (model: string, input: string) => failure(client.embeddings.create({ model, input }))
    expect(await embed('base', 'x')).toMatchObject({ status: 400, param: 'model' })
    expect(await embed('owner/mock', '')).toMatchObject({ status: 400, param: 'input' })
    expect(await embed('tight', 'x'.repeat(41))).toMatchObject({ status: 400, code: 'context_length_exceeded' })
  })
})

describe('failures', () => {
  it('of the engine are a 500 without its words, or an error within the stream, and are logged', async () => {
    const request = { ...ask, model: 'broken' }
    log.errors.length = 0
    const error = await failure(client.chat.completions.create(request))
    expect(error).toMatchObject({ status: 500, type: 'server_error' })
    expect(error.message).not.toContain('mock')
    const stream = await client.chat.completions.create({ ...request, stream: true })
    let text = ''
    await expect(
      (async () => {
        for await (const { choices } of stream) text += choices[0].delta.content ?? ''
      })(),
    ).rejects.toThrow('failed to answer')
    expect(text.split(' ')).toHaveLength(4)
    expect(log.errors).toHaveLength(2)
  })

  it.each([true, false])('of the reader to stay end the answer within a token (stream: %s)', async (stream) => {
    const abort = new AbortController()
    const before = slow.requests.length
    const call = client.chat.completions.create({ ...ask, model: 'slow', stream }, { signal: abort.signal })
    const reading = (async () => {
      const answer = await call
      if (Symbol.asyncIterator in answer) for await (const _ of answer);
    })().catch(() => {})
    await until(() => slow.requests.length > before && slow.running === 1)
    await new Promise((resolve) => setTimeout(resolve, 60))
    abort.abort()
    await until(() => slow.running === 0)
    await reading
    expect(slow.tokensAfterAbort).toBeLessThanOrEqual(1)
    const status = await (await fetch(`${server.url}/api/status`)).json()
    expect(status.models.map(({ activeRequests }: { activeRequests: number }) => activeRequests)).toEqual([
      0, 0, 0, 0, 0,
    ])
  })

  it('of the queue to take more are a 429, until there is room again', async () => {
    const abort = new AbortController()
    setMaxListeners(0, abort.signal)
    const start = () =>
      client.chat.completions.create({ ...ask, model: 'slow', stream: true }, { signal: abort.signal })
    const streams = await Promise.all(Array.from({ length: 64 }, start))
    const error = await failure(client.chat.completions.create({ ...ask, model: 'slow' }))
    expect(error).toBeInstanceOf(RateLimitError)
    expect(error).toMatchObject({ code: 'rate_limit_exceeded' })
    expect(error.headers?.get('retry-after')).toBe('1')
    expect((await client.chat.completions.create(ask)).choices).toHaveLength(1)
    for (const stream of streams) stream.controller.abort()
    await until(() => slow.running === 0)
    expect((await client.chat.completions.create({ ...ask, model: 'slow', max_tokens: 1 })).choices).toHaveLength(1)
  })
})
