import { sum, Z95 } from './statistics.ts'
import { keyOf, type OpenTask, type Sample, type Summary, type Task } from './task.ts'

/** Results in the shape of lm-evaluation-harness, so that what reads its files reads ours; and as a table. */

/** A task's scores, summed up. */
export interface TaskResult {
  readonly name: string
  readonly version: number
  readonly numFewshot: number
  /** Questions that there are, and that were asked. */
  readonly original: number
  readonly effective: number
  /** What guessing scores. */
  readonly chance?: number
  readonly config: Readonly<Record<string, unknown>>
  readonly metrics: readonly MetricResult[]
}

export interface MetricResult extends Summary {
  readonly name: string
  readonly filter: string
  readonly higherIsBetter: boolean
}

export function taskResult(task: Task, open: OpenTask, samples: readonly Sample[]): TaskResult {
  const { name, about, source, version } = task
  const { numFewshot, outputType, size, chance, config } = open
  const metrics = open.metrics.map((metric) => {
    const key = keyOf(metric)
    const { name, filter, higherIsBetter } = metric
    return { name, filter, higherIsBetter, ...metric.summarize(samples.map(({ scores }) => scores[key])) }
  })
  return {
    ...{ name, version, numFewshot, original: size, effective: samples.length, chance, metrics },
    config: { task: name, description: about, source, output_type: outputType, num_fewshot: numFewshot, ...config },
  }
}

/** Of each group with two tasks or more, what they have in common: means weighted by questions, errors pooled. */
export function groupScores(
  results: readonly TaskResult[],
  groups: Readonly<Record<string, readonly string[]>>,
): TaskResult[] {
  return Object.entries(groups).flatMap(([name, names]) => {
    const members = results.filter((result) => names.includes(result.name))
    if (members.length < 2) return []
    const [first] = members
    const keys = first.metrics.filter((metric) => members.every(({ metrics }) => find(metrics, keyOf(metric))))
    return [
      {
        ...{ name, version: first.version, numFewshot: first.numFewshot, config: { group: name, task: names } },
        original: sum(members.map(({ original }) => original)),
        effective: sum(members.map(({ effective }) => effective)),
        metrics: keys.map((metric) => ({ ...metric, ...pooled(members, keyOf(metric)) })),
      },
    ]
  })
}

const find = (metrics: readonly MetricResult[], key: string): MetricResult | undefined =>
  metrics.find((metric) => keyOf(metric) === key)

function pooled(members: readonly TaskResult[], key: string): Summary {
  const parts = members.map(({ metrics, effective }) => ({ ...(find(metrics, key) as MetricResult), n: effective }))
  const n = sum(parts.map((part) => part.n))
  const value = sum(parts.map((part) => part.value * part.n)) / n
  // The variance of the questions within each task, put together (as lm-evaluation-harness pools it).
  const variance = sum(parts.map((part) => (part.n - 1) * part.stderr ** 2 * part.n)) / (n - parts.length)
  const stderr = Math.sqrt(variance / n)
  return { value, stderr, interval: [value - Z95 * stderr, value + Z95 * stderr] }
}

/** `acc,none` → a number, and `acc_stderr,none`; beside them what the task is called. */
type Scores = Record<string, number | string>

export interface EvalResults {
  readonly results: Readonly<Record<string, Scores>>
  readonly groups?: Readonly<Record<string, Scores>>
  readonly group_subtasks: Readonly<Record<string, readonly string[]>>
  readonly configs: Readonly<Record<string, unknown>>
  readonly versions: Readonly<Record<string, number>>
  readonly 'n-shot': Readonly<Record<string, number>>
  readonly higher_is_better: Readonly<Record<string, Readonly<Record<string, boolean>>>>
  readonly 'n-samples': Readonly<Record<string, { readonly original: number; readonly effective: number }>>
  /** Not in lm-evaluation-harness: 95 %, by task and metric. */
  readonly intervals: Readonly<Record<string, Readonly<Record<string, readonly [number, number]>>>>
  /** Neither: what guessing scores, by task, where that is more than nothing. */
  readonly chance: Readonly<Record<string, number>>
  readonly config: Readonly<Record<string, unknown>>
  /** Seconds since the epoch. */
  readonly date: number
  readonly total_evaluation_time_seconds: string
}

