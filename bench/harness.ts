import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/**
 * Side-by-side measurements: jackdaw and its peers are processes that load once and then take turns, A B A B …, so that
 * whatever else the machine does falls on all of them. Figures are compared in pairs of neighbouring turns.
 */

export interface ContestantSpec {
  readonly name: string
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** What to type where the contestant is not installed. */
  readonly install?: string
}

export interface Measure {
  readonly name: string
  readonly what: string
  readonly unit: string
  /** The least ratio of jackdaw's figure to each peer's; peers not named here do not take part in this measure. */
  readonly atLeast?: Readonly<Record<string, number>>
  /** The most that jackdaw's own figure may be. */
  readonly atMost?: number
}

export interface Benchmark {
  readonly name: string
  readonly jackdaw: ContestantSpec
  readonly peers: readonly ContestantSpec[]
  readonly measures: readonly Measure[]
}

/** Median, least and most of a series. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** One line of the report: a measure, jackdaw's figure, and a peer's where it has one. */
export interface Row {
  readonly benchmark: string
  readonly what: string
  readonly unit: string
  readonly jackdaw?: Spread
  readonly peer?: string
  readonly peerFigure?: Spread
  readonly ratio?: Spread
  /** `≥ 1.15` of a ratio, `≤ 2` of jackdaw's own figure. */
  readonly target: string
  /** Left out where nothing could be measured. */
  readonly met?: boolean
  /** Why there is no figure. */
  readonly missing?: string
}

export interface RunOptions {
  /** Turns of each contestant. */
  readonly rounds: number
  /** Length of a turn. */
  readonly seconds: number
  readonly env?: Readonly<Record<string, string>>
  readonly say?: (message: string) => void
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const median = sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  return { median, min: sorted[0], max: sorted[sorted.length - 1] }
}

export interface Outcome {
  readonly rows: readonly Row[]
  /** What took part: libraries with their versions. */
  readonly versions: Readonly<Record<string, string>>
}

/** Starts all contestants of a benchmark and lets them take turns at each of its measures. */
export async function runBenchmark(benchmark: Benchmark, options: RunOptions): Promise<Outcome> {
  const specs = [benchmark.jackdaw, ...benchmark.peers]
  const started: (Contestant | Absence)[] = []
  const rows: Row[] = []
  try {
    // One after the other: loading is heavy work, and its memory peaks should not add up.
    for (const spec of specs) {
      options.say?.(`${benchmark.name}: ${spec.name} loads`)
      started.push(checked(await Contestant.start(spec, options.env), started[0]))
    }
    for (const measure of benchmark.measures) rows.push(...(await takeTurns(benchmark, measure, started, options)))
  } finally {
    for (const contestant of started) if (contestant instanceof Contestant) contestant.stop()
  }
  const versions = started.flatMap((one) => (one instanceof Contestant ? Object.entries(one.versions) : []))
  return { rows, versions: Object.fromEntries(versions) }
}

/** A peer, unless what it trains is of another size than what jackdaw trains. */
function checked(peer: Contestant | Absence, jackdaw?: Contestant | Absence): Contestant | Absence {
  if (!(peer instanceof Contestant && jackdaw instanceof Contestant)) return peer
  if (peer.parameters === jackdaw.parameters) return peer
  peer.stop()
  return { name: peer.name, reason: `has ${peer.parameters} parameters, jackdaw has ${jackdaw.parameters}` }
}

