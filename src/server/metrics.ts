import type { EndEvent } from '../generate/types.ts'

/** Figures for Prometheus, in its text format: https://prometheus.io/docs/instrumenting/exposition_formats/ */

type Labels = Readonly<Record<string, string>>

const escaped = (value: string): string => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')

/** `{model="gpt2",le="1"}` */
const labelText = (labels: Labels): string => {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

/** A number that only grows, one for each set of labels. */
export class Counter {
  private readonly values = new Map<string, { labels: Labels; value: number }>()

  add(labels: Labels = {}, amount = 1): void {
    const key = labelText(labels)
    const found = this.values.get(key)
    if (found) found.value += amount
    else this.values.set(key, { labels, value: amount })
  }

  lines(name: string, common: Labels = {}): string[] {
    return [...this.values.values()].map(
      ({ labels, value }) => `${name}${labelText({ ...common, ...labels })} ${value}`,
    )
  }
}

/** How many of the values observed are at most so large. */
export class Histogram {
  private readonly bounds: readonly number[]
  private readonly counts: number[]
  private sum = 0
  private count = 0

  /** @param bounds - ascending */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = bounds.map(() => 0)
  }

  observe(value: number): void {
    this.sum += value
    this.count++
    const at = this.bounds.findIndex((bound) => value <= bound)
    if (at >= 0) this.counts[at]++
  }

  lines(name: string, labels: Labels = {}): string[] {
    let below = 0
    const buckets = this.bounds.map((bound, i) => {
      below += this.counts[i]
      return `${name}_bucket${labelText({ ...labels, le: String(bound) })} ${below}`
    })
    return [
      ...buckets,
      `${name}_bucket${labelText({ ...labels, le: '+Inf' })} ${this.count}`,
      `${name}_sum${labelText(labels)} ${this.sum}`,
      `${name}_count${labelText(labels)} ${this.count}`,
    ]
  }
}

/** From a cached prompt's first token to a full context on a slow machine. */
const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]
const TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1]

/** What one model has done since the start. */
export class ModelTally {
  readonly answers = new Counter()
  readonly turnedAway = new Counter()
  readonly waitSeconds = new Histogram(SECONDS)
  private readonly promptTokens = new Counter()
  private readonly cachedTokens = new Counter()
  private readonly completionTokens = new Counter()
  private readonly firstTokenSeconds = new Histogram(SECONDS)
  private readonly tokenSeconds = new Histogram(TOKEN_SECONDS)

  constructor() {
    for (const counter of [this.promptTokens, this.cachedTokens, this.completionTokens]) counter.add({}, 0)
  }

  end({ reason, promptTokens, cachedTokens, completionTokens, promptMs, decodeMs }: EndEvent): void {
    this.answers.add({ reason })
    this.promptTokens.add({}, promptTokens)
    this.cachedTokens.add({}, cachedTokens)
    this.completionTokens.add({}, completionTokens)
    this.firstTokenSeconds.observe(promptMs / 1000)
    if (completionTokens > 1) this.tokenSeconds.observe(decodeMs / 1000 / (completionTokens - 1))
  }

  /** Each figure's name, kind and meaning, with its lines. */
  figures(model: string): Figure[] {
    const labels = { model }
    const counter = (name: string, help: string, counter: Counter): Figure => ({
      name,
      type: 'counter',
      help,
      lines: counter.lines(name, labels),
    })
    const histogram = (name: string, help: string, histogram: Histogram): Figure => ({
      name,
      type: 'histogram',
      help,
      lines: histogram.lines(name, labels),
    })
    return [
      counter('jackdaw_answers_total', 'Answers written to their end, by why they ended.', this.answers),
      counter('jackdaw_turned_away_total', 'Requests refused for want of room.', this.turnedAway),
      counter('jackdaw_prompt_tokens_total', 'Tokens of prompts.', this.promptTokens),
      counter('jackdaw_cached_tokens_total', 'Of these, tokens that were not computed again.', this.cachedTokens),
      counter('jackdaw_completion_tokens_total', 'Tokens written.', this.completionTokens),
      histogram('jackdaw_wait_seconds', 'Time that requests waited for their turn.', this.waitSeconds),
      histogram('jackdaw_first_token_seconds', 'Time from a turn to its first token.', this.firstTokenSeconds),
      histogram('jackdaw_token_seconds', 'Time between two tokens of an answer, its mean.', this.tokenSeconds),
    ]
  }
}

export interface Figure {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly lines: readonly string[]
}

export const gauge = (name: string, help: string, value: number, labels: Labels = {}): Figure => ({
  name,
  type: 'gauge',
  help,
  lines: [`${name}${labelText(labels)} ${value}`],
})

const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'HEAD', 'OPTIONS']

/** Requests by route: patterns and not paths, which anyone could make up without end. */
export class HttpTally {
  private readonly requests = new Counter()
  private readonly seconds = new Map<string, Histogram>()

  add(method: string, route: string, status: number, seconds: number): void {
    const known = METHODS.includes(method) ? method : 'other'
    this.requests.add({ method: known, route, status: String(status) })
    let histogram = this.seconds.get(route)
    if (!histogram) {
      histogram = new Histogram(SECONDS)
      this.seconds.set(route, histogram)
    }
    histogram.observe(seconds)
  }

  figures(): Figure[] {
    const name = 'jackdaw_http_response_seconds'
    return [
      {
        name: 'jackdaw_http_requests_total',
        type: 'counter',
        help: 'Requests answered.',
        lines: this.requests.lines('jackdaw_http_requests_total'),
      },
      {
        name,
        type: 'histogram',
        help: 'Time until an answer began; streams go on after that.',
        lines: [...this.seconds].flatMap(([route, histogram]) => histogram.lines(name, { route })),
      },
    ]
  }
}

/** The whole page. Figures of one name, such as those of two models, come together. */
export function metricsText(figures: readonly Figure[]): string {
  const byName = new Map<string, Figure[]>()
  for (const figure of figures) byName.set(figure.name, [...(byName.get(figure.name) ?? []), figure])
  return [...byName.values()]
    .flatMap((same) => [
      `# HELP ${same[0].name} ${same[0].help}`,
      `# TYPE ${same[0].name} ${same[0].type}`,
      ...same.flatMap(({ lines }) => lines),
    ])
    .join('\n')
    .concat('\n')
}
