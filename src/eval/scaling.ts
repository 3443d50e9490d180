/**
 * Emergent Abilities of Large Language Models
 * Wei, Tay, Bommasani et al., Google Research, Stanford, UNC Chapel Hill and DeepMind, 2022. arXiv 2206.07682
 *
 * New here:
 * - an ability is emergent if it is absent in smaller models and present in larger ones: extrapolating the smaller ones
 *   would not have told (§1);
 * - families of models are compared by training FLOPs, on a logarithmic axis, beside the random baseline (§2, figure 2);
 * - whether a curve is sharp depends on the metric: where exact match jumps, cross-entropy of the answer has improved all
 *   along (§5.1, appendix A).
 *
 * Departures: the explanation of the last point by the metric itself, that an answer of L tokens is right with
 * probability p^L, and the measure of how sharp a curve is, are of Schaeffer, Miranda and Koyejo, 2023. arXiv 2304.15004.
 *
 * | paper                        | here              |
 * |------------------------------|-------------------|
 * | training FLOPs               | `trainingFlops`   |
 * | random performance           | `randomBaseline`  |
 * | model family                 | `Family`          |
 * | emergent at                  | `emergesAt`       |
 */

import { escapedText, ticksOver } from '../optim/curve.ts'
import { sum } from './statistics.ts'

/** One model of a family, and how it did. */
export interface FamilyMember {
  /** `1M`, `2 layers` */
  readonly name: string
  /** Parameters that compute: those of the embeddings not counted. */
  readonly parameters: number
  /** Tokens that it was trained on, repeated ones counted each time. */
  readonly tokens: number
  /** By the metric's name. */
  readonly scores: Readonly<Record<string, number>>
}

/** Models that differ in size. */
export interface Family {
  readonly name: string
  readonly members: readonly FamilyMember[]
}

/** A score at a size: what curves are made of, in order of FLOPs. */
export interface ScalePoint {
  readonly flops: number
  readonly score: number
}

/**
 * What training took: 6 · N · D (§2). Two operations for each parameter and token in the forward pass, and twice as many
 * backward.
 */
export const trainingFlops = (parameters: number, tokens: number): number => 6 * parameters * tokens

/** A family's scores over its training FLOPs, least first. Members that lack the metric are left out. */
export const scaleCurve = ({ members }: Family, metric: string): ScalePoint[] =>
  members
    .filter(({ scores }) => metric in scores)
    .map(({ parameters, tokens, scores }) => ({ flops: trainingFlops(parameters, tokens), score: scores[metric] }))
    .sort((a, b) => a.flops - b.flops)

/**
 * What guessing scores, on average over the questions.
 *
 * @param choices - of each question: among how many answers one may choose; Infinity where the answer is free
 */
export function randomBaseline(choices: readonly number[]): number {
  if (choices.length === 0) throw new RangeError('a random baseline needs questions')
  return sum(choices.map((count) => 1 / count)) / choices.length
}

/**
 * Where an ability emerges: the least FLOPs from which on every score is above the baseline by more than the margin,
 * if there were smaller models that are not. Undefined where none emerges: all can, or the largest cannot.
 *
 * @param margin - what a score may be off by: two standard errors
 */
export function emergesAt(
  curve: readonly ScalePoint[],
  { baseline, margin = 0 }: { baseline: number; margin?: number },
): number | undefined {
  const points = curve.toSorted((a, b) => a.flops - b.flops)
  const lastUnable = points.findLastIndex(({ score }) => !(score > baseline + margin))
  return lastUnable < 0 ? undefined : points[lastUnable + 1]?.flops
}

/**
 * How sharp a curve is: which share of its whole range its largest step takes, from one model to the next. 1 is a jump,
 * 1 / (n − 1) a straight line over n models; NaN where the curve is flat.
 */
export function sharpness(curve: readonly ScalePoint[]): number {
  const { range, steps } = stepsOf(curve)
  return range === 0 ? Number.NaN : Math.max(...steps.map(Math.abs)) / range
}

/**
 * The emergence score (arXiv 2304.15004, §4): range, negative where the curve falls, over the square root of the median
 * squared step. Infinity where more than half of the steps do not move at all; NaN where the curve is flat.
 */
