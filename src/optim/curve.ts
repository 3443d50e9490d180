/** A line of metrics.jsonl, as far as the picture needs it. */
interface Line {
  step: number
  /** Of training. */
  loss?: number
  /** On held-out text. */
  valLoss?: number
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [720, 360, 48, 16, 16, 36]
/** Steps that the running mean of the loss looks back over, roughly. */
const SMOOTHING = 20

/**
 * The curve of a training run as SVG: the training loss as a running mean, evaluations as dots.
 *
 * @param metrics - the text of metrics.jsonl
 */
export function lossCurve(metrics: string): string {
  const lines = metrics
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line)
  const evaluations = lines.flatMap(({ step, valLoss }) => (valLoss === undefined ? [] : [[step, valLoss] as const]))
  const losses: (readonly [number, number])[] = []
  let mean: number | undefined
  for (const { step, loss } of lines) {
    if (loss === undefined) continue
    mean = mean === undefined ? loss : mean + (loss - mean) / SMOOTHING
    losses.push([step, mean])
  }
  const all = [...evaluations, ...losses]
  const lastStep = Math.max(...all.map(([step]) => step))
  const [low, high] = [Math.floor(Math.min(...all.map(([, y]) => y))), Math.ceil(Math.max(...all.map(([, y]) => y)))]
  const x = (step: number) => (LEFT + ((WIDTH - LEFT - RIGHT) * step) / lastStep).toFixed(1)
  const y = (loss: number) => (TOP + ((HEIGHT - TOP - BOTTOM) * (high - loss)) / (high - low)).toFixed(1)
  const rows = Array.from({ length: high - low + 1 }, (_, i) => low + i)
  const columns = Array.from({ length: 5 }, (_, i) => Math.round((lastStep * i) / 4))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    ...rows.map(
      (v) =>
        `<path d="M${LEFT} ${y(v)}H${WIDTH - RIGHT}" stroke="#ddd"/><text x="${LEFT - 8}" y="${y(v)}" dy="4" text-anchor="end">${v}</text>`,
    ),
    ...columns.map((v) => `<text x="${x(v)}" y="${HEIGHT - 12}" text-anchor="middle">${v}</text>`),
    `<polyline fill="none" stroke="#8aa" stroke-width="1.5" points="${losses.map(([s, v]) => `${x(s)},${y(v)}`).join(' ')}"/>`,
    ...evaluations.map(
      ([s, v]) =>
        `<circle cx="${x(s)}" cy="${y(v)}" r="3.5" fill="#175e7a"><title>step ${s}: ${v.toFixed(4)}</title></circle>`,
    ),
    `<text x="${WIDTH - RIGHT}" y="${TOP + 12}" text-anchor="end">loss in nats a token: training (line), held out (dots)</text>`,
    '</svg>\n',
  ].join('\n')
}