async function takeTurns(
  { name, peers }: Benchmark,
  { name: measureName, what, unit, atLeast = {}, atMost }: Measure,
  started: readonly (Contestant | Absence)[],
  { rounds, seconds, say }: RunOptions,
): Promise<Row[]> {
  const [ours, ...others] = started
  const taking = peers.flatMap((spec, i) => (spec.name in atLeast ? [others[i]] : []))
  const present = [ours, ...taking].filter((one) => one instanceof Contestant)
  const figures = new Map<Contestant, number[]>(present.map((one) => [one, []]))
  const failures = new Map<Contestant, string>()
  for (let round = 0; round < rounds; round++) {
    for (const one of present) {
      if (failures.has(one)) continue
      try {
        const value = await one.round(measureName, seconds)
        figures.get(one)?.push(value)
        say?.(`${name}: ${what}, round ${round + 1} of ${rounds}: ${one.name} ${showNumber(value)} ${unit}`)
      } catch (error) {
        failures.set(one, (error as Error).message)
      }
    }
  }
  const reason = (one: Contestant | Absence): string | undefined =>
    one instanceof Contestant ? failures.get(one) : one.reason
  const common = { benchmark: name, what, unit }
  const own = reason(ours) === undefined ? figures.get(ours as Contestant) : undefined
  const jackdaw = own && spread(own)
  const rows: Row[] = []
  if (atMost !== undefined) {
    rows.push({
      ...common,
      jackdaw,
      target: `≤ ${atMost}`,
      met: jackdaw && jackdaw.median <= atMost,
      missing: reason(ours),
    })
  }
  for (const [peer, least] of Object.entries(atLeast)) {
    const other = taking.find((one) => one.name === peer) ?? { name: peer, reason: 'is not among the contestants' }
    const missing = reason(ours) ?? reason(other)
    const row = { ...common, jackdaw, peer, target: `≥ ${least}` }
    if (missing !== undefined || !own) {
      rows.push({ ...row, missing })
      continue
    }
    const theirs = figures.get(other as Contestant) as number[]
    const ratio = spread(own.map((figure, i) => figure / theirs[i]))
    rows.push({ ...row, peerFigure: spread(theirs), ratio, met: ratio.median >= least })
  }
  return rows
}

/** A contestant that cannot take part, and why. */
interface Absence {
  readonly name: string
  readonly reason: string
}

type Message =
  | { ready: true; versions: Record<string, string>; parameters?: number | null }
  | { missing: string }
  | { value: number }
  | { error: string }

/** How much of what a process wrote to standard error is kept to say why it ended. */
const KEPT_CHARACTERS = 2000

class Contestant {
  versions: Readonly<Record<string, string>> = {}
  parameters?: number
  private readonly lines: AsyncIterator<string>
  private complaints = ''

  private constructor(
    readonly name: string,
    private readonly child: ChildProcessWithoutNullStreams,
  ) {
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.complaints = (this.complaints + text).slice(-KEPT_CHARACTERS)
    })
    // A contestant that is gone is noticed when it does not answer.
    child.stdin.on('error', () => {})
  }

  static async start(spec: ContestantSpec, env: Readonly<Record<string, string>> = {}): Promise<Contestant | Absence> {
    const [file, ...args] = spec.command
    const child = spawn(file, args, { env: { ...process.env, ...env, ...spec.env }, stdio: 'pipe' })
    const failed = new Promise<string>((resolve) => child.once('error', (error) => resolve(error.message)))
    const contestant = new Contestant(spec.name, child)
    const answer = await Promise.race([contestant.receive(), failed.then((missing) => ({ missing }))])
    if ('ready' in answer) {
      contestant.versions = answer.versions
      contestant.parameters = answer.parameters ?? undefined
      return contestant
    }
    contestant.stop()
    if ('error' in answer) return { name: spec.name, reason: answer.error }
    const missing = 'missing' in answer ? answer.missing : 'answered before it was asked'
    return { name: spec.name, reason: `not installed (${missing})${spec.install ? `: ${spec.install}` : ''}` }
  }

  /** @returns the figure of one round */
  async round(measure: string, seconds: number): Promise<number> {
    this.child.stdin.write(`${JSON.stringify({ measure, seconds })}\n`)
    const answer = await this.receive()
    if ('error' in answer) throw new Error(answer.error)
    if (!('value' in answer) || !Number.isFinite(answer.value)) {
      throw new Error(`answered ${JSON.stringify(answer)} to a round of ${measure}`)
    }
    return answer.value
  }

  private async receive(): Promise<Message> {
    for (;;) {
      const { value, done } = await this.lines.next()
      if (done) return { error: `ended: ${lastWords(this.complaints)}` }
      if (value.startsWith('bench ')) return JSON.parse(value.slice('bench '.length)) as Message
    }
  }

  stop(): void {
    this.child.kill()
  }
}

/** The line that names an error, or the last there is: stack traces follow the one in Node and precede it in Python. */
function lastWords(complaints: string): string {
  const lines = complaints.split('\n').filter((line) => line.trim() !== '')
  return lines.findLast((line) => /^\w*(Error|Exception)\b/.test(line)) ?? lines.at(-1) ?? 'it said nothing'
}

export const showNumber = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en-US') : value.toPrecision(3)
