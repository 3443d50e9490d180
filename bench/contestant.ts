import { createInterface } from 'node:readline'

/**
 * The contestants' side of a benchmark. A contestant is a process that loads once, says so, and then runs a round each
 * time it is asked, so that contestants take turns on the same machine in the same minutes. What it says is a line that
 * begins with `bench `; all else that its libraries print is passed over.
 */

/** Runs one round of about that many seconds, and answers with its figure. */
export type Round = (seconds: number) => Promise<number> | number

export interface Loaded {
  /** By the names of the benchmark's measures. */
  readonly rounds: Readonly<Record<string, Round>>
  /** How many numbers are trained: all contestants must agree, or they do not do the same work. */
  readonly parameters?: number
  /** What the figures depend on: libraries with their versions. */
  readonly versions?: Readonly<Record<string, string>>
}

const say = (message: object): void => {
  process.stdout.write(`bench ${JSON.stringify(message)}\n`)
}

/** Loads, then serves rounds until standard input ends. */
export async function compete(load: () => Promise<Loaded>): Promise<void> {
  const { rounds, parameters, versions = {} } = await load()
  say({ ready: true, parameters, versions })
  for await (const line of createInterface({ input: process.stdin })) {
    const { measure, seconds } = JSON.parse(line) as { measure: string; seconds: number }
    try {
      say({ value: await rounds[measure](seconds) })
    } catch (error) {
      say({ error: (error as Error).message })
    }
  }
  process.exit(0)
}

/**
 * Repeats `work` for at least that many seconds and at least twice.
 *
 * @param amount - what one repetition gets done: tokens, pictures
 * @returns work done per second
 */
export async function perSecond(seconds: number, amount: number, work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  let done = 0
  let elapsed = 0
  do {
    await work()
    done++
    elapsed = (performance.now() - start) / 1000
  } while (elapsed < seconds || done < 2)
  return (done * amount) / elapsed
}
