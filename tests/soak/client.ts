import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { type Conversation, conversation, type Message, message, replyEvent } from '../../src/server/wire.ts'
import type { Ledger } from './ledger.ts'

/** Numbers from 0 to 1 that a seed determines (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface Counts {
  requests: number
  /** Connections that were refused or cut. */
  cut: number
  /** Answers by status, those in the two hundreds aside. */
  refused: Record<string, number>
  /** What clients did. */
  done: Record<string, number>
}

/** Between two requests a client waits up to so long. */
const PAUSE_MS = 2_000
/** Longer than this a client waits for nobody. */
const PATIENCE_MS = 20_000

/** Which address a client has: on Linux all of 127/8 is this machine's. */
const addressOf = (index: number): string | undefined =>
  process.platform === 'linux' ? `127.0.${1 + (index >> 7)}.${1 + (index & 127)}` : undefined

/** A client that misbehaves as clients do, and notes what it is told. */
export class Client {
  private conversation?: Conversation
  /** The last messages of each side that it was told of. */
  private question?: Message
  private answer?: Message
  private readonly random: () => number

  constructor(
    private readonly port: number,
    private readonly index: number,
    seed: number,
    private readonly ledger: Ledger,
    private readonly counts: Counts,
  ) {
    this.random = seeded(seed + index)
  }

  async run(until: () => boolean): Promise<void> {
    while (!until()) {
      try {
        await this.act()
      } catch {
        this.counts.cut++
        await delay(100 + 400 * this.random())
      }
      await delay(PAUSE_MS * this.random())
    }
  }

  private async act(): Promise<void> {
    if (!this.conversation || this.random() < 0.03) {
      const created = await this.post('/api/conversations', {})
      if (created === undefined) return
      this.conversation = conversation.parse(created)
      this.ledger.conversations.add(this.conversation.id)
      this.question = undefined
      this.answer = undefined
      return
    }
    const kinds = ['stream', 'stream', 'stream', 'slow', 'leave', 'add', 'add', 'half', 'completion', 'look'] as const
    const kind = kinds[Math.floor(this.random() * kinds.length)]
    this.counts.done[kind] = (this.counts.done[kind] ?? 0) + 1
    if (kind === 'add') await this.add()
    else if (kind === 'half') await this.half()
    else if (kind === 'completion') await this.completion()
    else if (kind === 'look') await this.get(`/api/conversations/${this.conversation.id}`)
    else await this.reply(kind)
  }

  /** Adds a message without asking for an answer. */
  private async add(): Promise<void> {
    const content = this.ledger.newText(this.random)
    const body = { parentId: this.answer?.id ?? null, content }
    const added = await this.post(`/api/conversations/${this.conversation?.id}/messages`, body)
    if (added === undefined) return
    this.question = message.parse(added)
    this.ledger.keeps(this.question)
  }

  /** Has an answer streamed; reads slowly, or leaves in its middle. */
  private async reply(kind: 'stream' | 'slow' | 'leave'): Promise<void> {
    const again = this.question && this.random() < 0.2
    const body = again
      ? { parentId: this.question?.id }
      : { parentId: this.answer?.id ?? null, content: this.ledger.newText(this.random) }
    const response = await this.send('POST', `/api/conversations/${this.conversation?.id}/reply`, body)
    if (!this.isFine(response)) return
    const leaveAfter = kind === 'leave' ? 1 + Math.floor(this.random() * 20) : Number.POSITIVE_INFINITY
    let id: string | undefined
    let text = ''
    let events = 0
    try {
      for await (const data of serverSentEvents(response)) {
        const event = replyEvent.parse(data)
        if (event.type === 'start') {
          id = event.message.id
          if (event.userMessage) {
            this.ledger.keeps(event.userMessage)
            this.question = event.userMessage
          }
        } else if (event.type === 'delta') text += event.delta
        else if (event.type === 'end') {
          this.ledger.keepsAnswer(event.message)
          this.answer = event.message
        }
        if (++events >= leaveAfter) return
        if (kind === 'slow') await delay(150 * this.random())
      }
    } finally {
      response.destroy()
      if (id !== undefined) this.ledger.saw(id, text)
    }
  }

  /** Sends a part of a body, waits, and is gone. Nothing of it may be kept. */
  private async half(): Promise<void> {
    const body = JSON.stringify({ parentId: null, content: this.ledger.newText(this.random, 'half') })
    const head =
      `POST /api/conversations/${this.conversation?.id}/messages HTTP/1.1\r\nhost: 127.0.0.1:${this.port}\r\n` +
      `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`
    const socket = connect({ port: this.port, host: '127.0.0.1', localAddress: addressOf(this.index) })
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject)
      socket.on('connect', () => {
        socket.write(head + body.slice(0, Math.floor(body.length * this.random())), () => resolve())
      })
    })
    await delay(1_000 * this.random())
    socket.destroy()
  }

  /** OpenAI's API, read to some point. */
  private async completion(): Promise<void> {
    const messages = [{ role: 'user', content: 'A soak.' }]
    const response = await this.send('POST', '/v1/chat/completions', { model: 'mock', messages, stream: true })
    if (!this.isFine(response)) return
    const leaveAfter = Math.floor(this.random() * 40)
    let chunks = 0
    for await (const _ of response) if (++chunks > leaveAfter) break
    response.destroy()
  }

  private async post(path: string, body: unknown): Promise<unknown> {
    return this.json(await this.send('POST', path, body))
  }

  private async get(path: string): Promise<unknown> {
    return this.json(await this.send('GET', path))
  }

  private async json(response: IncomingMessage): Promise<unknown> {
    if (!this.isFine(response)) return undefined
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk)
    return JSON.parse(Buffer.concat(chunks).toString())
  }

  private isFine(response: IncomingMessage): boolean {
    const { statusCode = 0 } = response
    if (statusCode < 300) return true
    this.counts.refused[statusCode] = (this.counts.refused[statusCode] ?? 0) + 1
    response.resume()
    return false
  }

  private send(method: string, path: string, body?: unknown): Promise<IncomingMessage> {
    this.counts.requests++
    return new Promise((resolve, reject) => {
      const request = httpRequest(
        {
          ...{ host: '127.0.0.1', port: this.port, method, path, localAddress: addressOf(this.index) },
          headers: body === undefined ? {} : { 'content-type': 'application/json' },
          timeout: PATIENCE_MS,
        },
        resolve,
      )
      request.on('error', reject)
      request.on('timeout', () => request.destroy(new Error('no answer for a long time')))
      request.end(body === undefined ? undefined : JSON.stringify(body))
    })
  }
}

async function* serverSentEvents(response: IncomingMessage): AsyncGenerator<unknown, void, void> {
  let text = ''
  response.setEncoding('utf8')
  for await (const chunk of response) {
    text += chunk
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)
      if (data) yield JSON.parse(data[1])
    }
  }
}
