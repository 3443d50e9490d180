import type { Message } from '../../src/server/wire.ts'
import type { Timing } from './thread.ts'

export interface Speed {
  tokens: number
  /** Null before the second token. */
  tokensPerSecond: number | null
  firstTokenMs: number | null
}

/** The server's own figures once the answer is stored; this page's clock until then. */
export function speedOf(message: Pick<Message, 'usage'>, timing: Timing | undefined): Speed | null {
  const { usage } = message
  if (usage) {
    return {
      tokens: usage.completionTokens,
      tokensPerSecond: rate(usage.completionTokens, usage.decodeMs),
      firstTokenMs: usage.completionTokens > 0 ? usage.promptMs : null,
    }
  }
  if (!timing || timing.firstTokenAt === null || timing.lastTokenAt === null) return null
  return {
    tokens: timing.tokens,
    tokensPerSecond: rate(timing.tokens, timing.lastTokenAt - timing.firstTokenAt),
    firstTokenMs: timing.firstTokenAt - timing.sentAt,
  }
}

/** The first token belongs to the prompt's time, so n tokens are n − 1 steps. */
const rate = (tokens: number, ms: number) => (tokens > 1 && ms > 0 ? ((tokens - 1) * 1000) / ms : null)

export function describeSpeed({ tokens, tokensPerSecond, firstTokenMs }: Speed): string {
  const parts = [`${tokens} ${tokens === 1 ? 'token' : 'tokens'}`]
  if (tokensPerSecond !== null) parts.push(`${figure(tokensPerSecond)} tokens/s`)
  if (firstTokenMs !== null) {
    parts.push(
      `first after ${firstTokenMs < 1000 ? `${Math.round(firstTokenMs)} ms` : `${figure(firstTokenMs / 1000)} s`}`,
    )
  }
  return parts.join(' · ')
}

const figure = (value: number) => (value < 10 ? value.toFixed(1) : String(Math.round(value)))
