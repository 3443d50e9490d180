import fc from 'fast-check'
import { expect, it } from 'vitest'
import { agoOf, durationOf, figureOf, nameOf } from '../../web/src/pages/lab/figures.ts'
import { chartsOf, latest, RunMetrics, smoothed } from '../../web/src/pages/lab/run-metrics.ts'
import { isLive, standingText } from '../../web/src/pages/lab/run-state.ts'

it('makes columns of lines, stage by stage, the second word on a step counting', () => {
  const metrics = new RunMetrics()
  metrics.add([
    { step: 0, valLoss: 8 },
    { step: 1, loss: 7, gradNorm: 1, learningRate: 0.1, tokensPerSecond: 100 },
    { step: 2, loss: null, gradNorm: 2, learningRate: 0.2, tokensPerSecond: 90 },
    { stage: 'tune', step: 1, loss: 5, reward: 1 },
    { stage: 'tune', step: 1, loss: 4 },
    'not a line',
    { loss: 3 },
    null,
  ])
  const run = metrics.stages.get('')
  expect([...metrics.stages.keys()]).toEqual(['', 'tune'])
  expect(run?.get('loss')).toEqual({ steps: [1, 2], values: [7, Number.NaN] })
  expect(latest(run?.get('loss'))).toBe(7)
  expect(metrics.stages.get('tune')?.get('loss')).toEqual({ steps: [1], values: [4] })
  expect(run && chartsOf(run)).toEqual(['loss', 'learningRate', 'gradNorm', 'tokensPerSecond'])
})

it('steps only go up, whatever lines come', () => {
  const line = fc.record({ step: fc.nat(20), loss: fc.option(fc.double()) })
  fc.assert(
    fc.property(fc.array(line), (lines) => {
      const metrics = new RunMetrics()
      metrics.add(lines)
      const { steps = [], values = [] } = metrics.stages.get('')?.get('loss') ?? {}
      expect(values.length).toBe(steps.length)
      for (let i = 1; i < steps.length; i++) expect(steps[i]).toBeGreaterThan(steps[i - 1])
    }),
  )
})

it('a running mean begins at the first value, keeps to the range, and passes over what is no number', () => {
  expect(smoothed([4, Number.NaN, 2], 0.5)).toEqual([4, 4, 3])
  expect(smoothed([4, 2], 0)).toEqual([4, 2])
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: -10, max: 10, noNaN: true })),
      fc.double({ min: 0, max: 0.99, noNaN: true }),
      (of, keep) => {
        for (const mean of smoothed(of, keep)) expect(Math.abs(mean)).toBeLessThanOrEqual(10.0001)
      },
    ),
  )
})

it('writes figures as one reads them', () => {
  expect([0, 0.00001234, 0.5, 4.70102, 12345.6, Number.NaN].map(figureOf)).toEqual([
    '0',
    '1.23e-5',
    '0.5',
    '4.701',
    '12,346',
    'NaN',
  ])
  expect([45, 720, 11_100, 7200].map(durationOf)).toEqual(['45 s', '12 min', '3 h 5 min', '2 h'])
  const now = Date.parse('2026-01-03T12:00:00Z')
  const ago = ['2026-01-03T11:59:30Z', '2026-01-03T11:00:00Z', '2026-01-02T10:00:00Z', '2026-01-04T00:00:00Z']
  expect(ago.map((date) => agoOf(date, now))).toEqual(['now', '1 h ago', 'yesterday', 'now'])
  expect(['loss', 'tokensPerSecond', 'klFromReference'].map(nameOf)).toEqual(['Loss', 'Tokens/s', 'Kl from reference'])
})

it('a run that says it goes on and writes nothing is called silent', () => {
  const now = Date.parse('2026-01-03T12:00:00Z')
  const run = (state: 'running' | 'stopped' | null, updatedAt: string) => ({
    ...{ name: 'a', recipe: null, paper: null, claim: null, holds: null, seconds: 0, step: 1, steps: null },
    ...{ stage: null, loss: null, state, updatedAt },
  })
  const fresh = '2026-01-03T11:59:30Z'
  const told = [run('running', fresh), run('running', '2026-01-03T11:30:00Z'), run('stopped', fresh), run(null, fresh)]
  expect(told.map((one) => standingText(one, now))).toEqual(['running', 'silent for 30 min', 'stopped', 'no result'])
  expect(told.map((one) => isLive(one, now))).toEqual([true, false, false, true])
})
