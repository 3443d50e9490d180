import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { HumanMessage, ToolMessage } from '@langchain/core/messages'
import { tool as langchainTool } from '@langchain/core/tools'
import { ChatOpenAI } from '@langchain/openai'
import { generateObject, generateText, stepCountIs, streamText, tool } from 'ai'
import OpenAI from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import type { Tool } from '../../src/agent/toolset.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { GuidedModel, type Told } from './guided-model.ts'
import { captureLogger, failure, noStore } from './support.ts'

/** Tools and forms of answers, by the clients that people use, against a real server. */

const call = (name: string, args: object): string =>
  `<tool_call>{"name": "${name}", "arguments": ${JSON.stringify(args)}}</tool_call>`

function script({ messages }: Told): string {
  const last = messages.at(-1)
  if (last?.role === 'tool') return `It is ${last.content} there.`
  const asked = last?.content ?? ''
  if (asked.includes('both'))
    return `I look.\n${call('weather', { city: 'Paris' })}\n${call('weather', { city: 'Łódź' })}`
  if (asked.includes('weather')) return call('weather', { city: 'Paris' })
  if (asked.includes('person')) return '{"name": "Ada", "age": 36, "nickname": null}'
  return 'Hello there.'
}

/** Looks birds up until it has seen enough, if it ever has. */
const bird: Tool = {
  spec: {
    name: 'bird',
    description: 'A bird',
    parameters: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
  },
  run: (args) => `${(args as { name: string }).name} is a small crow`,
}
const rounds = (told: Told): number => told.messages.filter(({ role }) => role === 'tool').length
const own = new GuidedModel(
  'own',
  (told) => {
    const asked = told.messages.findLast(({ role }) => role === 'user')?.content ?? ''
    if (asked.includes('for ever')) return call('bird', { name: `jackdaw ${rounds(told)}` })
    if (!asked.includes('jackdaw')) return 'No bird.'
    return rounds(told) === 0
      ? `Let me see. ${call('bird', { name: 'jackdaw' })}`
      : `So: ${told.messages.at(-1)?.content}.`
  },
  { tools: [bird], examples: ['What is a jackdaw?'] },
)
const model = new GuidedModel('guided', script)
const mistral = new GuidedModel(
  'mistral',
  () =>
    '[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Paris"}}, {"name": "weather", "arguments": {"city": "Rome"}}]',
  undefined,
  '{{ tools }}[TOOL_CALLS]',
)
const llama = new GuidedModel(
  'llama',
  () => '{"name": "weather", "parameters": {"city": "Paris"}}',
  undefined,
  '{{ tools }}<|python_tag|>',
)

const log = captureLogger()
let server: RunningServer
let client: OpenAI
let baseURL: string

beforeAll(async () => {
  const models = [model, own, mistral, llama]
  server = await listen({ models, store: noStore(), logger: log.logger, host: '127.0.0.1', port: 0 })
  baseURL = `${server.url}/v1`
  client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await server?.close()
  expect(log.errors).toEqual([])
})

const user = (content: string) => [{ role: 'user' as const, content }]
const weather = {
  type: 'function' as const,
  function: {
    name: 'weather',
    description: 'The weather of a city',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
  },
}
const clock = {
  type: 'function' as const,
  function: {
    name: 'clock',
    parameters: {
      type: 'object',
      properties: { hour: { type: 'integer', minimum: 3, maximum: 9 } },
      required: ['hour'],
    },
  },
}
const ask = { model: 'guided', messages: user('How is the weather?'), tools: [weather, clock] }

