type Point = readonly [x: number, y: number]

interface LineFigureProps {
  /** What a screen reader calls it, before the values. */
  label: string
  /** By name; the names are shown where there are several. */
  lines: Readonly<Record<string, readonly Point[]>>
  xName?: string
  logX?: boolean
  /** The whole axis, where it is known before the values are. */
  xRange?: readonly [number, number]
  showY: (y: number) => string
  /** The axis begins at 0 and ends at this at the least. */
  leastTop?: number
  /** A place on the axis that stands out. */
  marked?: number
}

const [width, height, left, right, top, bottom] = [440, 270, 52, 14, 14, 44]
const kinds = 6

/** A few lines over a common axis: what came out, not what still grows. */
export function LineFigure(props: LineFigureProps) {
  const { label, lines, xName, logX = false, showY, leastTop, marked } = props
  const points = Object.values(lines).flat()
  const xs = points.map(([x]) => x)
  const [from, to] = props.xRange ?? [Math.min(...xs), Math.max(...xs)]
  const scaled = (x: number) => (logX ? Math.log10(x) : x)
  const span = scaled(to) - scaled(from) || 1
  const xOf = (x: number) => left + ((scaled(x) - scaled(from)) / span) * (width - left - right)
  const ys = points.map(([, y]) => y).filter(Number.isFinite)
  const low = leastTop === undefined ? Math.min(...ys) : 0
  const high = Math.max(...ys, leastTop ?? Number.NEGATIVE_INFINITY)
  const yOf = (y: number) => top + (1 - (y - low) / (high - low || 1)) * (height - top - bottom)
  const heard = Object.entries(lines).map(
    ([name, line]) => `${name} ${line.map(([x, y]) => `${showX(x)}: ${showY(y)}`).join(', ')}`,
  )
  const ticks = [...new Set(points.length <= 12 ? xs : [from, to])].sort((a, b) => a - b)
  return (
    <figure className="line-figure">
      <svg viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`${label}. ${heard.join('; ')}`}>
        {ys.length > 0 &&
          [low, (low + high) / 2, high].map((y) => (
            <g key={y}>
              <line className="grid" x1={left} x2={width - right} y1={yOf(y)} y2={yOf(y)} />
              <text x={left - 8} y={yOf(y) + 4} textAnchor="end">
                {showY(y)}
              </text>
            </g>
          ))}
        {ticks.map((x) => (
          <text key={x} x={xOf(x)} y={height - bottom + 18} textAnchor="middle">
            {showX(x)}
          </text>
        ))}
        {xName && (
          <text x={(left + width - right) / 2} y={height - 6} textAnchor="middle">
            {xName}
          </text>
        )}
        {Object.entries(lines).map(([name, line], i) => (
          <g key={name} className={`line-${i % kinds}`}>
            <polyline className="line" points={line.map(([x, y]) => `${xOf(x)},${yOf(y)}`).join(' ')} />
            {line.map(([x, y]) => (
              <circle
                key={x}
                className={x === marked ? 'dot is-marked' : 'dot'}
                cx={xOf(x)}
                cy={yOf(y)}
                r={x === marked ? 6 : 3.5}
              />
            ))}
          </g>
        ))}
      </svg>
      {Object.keys(lines).length > 1 && (
        <figcaption aria-hidden="true">
          {Object.keys(lines).map((name, i) => (
            <span key={name} className={`line-${i % kinds}`}>
              <span className="line-key" />
              {name}
            </span>
          ))}
        </figcaption>
      )}
    </figure>
  )
}

/** `3`, `0.25`, `1.2e9` */
const showX = (x: number) =>
  Math.abs(x) >= 1e5 ? x.toExponential(1).replace('e+', 'e') : `${Number(x.toPrecision(3))}`
