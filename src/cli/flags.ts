/** Flags that several commands take, and how their values are read. */

import { InvalidArgumentError, Option } from 'commander'

/** For a repeatable flag. */
export const collect = (value: string, previous: string[] = []): string[] => [...previous, value]

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`
  return (text) => {
    const value = Number(text)
    if (!Number.isSafeInteger(value) || value < min || value > max || text.trim() === '') {
      throw new InvalidArgumentError(`It must be a whole number ${range}.`)
    }
    return value
  }
}

export function number(min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY): (text: string) => number {
  const atLeast = min === Number.NEGATIVE_INFINITY ? '' : ` of at least ${min}`
  const range = max === Number.POSITIVE_INFINITY ? atLeast : ` from ${min} to ${max}`
  return (text) => {
    const value = Number(text)
    if (!Number.isFinite(value) || value < min || value > max || text.trim() === '') {
      throw new InvalidArgumentError(`It must be a number${range}.`)
    }
    return value
  }
}

const QUANTIZATIONS = ['q8', 'q4', 'q4s'] as const
export type Quantize = (typeof QUANTIZATIONS)[number]

export const quantizeOption = (): Option =>
  new Option('--quantize <type>', 'block-quantise the weights while loading')
    .choices(QUANTIZATIONS)
    .argParser((text): Quantize => {
      const known = QUANTIZATIONS.find((type) => type === text)
      if (known) return known
      const why = text === 'q4_0' ? 'That is a type of GGUF files; what is loaded takes' : 'It must be'
      throw new InvalidArgumentError(`${why} q8, q4 or q4s.`)
    })

export const providerOption = (): Option =>
  new Option('--provider <name>', 'where to run').choices(['cpu', 'webgpu', 'cuda']).default('cpu')
