/**
 * Damaged files and requests for everything that reads what others wrote, in child processes, for as long as one likes:
 *
 *     node --input-type=module -e "import { runnerImport } from 'vite'; await runnerImport('./scripts/fuzz.ts')" \
 *       scripts/fuzz.ts SEED CASES [FROM] [READER]
 */

import { appendFileSync } from 'node:fs'
import { fuzz } from '../tests/fuzz/run.ts'

const [seed = '1', cases = '1000000', from = '0', only] = process.argv.slice(2)
const started = Date.now()
let told = 0
const report = await fuzz({
  seed: Number(seed),
  cases: Number(cases),
  from: Number(from),
  only,
  onProgress(done, findings) {
    if (Date.now() - told < 10_000) return
    told = Date.now()
    const rate = Math.round((1000 * done) / (Date.now() - started))
    console.log(`${done} of ${cases} cases of seed ${seed}, ${findings} findings before, ${rate} a second`)
  },
})
for (const finding of report.findings) console.log(finding)
console.log(`${report.cases} cases of seed ${seed}: ${report.findings.length} findings`)
if (process.env.FUZZ_LOG) appendFileSync(process.env.FUZZ_LOG, `${report.findings.join('\n')}\n`)
