import { expect, it } from 'vitest'
import { runCurve } from '../../src/optim/curve.ts'

it('draws a point for every step and a dot for every evaluation, lower losses lower', () => {
  const lines = [
    { step: 0, valLoss: 4 },
    ...[1, 2, 3, 4].map((step) => ({ step, loss: 4 - 0.5 * step })),
    { step: 4, valLoss: 2.2 },
  ]
  const svg = runCurve(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  const points =
    /points="([^"]+)"/
      .exec(svg)?.[1]
      .split(' ')
      .map((point) => point.split(',').map(Number)) ?? []
  expect(points).toHaveLength(4)
  for (let i = 1; i < points.length; i++) {
    expect(points[i][0]).toBeGreaterThan(points[i - 1][0])
    expect(points[i][1]).toBeGreaterThan(points[i - 1][1])
  }
  expect(svg.match(/<circle/g)).toHaveLength(2)
  expect(svg).toContain('step 4: 2.2000')
})

const text = (lines: readonly object[]): string => lines.map((line) => `${JSON.stringify(line)}\n`).join('')

it('survives whatever a run may have written', () => {
  const cases = [
    '',
    text([{ step: 0, valLoss: 3 }]),
    text([1, 2, 3].map((step) => ({ step, loss: 0.5 }))),
    text([{ step: 1, loss: 0 }]),
    text([
      { step: 1, loss: null },
      { step: 2, loss: 1e-9 },
    ]),
    `${text([{ step: 1, loss: 2 }])}{"step":2,"lo`,
    text([{ taught: 3 }, { step: 1 }]),
  ]
  for (const metrics of cases) {
    const svg = runCurve(metrics)
    expect(svg).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
    expect(svg, metrics).not.toMatch(/NaN|Infinity|undefined/)
  }
})

it('draws a panel for every stage, for what the recipe asks for, and for other scores', () => {
  const svg = runCurve(
    text([
      { stage: 'sft', step: 1, loss: 2 },
      { stage: 'ppo', step: 1, loss: 0.1, reward: -1 },
      { stage: 'ppo', step: 1, winRate: 0.4 },
      { stage: 'ppo', step: 2, loss: 0.2, reward: 1 },
    ]),
    ['reward'],
  )
  const titles = [...svg.matchAll(/text-anchor="end">([^<\d-][^<]*)</g)].map(([, title]) => title)
  expect(titles).toEqual(['sft: loss', 'ppo: loss', 'ppo: reward', 'ppo: winRate'])
})

it('has round numbers at its side and no more points than it is wide', () => {
  const svg = runCurve(text(Array.from({ length: 5000 }, (_, i) => ({ step: i + 1, loss: 0.031 + 0.02 / (i + 1) }))))
  const ticks = [...svg.matchAll(/text-anchor="end">([\d.]+)</g)].map(([, tick]) => Number(tick))
  expect(ticks).toEqual([0.03, 0.035, 0.04, 0.045, 0.05, 0.055])
  expect(/points="([^"]+)"/.exec(svg)?.[1].split(' ').length).toBeLessThanOrEqual(720)
})

it('has no background, and ink for light pages and for dark ones', () => {
  const svg = runCurve(text([{ step: 1, loss: 2 }]))
  expect(svg).not.toMatch(/<rect|#fff/)
  expect(svg).toContain('@media(prefers-color-scheme:dark)')
})

it('draws what came out above the curves, over an axis of its own, by powers of ten where that is asked for', () => {
  const metrics = text([{ step: 1, loss: 2 }])
  const lines = {
    right: [
      [0, 1],
      [5, 0.25],
    ],
    'a < b': [
      [0, 1],
      [5, 2],
    ],
  } as const
  const svg = runCurve(metrics, [], [{ title: 'error & K', x: 'K', lines }])
  expect(svg).toContain('<title>Curves of a run: error &amp; K; loss</title>')
  expect(svg).toContain('a &lt; b')
  const drawn = [...svg.matchAll(/<polyline class="f"[^>]* points="([^"]+)"/g)].map(([, points]) =>
    points.split(' ').map((point) => point.split(',').map(Number)),
  )
  expect(drawn).toHaveLength(2)
  const [[first, falling], [, rising]] = drawn
  expect(falling[0]).toBeGreaterThan(first[0])
  expect(falling[1]).toBeGreaterThan(first[1])
  expect(rising[1]).toBeLessThan(first[1])

  const flops = {
    title: 'scores',
    x: 'FLOPs',
    logX: true,
    lines: { exact: [10, 100, 1000].map((x) => [x, x] as const) },
  }
  const logarithmic = runCurve(metrics, [], [flops])
  const [, points] = /<polyline class="f"[^>]* points="([^"]+)"/.exec(logarithmic) ?? []
  const [a, b, c] = points.split(' ').map((point) => Number(point.split(',')[0]))
  expect(b - a).toBeCloseTo(c - b, 0)
  expect(logarithmic).toContain('>1e2<')
  expect(logarithmic).not.toMatch(/NaN|Infinity|undefined/)
})
