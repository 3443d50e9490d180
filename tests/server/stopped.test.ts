import { describe, expect, it } from 'vitest'
import type { ChatMessage } from '../../src/generate/types.ts'
import { StoppedError } from '../../src/load/text-process.ts'
import { createApp } from '../../src/server/app.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore } from './support.ts'

/** A model whose template never ends, and whose tokenizer does not like one word. */
class StuckModel extends MockModel {
  override renderChat(_messages: readonly ChatMessage[]): number[] {
    throw new StoppedError('the chat template took more than 5 seconds, and was stopped')
  }

  override encode(text: string): number[] {
    if (text === 'aab') throw new StoppedError('the tokenizer took more than 5 seconds, and was stopped')
    return super.encode(text)
  }
}

describe('a model whose own files are stopped', () => {
  const { errors, logger } = captureLogger()
  const app = createApp({ models: [new StuckModel()], store: noStore(), logger })
  const post = async (path: string, body: object) => {
    const headers = { 'content-type': 'application/json' }
    const response = await app.request(path, { method: 'POST', headers, body: JSON.stringify(body) })
    return { status: response.status, message: (await response.json()).error?.message }
  }

  it('is a failure of the server that says in one sentence what it was, and no line in the log', async () => {
    const messages = [{ role: 'user', content: 'a' }]
    const template = 'mock cannot answer: the chat template took more than 5 seconds, and was stopped.'
    expect(await post('/v1/chat/completions', { model: 'mock', messages })).toEqual({ status: 500, message: template })
    const tokenizer = 'mock cannot answer: the tokenizer took more than 5 seconds, and was stopped.'
    expect(await post('/v1/completions', { model: 'mock', prompt: 'aab' })).toEqual({ status: 500, message: tokenizer })
    expect(await post('/v1/embeddings', { model: 'mock', input: ['b', 'aab'] })).toEqual({
      status: 500,
      message: tokenizer,
    })
    expect((await post('/v1/completions', { model: 'mock', prompt: 'b' })).status).toBe(200)
    expect(errors).toEqual([])
  })
})
