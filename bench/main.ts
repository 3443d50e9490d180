import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BENCHMARKS, type Settings } from './benchmarks.ts'
import { type Row, runBenchmark } from './harness.ts'
import { describeMachine } from './machine.ts'
import type { Report } from './report.ts'

export { BENCHMARKS } from './benchmarks.ts'
export { markdown } from './report.ts'

export interface BenchOptions extends Pick<Settings, 'smollm2'> {
  readonly rounds: number
  readonly seconds: number
  readonly say?: (message: string) => void
}

/** Runs benchmarks one after the other: those named, or whose names begin with one of the names; all where none is. */
export async function runBenchmarks(names: readonly string[], options: BenchOptions): Promise<Report> {
  const unknown = names.find((name) => !BENCHMARKS.some((plan) => plan.name.startsWith(name)))
  if (unknown !== undefined) {
    throw new Error(`there is no benchmark '${unknown}'; there are ${BENCHMARKS.map(({ name }) => name).join(', ')}`)
  }
  const plans = BENCHMARKS.filter((plan) => names.length === 0 || names.some((name) => plan.name.startsWith(name)))
  const machine = describeMachine()
  const settings = { smollm2: options.smollm2, folder: join(tmpdir(), 'jackdaw-bench') }
  const threads = `${machine.cores}`
  const env = { JACKDAW_THREADS: threads, JACKDAW_BENCH_THREADS: threads }
  const rows: Row[] = []
  const versions: Record<string, string> = {}
  for (const plan of plans) {
    try {
      const outcome = await runBenchmark(await plan.prepare(settings), { ...options, env })
      rows.push(...outcome.rows)
      Object.assign(versions, outcome.versions)
    } catch (error) {
      // One benchmark that cannot be set up is no reason to lose the others' figures.
      rows.push({ benchmark: plan.name, what: plan.what, unit: '', target: '', missing: (error as Error).message })
    }
  }
  return { machine, versions, rounds: options.rounds, seconds: options.seconds, rows }
}
