import type { Contender } from '../../../../src/server/wire.ts'
import { Observable } from '../../observable.ts'
import { readStored, writeStored } from '../../storage.ts'

/** Who is to answer, as it was chosen last on this machine. */
export interface Choices {
  readonly pair: readonly [Contender, Contender]
  readonly ranked: Contender
  readonly answers: number
  readonly systemPrompt: string
}

const usual: Choices = { pair: [{}, {}], ranked: {}, answers: 4, systemPrompt: '' }

export const choices = new Observable<Choices>(stored())

function stored(): Choices {
  try {
    const { pair, ...rest } = { ...usual, ...(JSON.parse(readStored('arena') ?? '{}') as Partial<Choices>) }
    return { ...rest, pair: pair?.length === 2 ? pair : usual.pair }
  } catch {
    return usual
  }
}

export function choose(change: Partial<Choices>): void {
  choices.value = { ...choices.value, ...change }
  writeStored('arena', JSON.stringify(choices.value))
}

/** A mark of this browser, so that votes of one person can be told from another's. */
export function ownVoter(): string {
  const found = readStored('voter')
  if (found) return found
  const made = `browser-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16).padStart(8, '0')}`
  writeStored('voter', made)
  return made
}
