import type { RunReport } from '../optim/run.ts'

export interface LineOptions {
  /** Characters that a line may have. */
  readonly width: number
  readonly elapsedMs: number
  /** Until the loop in progress ends. */
  readonly leftMs?: number
}

/** What shrinks first where the terminal is narrow stands last. */
const SHORTEST_BAR = 8
const LONGEST_BAR = 32

/** One line about a run: as much as fits, the most telling first. */
export function progressLine(report: RunReport, { width, elapsedMs, leftMs }: LineOptions): string {
  const { activity, stage, step, steps, scalars = {}, speeds = {}, scores = {} } = report
  const { loss, gradNorm, learningRate, ...others } = scalars
  const elapsed = duration(elapsedMs)
  const place = stage === undefined ? '' : `${stage}: `
  if (steps === 0) return fitting([`${place}${activity}`, elapsed], width)
  const begin = `${place}${activity === 'training' ? '' : `${activity} `}${step}/${steps}`
  const parts = [
    ...(loss === undefined ? [] : [`loss ${loss.toFixed(4)}`]),
    ...(leftMs === undefined ? [] : [`${duration(leftMs)} left`]),
    ...Object.entries(scores).map(([name, value]) => `${name} ${figure(value)}`),
    ...Object.entries(speeds).map(([unit, speed]) => `${Math.round(speed)} ${unit}/s`),
    ...(gradNorm === undefined ? [] : [`gradient ${figure(gradNorm)}`]),
    ...(learningRate === undefined ? [] : [`rate ${learningRate.toExponential(1)}`]),
    ...Object.entries(others).map(([name, value]) => `${name} ${figure(value)}`),
    `${elapsed} so far`,
  ]
  return fitting([begin, ...parts], width)
}

/** The same with a bar before it, where there is room for one. */
export function progressBar(report: RunReport, { width, ...times }: LineOptions): string {
  const { step, steps } = report
  const length = Math.min(LONGEST_BAR, Math.floor(width / 4))
  if (steps === 0 || length < SHORTEST_BAR) return progressLine(report, { width, ...times })
  const full = Math.min(length, Math.round((length * step) / steps))
  return `${'█'.repeat(full)}${'░'.repeat(length - full)} ${progressLine(report, { width: width - length - 1, ...times })}`
}

const SEPARATOR = ' | '

/** The first parts, as many as fit. */
function fitting([first, ...parts]: readonly string[], width: number): string {
  let line = first
  for (const part of parts) {
    if (line.length + SEPARATOR.length + part.length > width) break
    line += SEPARATOR + part
  }
  return line.slice(0, width)
}

const figure = (value: number): string =>
  Number.isInteger(value) ? `${value}` : Math.abs(value) < 1e-3 ? value.toExponential(2) : value.toFixed(4)

/** `0:07`, `12:30`, `3:05:00` */
function duration(ms: number): string {
  const seconds = Math.round(ms / 1000)
  const two = (n: number) => `${Math.floor(n)}`.padStart(2, '0')
  const minutes = Math.floor(seconds / 60)
  return minutes < 60
    ? `${minutes}:${two(seconds % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`
}

interface Terminal {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

const LINE_EVERY_MS = 10_000
const REDRAW_EVERY_MS = 80
const CLEAR_LINE = '\r\x1b[K'

/** On a terminal one line that changes; elsewhere a line now and then. */
export class TrainProgress {
  private readonly started = performance.now()
  /** Where the loop in progress was when it was first heard of. */
  private loop: { readonly stage?: string; readonly steps: number; readonly step: number; readonly at: number } = {
    steps: 0,
    step: 0,
    at: this.started,
  }
  private lastWrite = Number.NEGATIVE_INFINITY
  private lastActivity = ''
  private lastScores: RunReport['scores']
  private isShown = false

  constructor(private readonly terminal: Terminal) {}

  show(report: RunReport): void {
    const now = performance.now()
    const { stage, step, steps, activity, scores } = report
    if (stage !== this.loop.stage || steps !== this.loop.steps) this.loop = { stage, steps, step, at: now }
    const done = step - this.loop.step
    const leftMs = done > 0 ? ((now - this.loop.at) / done) * (steps - step) : undefined
    const times = { elapsedMs: now - this.started, leftMs }
    const isNew = `${stage} ${activity}` !== this.lastActivity
    const isLast = steps > 0 && step === steps
    if (this.terminal.isTTY) {
      if (!isNew && !isLast && now - this.lastWrite < REDRAW_EVERY_MS) return
      // The last column is left free: some terminals wrap when it is written.
      const width = (this.terminal.columns || 80) - 1
      this.terminal.write(CLEAR_LINE + progressBar(report, { width, ...times }))
      this.isShown = true
    } else {
      const isScored = scores !== this.lastScores && activity === 'training'
      const isTelling = isScored || (isLast && !scores) || (isNew && activity === 'loading')
      if (!isTelling && now - this.lastWrite < LINE_EVERY_MS) return
      this.terminal.write(`${progressLine(report, { width: 200, ...times })}\n`)
    }
    this.lastActivity = `${stage} ${activity}`
    this.lastScores = scores
    this.lastWrite = now
  }

  /** A line of its own, above the one that changes. */
  say(message: string): void {
    this.terminal.write(`${this.isShown ? CLEAR_LINE : ''}${message}\n`)
    this.isShown = false
  }

  stop(): void {
    if (this.isShown) this.terminal.write('\n')
    this.isShown = false
  }
}
