import 'uplot/dist/uPlot.min.css'
import { useEffect, useId, useRef, useState } from 'react'
import uPlot from 'uplot'
import { useTheme } from '../../theme.ts'
import { figureOf, nameOf } from './figures.ts'
import { latest, type Series, smoothed } from './run-metrics.ts'

interface ChartProps {
  name: string
  series: Series
  /** Drawn over it as dots. */
  dots?: Series
  dotsName?: string
  /** The series grows in place: this tells that it has. */
  version: number
  /** Of the running mean; 0 draws the values alone. */
  smooth: number
  logarithmic: boolean
  /** Charts with one key move their cursors together. */
  syncKey: string
}

const heightPx = 220
const fewPoints = 40

/** One figure of a run over its steps. The arrow keys move the cursor, in all charts of the run at once. */
export function Chart({ name, series, dots, dotsName, version, smooth, logarithmic, syncKey }: ChartProps) {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const [at, setAt] = useState<number | null>(null)
  const title = useId()
  const { theme } = useTheme()
  const hasMean = smooth > 0
  const hasDots = dots !== undefined
  const isSparse = series.steps.length <= fewPoints

  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme gives the colours; the data comes below.
  useEffect(() => {
    const element = host.current
    if (!element) return
    const colour = colours(element)
    const made = new uPlot(
      {
        width: element.clientWidth,
        height: heightPx,
        legend: { show: false },
        cursor: { sync: { key: syncKey }, y: false, points: { size: 7 }, drag: { x: true, y: false } },
        scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : {} },
        axes: [axis(colour, 'x'), axis(colour, 'y')],
        series: [
          {},
          {
            stroke: hasMean ? colour.faint : colour.line,
            width: hasMean ? 1 : 1.5,
            // A score now and then is seen as what it is.
            points: { show: isSparse, size: 6, fill: colour.line },
            spanGaps: true,
          },
          ...(hasMean ? [{ stroke: colour.line, width: 2, points: { show: false }, spanGaps: true }] : []),
          ...(hasDots
            ? [{ stroke: colour.dots, width: 1, spanGaps: true, points: { show: true, size: 6, fill: colour.dots } }]
            : []),
        ],
        hooks: { setCursor: [(self) => setAt(self.cursor.idx ?? null)] },
      },
      [[], [], ...(hasMean ? [[]] : []), ...(hasDots ? [[]] : [])] as uPlot.AlignedData,
      element,
    )
    plot.current = made
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: heightPx }))
    resized.observe(element)
    return () => {
      resized.disconnect()
      made.destroy()
      plot.current = undefined
    }
  }, [theme, syncKey, logarithmic, hasMean, hasDots, isSparse])

  // biome-ignore lint/correctness/useExhaustiveDependencies: a chart made anew is empty; the version tells of growth.
  useEffect(() => {
    const { steps, values } = series
    const tables: [number[], ...number[][]][] = [[steps, values, ...(hasMean ? [smoothed(values, smooth)] : [])]]
    if (dots) tables.push([dots.steps, dots.values])
    plot.current?.setData(uPlot.join(tables.map((table) => table.map(drawable)) as uPlot.AlignedData[]))
  }, [series, dots, version, smooth, hasMean, theme, syncKey, logarithmic, isSparse])

  const readings = readingsAt(plot.current, at, { hasMean, dotsName: hasDots ? dotsName : undefined })
  const newest = latest(series)

  const move = (event: React.KeyboardEvent) => {
    const { current } = plot
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -1e9, End: 1e9 }[event.key]
    if (!current || by === undefined) return
    event.preventDefault()
    const steps = current.data[0]
    const next = Math.max(0, Math.min(steps.length - 1, (at ?? steps.length) + by))
    // In each chart at its own place: they need not have the same steps.
    for (const other of uPlot.sync(syncKey).plots) {
      other.setCursor({ left: other.valToPos(steps[next], 'x'), top: heightPx / 3 })
    }
  }

  const reading = at === null ? null : readings
  const last = series.steps.length - 1
  return (
    <figure className="chart">
      <figcaption>
        <span className="chart-name" id={title}>
          {nameOf(name)}
        </span>
        <span className="chart-reading">{reading ?? (newest !== undefined && figureOf(newest))}</span>
      </figcaption>
      <div
        className="chart-plot"
        ref={host}
        role="slider"
        tabIndex={0}
        aria-labelledby={title}
        aria-orientation="horizontal"
        aria-valuemin={0}
        aria-valuemax={Math.max(0, last)}
        aria-valuenow={at ?? Math.max(0, last)}
        aria-valuetext={reading ?? (newest === undefined ? 'nothing yet' : `now ${figureOf(newest)}`)}
        onKeyDown={move}
      />
    </figure>
  )
}

/** uPlot knows null for what is none. */
const drawable = (values: readonly number[]) => values.map((value) => (Number.isFinite(value) ? value : null))

interface Named {
  hasMean: boolean
  dotsName?: string
}

/** What the cursor stands on, in words. */
function readingsAt(plot: uPlot | undefined, at: number | null, { hasMean, dotsName }: Named): string | null {
  if (!plot || at === null) return null
  const [steps, values, ...others] = plot.data
  if (steps[at] === undefined) return null
  const parts = [`step ${steps[at].toLocaleString('en')}`]
  const value = values[at]
  if (value != null) parts.push(figureOf(value))
  const mean = hasMean ? others[0][at] : null
  if (mean != null) parts.push(`mean ${figureOf(mean)}`)
  const dot = dotsName === undefined ? null : others[hasMean ? 1 : 0][at]
  if (dot != null) parts.push(`held out ${figureOf(dot)}`)
  return parts.join(' · ')
}

interface Colours {
  line: string
  faint: string
  dots: string
  grid: string
  ink: string
}

/** A canvas knows no variables: they are read as the page computes them. */
function colours(element: Element): Colours {
  const probe = document.createElement('span')
  element.append(probe)
  const read = (value: string) => {
    probe.style.color = value
    return getComputedStyle(probe).color
  }
  const found = {
    line: read('var(--chart-line)'),
    faint: read('var(--chart-faint)'),
    dots: read('var(--chart-dots)'),
    grid: read('var(--line)'),
    ink: read('var(--ink-soft)'),
  }
  probe.remove()
  return found
}

function axis({ ink, grid }: Colours, which: 'x' | 'y'): uPlot.Axis {
  return {
    stroke: ink,
    font: '11px system-ui, sans-serif',
    grid: { stroke: grid, width: 1 },
    ticks: { show: false },
    ...(which === 'x'
      ? { size: 26, space: 70, values: (_, ticks) => ticks.map(shortly) }
      : { size: 54, space: 34, values: (_, ticks) => ticks.map((tick) => (tick === null ? '' : figureOf(tick))) }),
  }
}

/** `500`, `12k`, `1.5M` */
const shortly = (step: number) =>
  step >= 1e6 ? `${step / 1e6}M` : step >= 10_000 ? `${step / 1000}k` : Number.isInteger(step) ? `${step}` : ''
