/** A run's metrics.jsonl as a picture. */

type Line = Readonly<Record<string, unknown>> & { readonly step: number }
type Point = readonly [step: number, value: number]

interface Panel {
  readonly title: string
  /** Of every step, as a running mean. */
  readonly line: readonly Point[]
  /** Of evaluations. */
  readonly dots: readonly Point[]
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [720, 360, 56, 16, 32, 28]
/** Steps that the running mean looks back over, roughly. */
const SMOOTHING = 20
const TICKS = 5

/** Nothing behind it, so that it stands on a light page and on a dark one. */
const STYLE = [
  'text{fill:#444}.grid{stroke:#ddd}.line,.between{fill:none;stroke:#7a9494;stroke-width:1.5}',
  '.between{stroke:#175e7a;stroke-width:1;stroke-dasharray:2 4}.dot{fill:#175e7a}',
  '@media(prefers-color-scheme:dark){text{fill:#bbb}.grid{stroke:#3a3f46}.between{stroke:#9fcde6}.dot{fill:#9fcde6}}',
].join('')

/** What evaluations call the loss on held-out data: it is drawn over the loss of training. */
const HELD_OUT = 'valLoss'

/**
 * The curves of a run as SVG, a panel each: of every stage the loss, what the recipe asks for beside it, and the scores
 * of evaluations.
 *
 * @param metrics - the text of metrics.jsonl
 * @param shown - names of what is drawn beside the loss
 */
export function runCurve(metrics: string, shown: readonly string[] = []): string {
  const panels = panelsOf(parse(metrics), ['loss', ...shown])
  const height = HEIGHT * Math.max(panels.length, 1)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>Curves of a run: ${panels.map(({ title }) => title).join('; ') || 'nothing to draw yet'}</title>`,
    `<style>${STYLE}</style>`,
    ...(panels.length === 0 ? [`<text x="${LEFT}" y="${TOP}">nothing to draw yet</text>`] : []),
    ...panels.flatMap((panel, i) => [`<g transform="translate(0 ${i * HEIGHT})">`, ...draw(panel), '</g>']),
    '</svg>\n',
  ].join('\n')
}

/** Lines of steps; the one that a killed run was writing is left out. */
function parse(metrics: string): Line[] {
  return metrics.split('\n').flatMap((text) => {
    try {
      const line: unknown = JSON.parse(text)
      return typeof (line as Line | null)?.step === 'number' ? [line as Line] : []
    } catch {
      return []
    }
  })
}

function panelsOf(lines: readonly Line[], shown: readonly string[]): Panel[] {
  const stages = new Map<string, Line[]>()
  for (const line of lines) {
    const stage = typeof line.stage === 'string' ? line.stage : ''
    const own = stages.get(stage)
    if (own) own.push(line)
    else stages.set(stage, [line])
  }
  return [...stages].flatMap(([stage, own]) => {
    const pointsOf = (name: string, of: readonly Line[]): Point[] =>
      of.flatMap(({ step, [name]: value }) => (Number.isFinite(value) ? [[step, value as number] as const] : []))
    // A step that trains says with what gradient or loss; what says neither is an evaluation.
    const evaluations = own.filter((line) => !('loss' in line) && !shown.some((name) => name in line))
    const scores = new Set(evaluations.flatMap((line) => Object.keys(line)))
    for (const name of ['stage', 'step', HELD_OUT]) scores.delete(name)
    const title = (text: string) => escapedText(stage === '' ? text : `${stage}: ${text}`)
    const drawn = shown.map((name) => {
      const dots = name === 'loss' ? pointsOf(HELD_OUT, evaluations) : []
      const legend = dots.length > 0 ? `${name}: training (line), held out (dots)` : name
      return { title: title(legend), line: thinned(runningMean(pointsOf(name, own))), dots }
    })
    const scored = Array.from(scores, (name) => ({ title: title(name), line: [], dots: pointsOf(name, evaluations) }))
    return [...drawn, ...scored].filter(({ line, dots }) => line.length + dots.length > 0)
  })
}

/** As text of an element. */
export function escapedText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

function runningMean(points: readonly Point[]): Point[] {
  let mean: number | undefined
  return points.map(([step, value]) => {
    mean = mean === undefined ? value : mean + (value - mean) / SMOOTHING
    return [step, mean] as const
  })
}

/** No more points than the picture is wide, the last among them. */
function thinned(points: readonly Point[]): Point[] {
  const every = Math.ceil(points.length / WIDTH)
  return points.filter((_, i) => (points.length - 1 - i) % every === 0)
}

function draw({ title, line, dots }: Panel): string[] {
  const all = [...line, ...dots]
  const lastStep = all.reduce((last, [step]) => Math.max(last, step), 1)
  const ticks = ticksOver(all.map(([, value]) => value))
  const [low, high] = [ticks[0], ticks[ticks.length - 1]]
  const x = (step: number) => (LEFT + ((WIDTH - LEFT - RIGHT) * step) / lastStep).toFixed(1)
  const y = (value: number) => (TOP + ((HEIGHT - TOP - BOTTOM) * (high - value)) / (high - low)).toFixed(1)
  const columns = [...new Set(Array.from({ length: TICKS }, (_, i) => Math.round((lastStep * i) / (TICKS - 1))))]
  const points = (of: readonly Point[]) => of.map(([step, value]) => `${x(step)},${y(value)}`).join(' ')
  return [
    ...ticks.map(
      (v) =>
        `<path d="M${LEFT} ${y(v)}H${WIDTH - RIGHT}" class="grid"/><text x="${LEFT - 8}" y="${y(v)}" dy="4" text-anchor="end">${v}</text>`,
    ),
    ...columns.map((v) => `<text x="${x(v)}" y="${HEIGHT - 8}" text-anchor="middle">${v}</text>`),
    ...(line.length > 0
      ? [`<polyline class="line" points="${points(line)}"/>`]
      : [`<polyline class="between" points="${points(dots)}"/>`]),
    ...dots.map(
      ([step, value]) =>
        `<circle cx="${x(step)}" cy="${y(value)}" r="3.5" class="dot"><title>step ${step}: ${value.toFixed(4)}</title></circle>`,
    ),
    `<text x="${WIDTH - RIGHT}" y="${TOP - 12}" text-anchor="end">${title}</text>`,
  ]
}

/** Round numbers that enclose all values, at least two: steps of 1, 2 or 5 times a power of ten. */
export function ticksOver(values: readonly number[]): number[] {
  const low = values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY)
  const high = values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY)
  // A flat curve lies in the middle of a room of its own size.
  const range = high > low ? high - low : Math.abs(low) || 1
  const power = 10 ** Math.floor(Math.log10(range / (TICKS - 1)))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => range / size <= TICKS) as number
  const [first, last] = [Math.floor(low / step), Math.max(Math.ceil(high / step), Math.floor(low / step) + 1)]
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)))
}
