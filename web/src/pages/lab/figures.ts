/** `0.0312`, `4.7`, `1.2e-5`, `12,345` */
export function figureOf(value: number): string {
  if (!Number.isFinite(value)) return 'NaN'
  const size = Math.abs(value)
  if (size >= 1000) return Math.round(value).toLocaleString('en')
  if (size > 0 && size < 1e-3) return value.toExponential(2)
  return `${Number(value.toPrecision(4))}`
}

/** `45 s`, `12 min`, `3 h 5 min` */
export function durationOf(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  if (minutes < 90) return `${minutes} min`
  const rest = minutes % 60
  return rest === 0 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 60)} h ${rest} min`
}

/** `now`, `5 min ago`, `3 h ago`, `2 days ago` */
export function agoOf(date: string, now: number): string {
  const seconds = Math.max(0, (now - Date.parse(date)) / 1000)
  if (seconds < 60) return 'now'
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`
  const days = Math.floor(seconds / 86_400)
  return days === 1 ? 'yesterday' : `${days} days ago`
}

const named: Readonly<Record<string, string>> = {
  loss: 'Loss',
  valLoss: 'Held-out loss',
  learningRate: 'Learning rate',
  gradNorm: 'Gradient norm',
  kl: 'KL',
  klCoef: 'KL coefficient',
}

/** What a series of metrics.jsonl is called: `tokensPerSecond` is `Tokens/s`. */
export function nameOf(series: string): string {
  const known = named[series]
  if (known) return known
  const words = series
    .replace(/PerSecond$/, '/s')
    .replace(/([a-z])([A-Z])/g, '$1 $2')
    .toLowerCase()
  return words.charAt(0).toUpperCase() + words.slice(1)
}
