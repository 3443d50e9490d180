import type { IncomingMessage, ServerResponse } from 'node:http'
import { isIPv6 } from 'node:net'
import type { Context, MiddlewareHandler } from 'hono'
import { RequestError } from './errors.ts'

/** What one client, and all of them, may take of a server. */
export interface Limits {
  /** Requests that one model has in hand, those that wait for their turn included. Default 64. */
  maxRequests: number
  /** Requests that one client may have open, counted by its address, look-ups (GET) aside. Default 32. */
  maxRequestsPerClient: number
  /** The same of all clients. Default 512. */
  maxOpen: number
  /** How long a request may wait for its turn. Default a minute. */
  maxWaitMs: number
  /** How long a client may take no byte of what is there for it. Default 30 s. */
  writeTimeoutMs: number
  /** How much of an answer is kept for a client that reads more slowly than it is written. Default 1 MiB. */
  maxBufferBytes: number
}

export const defaultLimits: Limits = {
  maxRequests: 64,
  maxRequestsPerClient: 32,
  maxOpen: 512,
  maxWaitMs: 60_000,
  writeTimeoutMs: 30_000,
  maxBufferBytes: 1024 * 1024,
}

/** What the Node server gives a request beside it; absent where the app is called without one. */
interface NodeEnv {
  incoming?: IncomingMessage
  outgoing?: ServerResponse
}

const nodeEnv = (context: Context): NodeEnv => (context.env as NodeEnv | undefined) ?? {}

/** The address of whoever asks; `unknown` where the app is called without a network. */
export function addressOf(context: Context): string {
  const address = nodeEnv(context).incoming?.socket?.remoteAddress ?? 'unknown'
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  return mapped ? mapped[1] : address
}

/** Who asks: an IPv4 address, or the network of an IPv6 address, whose owner has all of its 2⁶⁴. */
export function clientOf(context: Context): string {
  const address = addressOf(context)
  return isIPv6(address) ? network(address) : address
}

/** The first four groups of an IPv6 address. */
function network(address: string): string {
  const [head, tail] = address.split('%')[0].split('::')
  const groups = (part: string | undefined) => (part ? part.split(':') : [])
  const [before, after] = [groups(head), groups(tail)]
  const zeros = new Array(Math.max(0, 8 - before.length - after.length)).fill('0')
  return [...before, ...zeros, ...after].slice(0, 4).join(':')
}

/**
 * Counts requests that ask for work from their arrival until their last byte is sent or their connection is gone: who sends no body or reads
 * no answer has used up a share of its own, and not everyone's.
 */
export function limitClients({ maxRequestsPerClient, maxOpen }: Limits): MiddlewareHandler {
  const open = new Map<string, number>()
  let total = 0
  return async (context, next) => {
    // What is only looked up costs little, and whoever has all their answers open may still look.
    if (context.req.method === 'GET' || context.req.method === 'HEAD') return next()
    const client = clientOf(context)
    const own = open.get(client) ?? 0
    if (own >= maxRequestsPerClient) {
      throw new RequestError(429, `You have ${own} requests open; wait for one of them to end.`, {
        code: 'rate_limit_exceeded',
        retryAfter: 1,
      })
    }
    if (total >= maxOpen) {
      throw new RequestError(503, 'The server has too many requests open; try again in a moment.', {
        code: 'overloaded',
        retryAfter: 5,
      })
    }
    open.set(client, own + 1)
    total++
    const leave = () => {
      const left = (open.get(client) ?? 1) - 1
      if (left > 0) open.set(client, left)
      else open.delete(client)
      total--
    }
    const { outgoing } = nodeEnv(context)
    if (outgoing && !outgoing.closed) {
      outgoing.once('close', leave)
      await next()
    } else {
      await next().finally(leave)
    }
  }
}