export function emergenceScore(curve: readonly ScalePoint[]): number {
  const { range, rises, steps } = stepsOf(curve)
  const squares = steps.map((step) => step ** 2).sort((a, b) => a - b)
  const middle = squares.length >> 1
  const median = squares.length % 2 === 1 ? squares[middle] : (squares[middle - 1] + squares[middle]) / 2
  return ((rises ? 1 : -1) * range) / Math.sqrt(median)
}

function stepsOf(curve: readonly ScalePoint[]): { range: number; rises: boolean; steps: number[] } {
  if (curve.length < 2) throw new RangeError(`a curve needs two models or more, got ${curve.length}`)
  const scores = curve.toSorted((a, b) => a.flops - b.flops).map(({ score }) => score)
  const [low, high] = [Math.min(...scores), Math.max(...scores)]
  const rises = scores.indexOf(high) > scores.indexOf(low)
  return { range: high - low, rises, steps: scores.slice(1).map((score, i) => score - scores[i]) }
}

/** Whether all tokens of a short answer are right, if each is with probability p: p^L. Sharp in p where L is large. */
export const expectedExactMatch = (tokenAccuracy: number, length: number): number => tokenAccuracy ** length

/** How many tokens of an answer of L are wrong on average: L (1 − p). Straight in p. */
export const expectedTokenErrors = (tokenAccuracy: number, length: number): number => length * (1 - tokenAccuracy)

/**
 * Levenshtein's distance: the fewest insertions, deletions and replacements that make one sequence of the other. Of
 * strings, by character; of lists, by element.
 */
export function editDistance(a: string | readonly unknown[], b: string | readonly unknown[]): number {
  const [from, to] = [[...a], [...b]]
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (const [i, x] of from.entries()) {
    const next = [i + 1]
    for (const [j, y] of to.entries()) {
      next.push(Math.min(row[j + 1] + 1, next[j] + 1, row[j] + (x === y ? 0 : 1)))
    }
    row = next
  }
  return row[to.length]
}

/** 1 for equal sequences, 0 where nothing is left: 1 − distance / length of the longer one. Two empty ones are equal. */
export function editSimilarity(a: string | readonly unknown[], b: string | readonly unknown[]): number {
  const longest = Math.max([...a].length, [...b].length)
  return longest === 0 ? 1 : 1 - editDistance(a, b) / longest
}

export interface ScalingChartOptions {
  /** A panel each, in this order; all that the first member has where left out. */
  metrics?: readonly string[]
  /** What guessing scores, by metric: a dashed line. */
  baselines?: Readonly<Record<string, number>>
  title?: string
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [720, 300, 64, 24, 40, 48]
/** Told apart on light and on dark ground, and in grey by their marks. */
const COLOURS = ['#17748f', '#c2662d', '#5f8d3f', '#9467bd', '#a04a5f', '#8a7a2c']
const MARKS = ['●', '■', '▲', '◆', '▼', '✚']
const STYLE =
  'text{fill:#444}.grid{stroke:#ddd}.chance{stroke:#888;stroke-dasharray:5 4}.line{fill:none;stroke-width:1.5}' +
  '@media(prefers-color-scheme:dark){text{fill:#bbb}.grid{stroke:#3a3f46}.chance{stroke:#999}}'

/** Scores of families over training FLOPs as SVG: a panel a metric, a line a family, FLOPs on a logarithmic axis. */
export function scalingChart(families: readonly Family[], options: ScalingChartOptions = {}): string {
  const { baselines = {}, title = 'Scores over training FLOPs' } = options
  const metrics = options.metrics ?? Object.keys(families[0]?.members[0]?.scores ?? {})
  if (metrics.length === 0) throw new RangeError('a chart of scaling needs a family with scores')
  const panels = metrics.map((metric, i) => [
    `<g transform="translate(0 ${i * HEIGHT})">`,
    ...panel(families, metric, baselines[metric]),
    '</g>',
  ])
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT * metrics.length}" font-family="sans-serif" font-size="12">`,
    `<title>${escapedText(title)}: ${metrics.map(escapedText).join('; ')}</title>`,
    `<style>${STYLE}</style>`,
    ...panels.flat(),
    '</svg>\n',
  ].join('\n')
}