describe('calls of tools', () => {
  it('come whole, and their results are answered', async () => {
    const first = await client.chat.completions.create(ask)
    const [{ message, finish_reason }] = first.choices
    expect(finish_reason).toBe('tool_calls')
    expect(message.content).toBeNull()
    expect(message.tool_calls).toEqual([
      {
        id: expect.stringMatching(/^call_/),
        type: 'function',
        function: { name: 'weather', arguments: '{"city":"Paris"}' },
      },
    ])
    expect(model.told.at(-1)?.tools.map(({ name }) => name)).toEqual(['weather', 'clock'])
    const result = { role: 'tool' as const, tool_call_id: message.tool_calls?.[0].id ?? '', content: 'mild' }
    const second = await client.chat.completions.create({ ...ask, messages: [...ask.messages, message, result] })
    expect(second.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: 'It is mild there.' } })
    expect(second.choices[0].message).not.toHaveProperty('tool_calls')
    expect(model.told.at(-1)?.messages[1].toolCalls?.[0].arguments).toBe('{"city":"Paris"}')
  })

  it.each(['guided', 'mistral', 'llama'])('stream as pieces that add up to what comes whole: %s', async (id) => {
    const asked = { ...ask, model: id, messages: user('The weather of both?') }
    const whole = (await client.chat.completions.create(asked)).choices[0]
    const stream = client.chat.completions.stream(asked)
    const pieces: string[] = []
    for await (const { choices } of stream) {
      for (const delta of choices[0].delta.tool_calls ?? []) pieces.push(delta.function?.arguments ?? '')
    }
    const streamed = (await stream.finalChatCompletion()).choices[0]
    expect(streamed.finish_reason).toBe('tool_calls')
    expect(streamed.message.content || null).toBe(whole.message.content)
    const calls = (choice: typeof whole) =>
      choice.message.tool_calls?.map((one) => (one as { function: object }).function)
    expect(calls(streamed)).toMatchObject(calls(whole) as object[])
    expect(calls(whole)?.length).toBe(id === 'llama' ? 1 : 2)
    expect(pieces.length).toBeGreaterThan(5)
  })

  it('are required, named, single or none, as it is asked', async () => {
    const calls = async (more: object): Promise<unknown[]> => {
      const { choices } = await client.chat.completions.create({ ...ask, ...more })
      return (choices[0].message.tool_calls ?? []).map((one) => (one as { function: { name: string } }).function.name)
    }
    const hello = { messages: user('Hello') }
    expect(await calls(hello)).toEqual([])
    expect(await calls({ ...hello, tool_choice: 'required' })).toHaveLength(1)
    const named = await client.chat.completions.create({
      ...ask,
      ...hello,
      tool_choice: { type: 'function', function: { name: 'clock' } },
    })
    const said = named.choices[0].message.tool_calls?.[0] as { function: { arguments: string } }
    expect(JSON.parse(said.function.arguments).hour).toBeGreaterThanOrEqual(3)
    const both = { messages: user('The weather of both?') }
    expect(await calls(both)).toEqual(['weather', 'weather'])
    expect(await calls({ ...both, parallel_tool_calls: false })).toEqual(['weather'])
    expect(await calls({ tool_choice: 'none' })).toEqual([])
  })

  it('keep to what there is: a call of no tool cannot be written', async () => {
    const { choices } = await client.chat.completions.create({ ...ask, tools: [clock] })
    expect(choices[0].message.tool_calls).toMatchObject([{ function: { name: 'clock' } }])
  })

  const refused: [object, string][] = [
    [{ tools: [weather, weather] }, 'tools.1.function.name'],
    [{ tools: [{ type: 'function', function: { name: 'a b' } }] }, 'tools.0.function.name'],
    [{ tools: [{ type: 'web_search' }] }, 'tools.0.type'],
    [{ tool_choice: { type: 'function', function: { name: 'none' } } }, 'tool_choice'],
    [{ tools: undefined, tool_choice: 'required' }, 'tool_choice'],
    [{ tool_choice: 'often' }, 'tool_choice'],
    [{ messages: [...user('x'), { role: 'tool', tool_call_id: 'call_1', content: 'y' }] }, 'messages.1'],
    [{ messages: [...user('x'), { role: 'tool', content: 'y' }] }, 'messages.1.tool_call_id'],
    [
      {
        messages: [
          ...user('x'),
          {
            role: 'assistant',
            tool_calls: [{ id: 'a', type: 'function', function: { name: 'clock', arguments: '{}' } }],
          },
          ...user('z'),
        ],
      },
      'messages.2',
    ],
    [
      {
        tool_choice: 'required',
        tools: [{ type: 'function', function: { name: 'f', parameters: { patternProperties: {} } } }],
      },
      'tools',
    ],
    [
      { tools: undefined, response_format: { type: 'json_schema', json_schema: { name: 'a', schema: { not: {} } } } },
      'response_format.json_schema.schema',
    ],
    [{ tools: undefined, grammar: 'root ::= "a' }, 'grammar'],
    [{ tools: undefined, guided_json: {}, response_format: { type: 'json_object' } }, 'guided_json'],
  ]
  it.each(refused)('%j is a 400 that names %s', async (change, param) => {
    const error = await failure(client.post('/chat/completions', { body: { ...ask, ...change } }))
    expect(error).toMatchObject({ status: 400, param, type: 'invalid_request_error' })
  })
})

describe('answers in a form', () => {
  const Person = z.object({ name: z.string(), age: z.number().int().min(0), nickname: z.string().nullable() })

  it('OpenAI’s client parses what zod describes', async () => {
    const format = { model: 'guided', response_format: zodResponseFormat(Person, 'person') }
    const told = await client.chat.completions.parse({ ...format, messages: user('Make up a person.') })
    expect(told.choices[0].message.parsed).toEqual({ name: 'Ada', age: 36, nickname: null })
    const forced = await client.chat.completions.parse({ ...format, messages: user('Hello') })
    expect(Person.safeParse(forced.choices[0].message.parsed).success).toBe(true)
  })

  it.each([
    ['any object', { response_format: { type: 'json_object' } }, /^\{.*\}$/],
    ['a grammar', { grammar: 'root ::= "Yes" | "No, " [a-z]{3} "."' }, /^(Yes|No, [a-z]{3}\.)$/],
    ['a pattern', { guided_regex: '\\d{3}-[ab]+' }, /^\d{3}-[ab]+$/],
    ['one of several', { guided_choice: ['positive', 'negative'] }, /^(positive|negative)$/],
    ['a schema, as vLLM has it', { structured_outputs: { json: { type: 'boolean' } } }, /^(true|false)$/],
  ])('%s', async (_, form, expected) => {
    const body = { model: 'guided', messages: user('Hello'), ...form }
    const { choices } = (await client.post('/chat/completions', { body })) as OpenAI.ChatCompletion
    expect(choices[0].message.content).toMatch(expected)
    expect(choices[0].finish_reason).toBe('stop')
  })
})