export interface RunInfo {
  readonly limit?: number
  readonly modelInfo: Readonly<Record<string, unknown>>
  readonly settings: Readonly<Record<string, unknown>>
  /** Milliseconds since the epoch. */
  readonly started: number
  readonly seconds: number
}

export function toResults(
  tasks: readonly TaskResult[],
  groups: readonly TaskResult[],
  { limit, modelInfo, settings, started, seconds }: RunInfo,
): EvalResults {
  const byName = <T>(of: (task: TaskResult) => T, list: readonly TaskResult[] = tasks): Record<string, T> =>
    Object.fromEntries(list.map((task) => [task.name, of(task)]))
  const all = [...groups, ...tasks]
  return {
    results: byName(scoresOf, all),
    ...(groups.length > 0 ? { groups: byName(scoresOf, groups) } : {}),
    group_subtasks: {
      ...byName(() => [], tasks),
      ...byName(({ config }) => config.task as readonly string[], groups),
    },
    configs: byName(({ config, version }) => ({ ...config, metadata: { version } })),
    versions: byName(({ version }) => version, all),
    'n-shot': byName(({ numFewshot }) => numFewshot, all),
    higher_is_better: byName(
      ({ metrics }) => Object.fromEntries(metrics.map(({ name, higherIsBetter }) => [name, higherIsBetter])),
      all,
    ),
    'n-samples': byName(({ original, effective }) => ({ original, effective })),
    intervals: byName(
      ({ metrics }) => Object.fromEntries(metrics.map((metric) => [keyOf(metric), metric.interval])),
      all,
    ),
    chance: Object.fromEntries(tasks.flatMap(({ name, chance }) => (chance === undefined ? [] : [[name, chance]]))),
    config: { model: 'jackdaw', model_args: modelInfo, limit: limit ?? null, gen_kwargs: settings },
    date: started / 1000,
    total_evaluation_time_seconds: `${seconds}`,
  }
}

function scoresOf({ name, effective, metrics }: TaskResult): Scores {
  const scores: Scores = { name, alias: name, sample_len: effective }
  for (const { name: metric, filter, value, stderr } of metrics) {
    scores[`${metric},${filter}`] = value
    scores[`${metric}_stderr,${filter}`] = Number.isFinite(stderr) ? stderr : 'N/A'
  }
  return scores
}

const HEADINGS = ['task', 'n', 'shot', 'filter', 'metric', 'value', '± stderr', '95 %', 'chance']

/** A line a metric, aligned; groups first. */
export function resultsTable({ results, intervals, groups = {}, ...rest }: EvalResults): string {
  const rows = Object.entries(results).flatMap(([task, scores]) => {
    const keys = Object.keys(intervals[task])
    return keys.map((key, i) => {
      const [metric, filter] = key.split(',')
      const isBetterHigh = rest.higher_is_better[task][metric]
      const stderr = scores[`${metric}_stderr,${filter}`]
      const [low, high] = intervals[task][key]
      const name = task in groups ? `${task} (together)` : task
      return [
        ...(i === 0 ? [name, `${scores.sample_len}`, `${rest['n-shot'][task]}`] : ['', '', '']),
        filter,
        `${metric} ${isBetterHigh ? '↑' : '↓'}`,
        figure(scores[key]),
        typeof stderr === 'number' ? figure(stderr) : '–',
        Number.isFinite(low) ? `${figure(low)} to ${figure(high)}` : '–',
        i === 0 && rest.chance[task] !== undefined ? figure(rest.chance[task]) : '',
      ]
    })
  })
  const table = [HEADINGS, ...rows]
  const widths = HEADINGS.map((_, column) => Math.max(...table.map((row) => row[column].length)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, i) => (i === 1 || i === 2 || i === 5 || i === 6 ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd()
  return `${[line(HEADINGS), line(widths.map((width) => '─'.repeat(width))), ...rows.map(line)].join('\n')}\n`
}

const figure = (value: number | string): string =>
  typeof value === 'string' ? value : Math.abs(value) >= 100 ? value.toFixed(1) : value.toFixed(4)
