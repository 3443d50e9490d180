import type { Figure } from './recipe.ts'

/** A run's metrics.jsonl, and what came out of it, as a picture. */

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
/** What a figure leaves at its right side for the names of its lines. */
const LEGEND = 196

/** Of a figure's lines, one after the other: told apart in grey, too. */
const DASHES = ['none', '6 3', '2 3', '9 3 2 3', '1 2', '12 4']

/** Nothing behind it, so that it stands on a light page and on a dark one. */
const STYLE = [
  'text{fill:#444}.grid{stroke:#ddd}.line,.between{fill:none;stroke:#7a9494;stroke-width:1.5}',
  '.between{stroke:#175e7a;stroke-width:1;stroke-dasharray:2 4}.dot{fill:#175e7a}',
  '@media(prefers-color-scheme:dark){text{fill:#bbb}.grid{stroke:#3a3f46}.between{stroke:#9fcde6}.dot{fill:#9fcde6}}',
].join('')

/** Only where there are figures: c0 and so on are their lines. */
const FIGURE_STYLE = [
  '.f{fill:none;stroke-width:1.5;stroke:currentColor}.p{fill:currentColor}',
  '.c0{color:#175e7a}.c1{color:#b3541e}.c2{color:#5b7f2b}.c3{color:#7a3e8e}.c4{color:#8a6d00}.c5{color:#666}',
  '@media(prefers-color-scheme:dark){.c0{color:#9fcde6}.c1{color:#f0a47a}.c2{color:#b5d98a}.c3{color:#d3a6e3}',
  '.c4{color:#e5cf73}.c5{color:#bbb}}',
].join('')

/** What evaluations call the loss on held-out data: it is drawn over the loss of training. */
const HELD_OUT = 'valLoss'

/**
 * The curves of a run as SVG, a panel each: what came out of it, then of every stage the loss, what the recipe asks for
 * beside it, and the scores of evaluations.
 *
 * @param metrics - the text of metrics.jsonl
 * @param shown - names of what is drawn beside the loss
 */
export function runCurve(metrics: string, shown: readonly string[] = [], figures: readonly Figure[] = []): string {
  const panels = [
    ...figures.map((figure) => ({ title: escapedText(figure.title), drawn: drawFigure(figure) })),
    ...panelsOf(parse(metrics), ['loss', ...shown]).map((panel) => ({ title: panel.title, drawn: draw(panel) })),
  ]
  const height = HEIGHT * Math.max(panels.length, 1)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>Curves of a run: ${panels.map(({ title }) => title).join('; ') || 'nothing to draw yet'}</title>`,
    `<style>${STYLE}${figures.length > 0 ? FIGURE_STYLE : ''}</style>`,
    ...(panels.length === 0 ? [`<text x="${LEFT}" y="${TOP}">nothing to draw yet</text>`] : []),
    ...panels.flatMap(({ drawn }, i) => [`<g transform="translate(0 ${i * HEIGHT})">`, ...drawn, '</g>']),
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
  const columns = [...new Set(Array.from({ length: TICKS }, (_, i) => Math.round((lastStep * i) / (TICKS - 1))))]
  const { grid, x, y, points } = axes(columns, ticksOver(all.map(([, value]) => value)))
  return [
    ...grid,
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

/** Lines over one axis, with their names. */
function drawFigure({ title, x: axis, logX = false, lines }: Figure): string[] {
  const place = (value: number): number => (logX ? Math.log10(value) : value)
  const named = Object.entries(lines).map(([name, points]) => ({
    name: escapedText(name),
    points: points.map(([x, y]): Point => [place(x), y]),
  }))
  const all = named.flatMap(({ points }) => points)
  const [columns, rows] = [0, 1].map((i) => ticksOver(all.map((point) => point[i])))
  // What is no whole power of ten is no round number.
  const marks = columns.filter((power) => !logX || Number.isInteger(power))
  const nameOf = (mark: number): string => (logX ? `1e${mark}` : `${mark}`)
  const end = WIDTH - LEGEND
  const { grid, x, y, points: pointsOf } = axes(columns, rows, { marks, nameOf, end })
  return [
    ...grid,
    ...named.flatMap(({ name, points }, i) => {
      const style = i % DASHES.length
      const stroke = `class="f" stroke-dasharray="${DASHES[style]}"`
      const legend = TOP + 16 + 16 * i
      return [
        `<g class="c${style}"><polyline ${stroke} points="${pointsOf(points)}"/>`,
        ...points.map(
          ([at, value]) =>
            `<circle cx="${x(at)}" cy="${y(value)}" r="3" class="p"><title>${name}: ${Number(value.toPrecision(4))}</title></circle>`,
        ),
        `<path ${stroke} d="M${end + 16} ${legend - 4}h28"/><text x="${end + 50}" y="${legend}">${name}</text></g>`,
      ]
    }),
    `<text x="${LEFT}" y="${TOP - 12}">${escapedText(title)}</text>`,
    `<text x="${end + 16}" y="${HEIGHT - 8}">${escapedText(axis)}</text>`,
  ]
}

/**
 * Where values lie in a panel, and the lines and numbers at its sides.
 *
 * @param columns - ascending: the axis from its first to its last
 * @param options.end - where the axis ends, in the panel
 */
function axes(
  columns: readonly number[],
  rows: readonly number[],
  { marks = columns, nameOf = (mark: number): string => `${mark}`, end = WIDTH - RIGHT } = {},
) {
  const [left, right] = [columns[0], columns[columns.length - 1]]
  const [low, high] = [rows[0], rows[rows.length - 1]]
  const x = (value: number) => (LEFT + ((end - LEFT) * (value - left)) / (right - left)).toFixed(1)
  const y = (value: number) => (TOP + ((HEIGHT - TOP - BOTTOM) * (high - value)) / (high - low)).toFixed(1)
  const grid = [
    ...rows.map(
      (v) =>
        `<path d="M${LEFT} ${y(v)}H${end}" class="grid"/><text x="${LEFT - 8}" y="${y(v)}" dy="4" text-anchor="end">${v}</text>`,
    ),
    ...marks.map((v) => `<text x="${x(v)}" y="${HEIGHT - 8}" text-anchor="middle">${nameOf(v)}</text>`),
  ]
  const points = (of: readonly Point[]) => of.map(([at, value]) => `${x(at)},${y(value)}`).join(' ')
  return { grid, x, y, points }
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