describe('a model with tools of its own', () => {
  const jackdaw = { model: 'own', messages: user('What is a jackdaw?') }

  it('calls them on the server, and answers in words', async () => {
    const { choices, usage } = await client.chat.completions.create(jackdaw)
    expect(choices[0]).toMatchObject({
      finish_reason: 'stop',
      message: {
        content: 'Let me see. So: jackdaw is a small crow.',
        jackdaw_tool_calls: [{ name: 'bird', arguments: '{"name":"jackdaw"}', result: 'jackdaw is a small crow' }],
      },
    })
    expect(own.told.at(-1)?.messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'tool'])
    expect(own.told.at(-1)?.tools).toEqual([])
    const [asked, answered] = own.requests.slice(-2)
    expect(usage?.prompt_tokens).toBe(asked.promptIds.length + answered.promptIds.length)
  })

  it('streams the words, and the calls beside them', async () => {
    let text = ''
    const calls: unknown[] = []
    for await (const { choices } of await client.chat.completions.create({ ...jackdaw, stream: true })) {
      text += choices[0].delta.content ?? ''
      calls.push(...((choices[0].delta as { jackdaw_tool_calls?: unknown[] }).jackdaw_tool_calls ?? []))
    }
    expect(text).toBe('Let me see. So: jackdaw is a small crow.')
    expect(calls).toHaveLength(1)
  })

  it('does not call for ever', async () => {
    const { choices } = await client.chat.completions.create({
      model: 'own',
      messages: user('Look for ever'),
      max_tokens: 2_000,
    })
    expect((choices[0].message as unknown as { jackdaw_tool_calls: unknown[] }).jackdaw_tool_calls).toHaveLength(4)
    expect(choices[0].message.content).not.toContain('<tool_call>')
  })

  it('leaves the tools of who asks to who asks', async () => {
    const { choices } = await client.chat.completions.create({ ...jackdaw, tools: [weather], tool_choice: 'required' })
    expect(choices[0].finish_reason).toBe('tool_calls')
    expect(choices[0].message).not.toHaveProperty('jackdaw_tool_calls')
  })

  it('says what it can be asked', async () => {
    const { models } = (await (await fetch(`${server.url}/api/status`)).json()) as { models: { examples: string[] }[] }
    expect(models.map(({ examples }) => examples)).toEqual([[], ['What is a jackdaw?'], [], []])
  })
})

describe('the AI SDK', () => {
  const guided = () => createOpenAICompatible({ name: 'jackdaw', baseURL, supportsStructuredOutputs: true })('guided')
  const tools = {
    weather: tool({
      description: 'The weather',
      inputSchema: z.object({ city: z.string() }),
      execute: async ({ city }) => `mild in ${city}`,
    }),
  }

  it('generates objects', async () => {
    const { object } = await generateObject({
      model: guided(),
      schema: z.object({ name: z.string(), age: z.int(), nickname: z.string().nullable() }),
      prompt: 'Make up a person.',
    })
    expect(object).toEqual({ name: 'Ada', age: 36, nickname: null })
  })

  it('calls tools and goes on, whole and streamed', async () => {
    const asked = { model: guided(), tools, prompt: 'How is the weather?', stopWhen: stepCountIs(3) }
    const { text, steps } = await generateText(asked)
    expect(text).toBe('It is "mild in Paris" there.'.replaceAll('"', ''))
    expect(steps[0].toolCalls).toMatchObject([{ toolName: 'weather', input: { city: 'Paris' } }])
    expect(await streamText(asked).text).toBe(text)
  })
})

describe('LangChain', () => {
  const chat = () => new ChatOpenAI({ model: 'guided', apiKey: 'none', maxRetries: 0, configuration: { baseURL } })

  it('binds tools', async () => {
    const weather = langchainTool(async ({ city }: { city: string }) => `mild in ${city}`, {
      name: 'weather',
      description: 'The weather',
      schema: z.object({ city: z.string() }),
    })
    const asked = new HumanMessage('How is the weather?')
    const first = await chat().bindTools([weather]).invoke([asked])
    expect(first.tool_calls).toMatchObject([{ name: 'weather', args: { city: 'Paris' } }])
    const result = new ToolMessage({ content: 'mild', tool_call_id: first.tool_calls?.[0].id ?? '' })
    expect((await chat().bindTools([weather]).invoke([asked, first, result])).content).toBe('It is mild there.')
  })

  it.each(['functionCalling', 'jsonSchema'] as const)('gives structured output by %s', async (method) => {
    const Person = z.object({ name: z.string(), age: z.number() })
    const person = await chat().withStructuredOutput(Person, { name: 'person', method }).invoke('Make up a person.')
    expect(Person.safeParse(person).success).toBe(true)
  })
})
