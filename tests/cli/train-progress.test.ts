import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { progressBar, progressLine, TrainProgress } from '../../src/cli/train-progress.ts'
import type { RunReport } from '../../src/optim/run.ts'

const REPORT: RunReport = {
  activity: 'training',
  step: 1200,
  steps: 7000,
  scalars: { loss: 3.21454, gradNorm: 0.51771, learningRate: 3e-3, kl: 0.02 },
  speeds: { tokens: 12034.4 },
  scores: { valLoss: 3.4 },
}
const TIMES = { elapsedMs: 750_000, leftMs: 3_625_000 }

describe('the line of a run', () => {
  it('tells all there is where there is room', () => {
    expect(progressLine({ ...REPORT, stage: 'sft' }, { width: 200, ...TIMES })).toBe(
      'sft: 1200/7000 | loss 3.2145 | 1:00:25 left | valLoss 3.4000 | 12034 tokens/s | gradient 0.5177 | rate 3.0e-3 | kl 0.0200 | 12:30 so far',
    )
    expect(progressLine({ ...REPORT, activity: 'evaluating' }, { width: 60, ...TIMES })).toBe(
      'evaluating 1200/7000 | loss 3.2145 | 1:00:25 left',
    )
    expect(progressLine({ activity: 'loading', step: 0, steps: 0 }, { width: 60, elapsedMs: 7000 })).toBe(
      'loading | 0:07',
    )
  })

  it('is never longer than the terminal is wide', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 240 }), fc.nat(7000), (width, step) => {
        const report = { ...REPORT, step, stage: 'a-stage' }
        expect(progressBar(report, { width, ...TIMES }).length).toBeLessThanOrEqual(width)
      }),
    )
  })

  it('has a bar where there is room for one', () => {
    expect(progressBar(REPORT, { width: 80, ...TIMES })).toMatch(/^█{3}░{17} 1200\/7000 \| loss/)
    expect(progressBar(REPORT, { width: 30, ...TIMES })).toBe('1200/7000 | loss 3.2145')
  })
})

describe('progress', () => {
  it('is a line now and then where there is no terminal: the first, stages, the end', () => {
    const lines: string[] = []
    const progress = new TrainProgress({ write: (text) => lines.push(text) })
    progress.show({ activity: 'loading', step: 0, steps: 0 })
    for (let step = 0; step <= 50; step++) progress.show({ activity: 'training', stage: 'a', step, steps: 50 })
    progress.show({ activity: 'loading', stage: 'b', step: 0, steps: 0 })
    expect(lines.map((line) => line.split(' | ')[0].trim())).toEqual(['loading', 'a: 50/50', 'b: loading'])
  })

  it('is one line that changes on a terminal; what is said stands above it', () => {
    let shown = ''
    const progress = new TrainProgress({ isTTY: true, columns: 40, write: (text) => (shown += text) })
    progress.show({ activity: 'training', step: 1, steps: 2 })
    progress.say('a word')
    progress.show({ activity: 'training', step: 2, steps: 2 })
    progress.stop()
    expect(shown.match(/\n/g)).toHaveLength(2)
    const readable = shown.replaceAll('\r\x1b[K', '⌫')
    expect(readable).toMatch(/^⌫█.* 1\/2 \| .*⌫a word\n⌫█+ 2\/2 \| .*\n$/)
  })
})