function panel(families: readonly Family[], metric: string, baseline: number | undefined): string[] {
  const curves = families.map((family) => ({ family, curve: finite(scaleCurve(family, metric)) }))
  const points = curves.flatMap(({ curve }) => curve)
  if (points.length === 0) throw new RangeError(`no model of the families has a score '${metric}'`)
  const ticks = ticksOver([...points.map(({ score }) => score), ...(baseline === undefined ? [] : [baseline])])
  const [low, high] = [ticks[0], ticks[ticks.length - 1]]
  const powers = points.map(({ flops }) => Math.log10(flops))
  const [first, last] = widened(Math.min(...powers), Math.max(...powers))
  const x = (flops: number) =>
    (LEFT + ((WIDTH - LEFT - RIGHT) * (Math.log10(flops) - first)) / (last - first)).toFixed(1)
  const y = (score: number) => (TOP + ((HEIGHT - TOP - BOTTOM) * (high - score)) / (high - low)).toFixed(1)
  const decades = Array.from({ length: Math.floor(last) - Math.ceil(first) + 1 }, (_, i) => Math.ceil(first) + i)
  const every = Math.ceil(decades.length / 8)
  const rows = ticks.map(
    (v) =>
      `<path d="M${LEFT} ${y(v)}H${WIDTH - RIGHT}" class="grid"/><text x="${LEFT - 8}" y="${y(v)}" dy="4" text-anchor="end">${v}</text>`,
  )
  const columns = decades
    .filter((_, i) => i % every === 0)
    .map((power) => {
      const at = x(10 ** power)
      return `<path d="M${at} ${TOP}V${HEIGHT - BOTTOM}" class="grid"/><text x="${at}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">10${superscript(power)}</text>`
    })
  const chance =
    baseline === undefined
      ? []
      : [
          `<path d="M${LEFT} ${y(baseline)}H${WIDTH - RIGHT}" class="chance"/><text x="${WIDTH - RIGHT}" y="${y(baseline)}" dy="-5" text-anchor="end">random: ${short(baseline)}</text>`,
        ]
  return [
    ...rows,
    ...columns,
    ...chance,
    ...curves.flatMap(({ family, curve }, i) => line(family, curve, i, x, y)),
    `<text x="${LEFT}" y="${TOP - 14}">${escapedText(metric)}</text>`,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">training FLOPs (6ND)</text>`,
    ...legend(families),
  ]
}

function line(
  { name, members }: Family,
  curve: readonly ScalePoint[],
  index: number,
  x: (flops: number) => string,
  y: (score: number) => string,
): string[] {
  const colour = COLOURS[index % COLOURS.length]
  const path = curve.map(({ flops, score }) => `${x(flops)},${y(score)}`).join(' ')
  const names = new Map(members.map(({ parameters, tokens, name: of }) => [trainingFlops(parameters, tokens), of]))
  return [
    `<polyline class="line" stroke="${colour}" points="${path}"/>`,
    ...curve.map(({ flops, score }) => {
      const said = escapedText(`${name}, ${names.get(flops)}: ${short(score)} at ${flops.toExponential(1)} FLOPs`)
      return `<text x="${x(flops)}" y="${y(score)}" dy="4" text-anchor="middle" style="fill:${colour}">${MARKS[index % MARKS.length]}<title>${said}</title></text>`
    }),
  ]
}

const legend = (families: readonly Family[]): string[] =>
  families.length < 2
    ? []
    : families.map(
        ({ name }, i) =>
          `<text x="${LEFT + 150 + 130 * i}" y="${TOP - 14}" style="fill:${COLOURS[i % COLOURS.length]}">${MARKS[i % MARKS.length]} ${escapedText(name)}</text>`,
      )

const finite = (curve: readonly ScalePoint[]): ScalePoint[] =>
  curve.filter(({ flops, score }) => flops > 0 && Number.isFinite(score))

/** A little room on either side; a whole decade around a single point. */
function widened(low: number, high: number): [number, number] {
  const room = high > low ? (high - low) * 0.05 : 0.5
  return [low - room, high + room]
}

const short = (value: number): string => `${Number(value.toPrecision(3))}`

const superscript = (power: number): string =>
  `${power}`.replace(/\d/g, (digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]).replace('-', '⁻')
