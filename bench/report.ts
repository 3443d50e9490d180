import { type Row, type Spread, showNumber } from './harness.ts'
import type { Machine } from './machine.ts'

export interface Report {
  readonly machine: Machine
  readonly versions: Readonly<Record<string, string>>
  readonly rounds: number
  readonly seconds: number
  readonly rows: readonly Row[]
}

const HEADINGS = ['benchmark', 'what', 'jackdaw', 'peer', 'its figure', 'ratio (least–most)', 'target', 'met']

/** The report as a Markdown table, aligned to be read in a terminal too. */
export function markdown({ machine, versions, rounds, seconds, rows }: Report): string {
  const { processor, cores, memoryGb, platform, loadAtStart } = machine
  const table = [HEADINGS, ...rows.map(cells)]
  const widths = HEADINGS.map((_, column) => Math.max(...table.map((row) => row[column].length)))
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`
  const notes = rows.flatMap(({ benchmark, what, peer, missing }) =>
    missing ? [`- ${benchmark}, ${what}${peer ? ` against ${peer}` : ''}: ${missing}`] : [],
  )
  return [
    `${processor}, ${cores} cores, ${memoryGb} GB, ${platform}; load ${loadAtStart} at the start`,
    Object.entries(versions)
      .map(([name, version]) => `${name} ${version}`)
      .join(', '),
    `${rounds} rounds of ${seconds} s each, contestants alternating; medians, and the ratio of neighbouring rounds`,
    '',
    line(table[0]),
    line(widths.map((width) => '-'.repeat(width))),
    ...table.slice(1).map(line),
    ...(notes.length > 0 ? ['', ...notes] : []),
    '',
  ].join('\n')
}

const cells = ({ benchmark, what, unit, jackdaw, peer, peerFigure, ratio, target, met }: Row): string[] => [
  benchmark,
  what,
  jackdaw ? `${showNumber(jackdaw.median)} ${unit}` : '–',
  peer ?? '',
  peerFigure ? `${showNumber(peerFigure.median)} ${unit}` : peer ? '–' : '',
  ratio ? showSpread(ratio) : peer ? '–' : '',
  target,
  met === undefined ? '–' : met ? 'yes' : 'no',
]

const showSpread = ({ median, min, max }: Spread): string =>
  `${median.toFixed(2)} (${min.toFixed(2)}–${max.toFixed(2)})`
