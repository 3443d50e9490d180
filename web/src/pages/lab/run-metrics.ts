/** One figure of a run over its steps. */
export interface Series {
  readonly steps: number[]
  /** NaN where it was none. */
  readonly values: number[]
}

/** Of one stage, by name; the run itself is the stage ''. */
export type StageSeries = Map<string, Series>

/** The name of held-out loss: it is drawn over the loss. */
export const heldOut = 'valLoss'

/**
 * What metrics.jsonl says, as columns. It grows in place, so that a run of a hundred thousand steps is followed without
 * copying it: who reads it is told by `version`.
 */
export class RunMetrics {
  readonly stages = new Map<string, StageSeries>()
  version = 0

  clear(): void {
    this.stages.clear()
    this.version++
  }

  /** Lines as the server read them, each whatever JSON it was. */
  add(lines: readonly unknown[]): void {
    for (const line of lines) {
      if (typeof line !== 'object' || line === null) continue
      const { step, stage = '', ...figures } = line as Record<string, unknown>
      if (typeof step !== 'number' || typeof stage !== 'string') continue
      for (const [name, value] of Object.entries(figures)) {
        // JSON has no NaN: a loss that was none is null.
        if (typeof value === 'number' || value === null) this.#put(stage, name, step, value ?? Number.NaN)
      }
    }
    if (lines.length > 0) this.version++
  }

  #put(stage: string, name: string, step: number, value: number): void {
    let series = this.stages.get(stage)
    if (!series) this.stages.set(stage, (series = new Map()))
    let own = series.get(name)
    if (!own) series.set(name, (own = { steps: [], values: [] }))
    const last = own.steps.at(-1)
    if (last !== undefined && step < last) return
    // Said twice of one step, the second counts.
    if (step === last) own.values[own.values.length - 1] = value
    else {
      own.steps.push(step)
      own.values.push(value)
    }
  }
}

/** Of training with a reward: what it has come to, how far from where it began, and what else tells of its state. */
const first = ['loss', 'reward', 'kl', 'entropy', 'length', 'learningRate', 'gradNorm']

/** What is drawn of a stage, each in a chart of its own, the most telling first. */
export function chartsOf(stage: StageSeries): string[] {
  const speeds = (name: string) => name.endsWith('PerSecond')
  const order = (name: string) => {
    const place = first.indexOf(name)
    return place >= 0 ? place : first.length + (speeds(name) ? 0 : 1)
  }
  return [...stage.keys()]
    .filter((name) => name !== heldOut || !stage.has('loss'))
    .sort((a, b) => order(a) - order(b) || a.localeCompare(b))
}

/** A running mean that forgets at the rate `keep`, from 0 (none) to near 1; it starts at the first value. */
export function smoothed(values: readonly number[], keep: number): number[] {
  let mean = Number.NaN
  return values.map((value) => {
    if (Number.isFinite(value)) mean = Number.isNaN(mean) ? value : keep * mean + (1 - keep) * value
    return mean
  })
}

/** The newest value that is one. */
export function latest(series: Series | undefined): number | undefined {
  return series?.values.findLast((value) => Number.isFinite(value))
}
