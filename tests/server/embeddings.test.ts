import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadServedModel } from '../../src/generate/served.ts'
import { listen, type RunningServer } from '../../src/server/listen.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, failure, noStore } from './support.ts'

/** OpenAI's client against a server that has an encoder beside a model that chats. */

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-embeddings-'))
const log = captureLogger()
let server: RunningServer
let client: OpenAI

function tinyEncoder(): string {
  const path = join(folder, 'encoder')
  cpSync(fileURLToPath(new URL('../parity/bert-encoder', import.meta.url)), path, { recursive: true })
  const words = Array.from({ length: 42 }, (_, i) => `w${i}`)
  writeFileSync(join(path, 'vocab.txt'), ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', ...words].join('\n'))
  return path
}

beforeAll(async () => {
  const models = [await loadServedModel(tinyEncoder()), new MockModel({ id: 'chat' })]
  server = await listen({ models, store: noStore(), logger: log.logger, host: '127.0.0.1', port: 0 })
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 })
})
afterAll(async () => {
  await server?.close()
  rmSync(folder, { recursive: true, force: true })
  expect(log.errors).toEqual([])
})

const embed = async (input: OpenAI.EmbeddingCreateParams['input'], encoding_format?: 'float' | 'base64') =>
  client.embeddings.create({ model: 'encoder', input, encoding_format })

describe('an encoder', () => {
  it('embeds a text, several, and ids, as numbers and as base64', async () => {
    const one = await embed('w1 w2 w3', 'float')
    expect(one).toMatchObject({ object: 'list', model: 'encoder', usage: { prompt_tokens: 5, total_tokens: 5 } })
    const [{ embedding, index, object }] = one.data
    expect([index, object, embedding.length]).toEqual([0, 'embedding', 12])
    expect(Math.hypot(...embedding)).toBeCloseTo(1, 5)
    const several = await embed(['w7', 'w1 w2 w3', 'w1 w2 w3 w4 w5 w6'])
    expect(several.data.map(({ index }) => index)).toEqual([0, 1, 2])
    expect(several.usage.total_tokens).toBe(3 + 5 + 8)
    const asked = (await embed([2, 6, 7, 8, 3], 'base64')).data[0].embedding as unknown as string
    const bytes = Buffer.from(asked, 'base64')
    const decoded = Array.from({ length: 12 }, (_, k) => bytes.readFloatLE(4 * k))
    const alike = [several.data[1].embedding, (await embed([[2, 6, 7, 8, 3]])).data[0].embedding, decoded]
    for (const same of alike) {
      for (const [k, value] of same.entries()) expect(value).toBeCloseTo(embedding[k], 5)
    }
  })

  it('reads the beginning of a text that is too long, and refuses ids that are too many', async () => {
    const long = Array.from({ length: 60 }, (_, i) => `w${i % 42}`)
    const { data, usage } = await embed(long.join(' '))
    expect(usage.prompt_tokens).toBe(20)
    const beginning = (await embed(long.slice(0, 18).join(' '))).data[0].embedding
    for (const [k, value] of beginning.entries()) expect(data[0].embedding[k]).toBeCloseTo(value, 5)
    const tooMany = await failure(embed(new Array(21).fill(5)))
    expect(tooMany).toMatchObject({ status: 400, code: 'context_length_exceeded' })
    expect(await failure(embed([99]))).toMatchObject({ status: 400, param: 'input' })
    const cut = client.embeddings.create({ model: 'encoder', input: 'w1', dimensions: 4 })
    expect(await failure(cut)).toMatchObject({ status: 400, param: 'dimensions' })
  })

  it('is listed behind what writes, and refused where text is asked for', async () => {
    const ids: string[] = []
    for await (const { id } of client.models.list()) ids.push(id)
    expect(ids).toEqual(['chat', 'encoder'])
    const messages = [{ role: 'user' as const, content: 'Hello' }]
    const refused = [
      client.chat.completions.create({ model: 'encoder', messages }),
      client.completions.create({ model: 'encoder', prompt: 'w1' }),
    ]
    for (const call of refused) {
      const error = await failure(call)
      expect(error).toMatchObject({ status: 400, param: 'model' })
      expect(error.message).toContain('encoder makes embeddings and writes no text: ask /v1/embeddings')
    }
    expect((await client.chat.completions.create({ model: 'chat', messages })).choices).toHaveLength(1)
    const status = (await (await fetch(`${server.url}/api/status`)).json()) as { models: object[] }
    expect(status.models).toMatchObject([
      { id: 'chat', canWrite: true },
      { id: 'encoder', canWrite: false, canEmbed: true },
    ])
  })

  it('goes on for others when a client leaves', async () => {
    const leaving = new AbortController()
    const many = Array.from({ length: 2000 }, (_, i) => `w${i % 42} w${(7 * i) % 42} w3 w4 w5 w6 w7 w8 w9`)
    const call = client.embeddings.create({ model: 'encoder', input: many }, { signal: leaving.signal })
    call.catch(() => {})
    setTimeout(() => leaving.abort(), 30)
    await expect(call).rejects.toThrow()
    expect((await embed(['w1', 'w2'])).data).toHaveLength(2)
  })
})

describe.skipIf(lacksShared('models/all-MiniLM-L6-v2'))('MiniLM', () => {
  it('finds the sentence that means the same', async () => {
    const models = [await loadServedModel(sharedPath('models/all-MiniLM-L6-v2'))]
    const alone = await listen({ models, store: noStore(), logger: log.logger, host: '127.0.0.1', port: 0 })
    const openai = new OpenAI({ baseURL: `${alone.url}/v1`, apiKey: 'none', maxRetries: 0 })
    const input = [
      'How do I install Node.js on Linux?',
      'The stock market fell sharply on Monday.',
      'Installing Node.js under Linux',
    ]
    const { data } = await openai.embeddings.create({ model: 'all-MiniLM-L6-v2', input })
    const dot = (a: number[], b: number[]) => a.reduce((sum, x, k) => sum + x * b[k], 0)
    const [question, market, answer] = data.map(({ embedding }) => embedding)
    expect(question).toHaveLength(384)
    expect(dot(question, answer)).toBeGreaterThan(0.8)
    expect(dot(question, market)).toBeLessThan(0.2)
    await alone.close()
  })
})
