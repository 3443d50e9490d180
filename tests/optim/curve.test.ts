import { expect, it } from 'vitest'
import { lossCurve } from '../../src/optim/curve.ts'

it('draws a point for every step and a dot for every evaluation, lower losses lower', () => {
  const lines = [
    { step: 0, valLoss: 4 },
    ...[1, 2, 3, 4].map((step) => ({ step, loss: 4 - 0.5 * step })),
    { step: 4, valLoss: 2.2 },
  ]
  const svg = lossCurve(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
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
