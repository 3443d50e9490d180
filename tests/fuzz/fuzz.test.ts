import { expect, it } from 'vitest'
import { fuzz } from './run.ts'

/** A share of what `scripts/fuzz.ts` runs for longer: as many cases as there is time for. */
const SEED = 20_260_501
const MOST_MS = 18_000

it('damaged files and requests are read or refused with a sentence: no crash, no hang, no flood of memory', async () => {
  const report = await fuzz({ seed: SEED, cases: 5000, until: Date.now() + MOST_MS })
  expect(report.findings).toEqual([])
  // The slowest machine comes so far.
  expect(report.cases).toBeGreaterThan(100)
})
