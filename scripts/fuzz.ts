/**
 * Damaged files and requests for everything that reads what others wrote, in child processes, for as long as one likes:
 *
 *     npm run fuzz -- SEED CASES [FROM] [READER]
 *
 * A finding names its case: the same seed with CASES 1 and that case as FROM runs it again.
 */

import { fuzz } from '../tests/fuzz/run.ts'

const [seed = '1', cases = '1000000', from = '0', only] = process.argv.slice(2)
const started = Date.now()
let told = 0
const report = await fuzz({
  seed: Number(seed),
  cases: Number(cases),
  from: Number(from),
  only,
  onFinding: (finding) => console.log(finding),
  onProgress(done) {
    if (Date.now() - told < 10_000) return
    told = Date.now()
    const rate = Math.round((1000 * done) / (Date.now() - started))
    console.log(`${done} of ${cases} cases of seed ${seed}, ${rate} a second`)
  },
})
console.log(`${report.cases} cases of seed ${seed}: ${report.findings.length} findings`)
