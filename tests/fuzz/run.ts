import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export interface FuzzOptions {
  seed: number
  cases: number
  /** The first case. Default 0. */
  from?: number
  /** The name of one reader; else all take turns. */
  only?: string
  /** What one case may take. Default 2 seconds and 500 megabytes. */
  mostMs?: number
  mostMb?: number
  /** Begin no case after this. */
  until?: number
  onProgress?: (done: number) => void
  onFinding?: (finding: string) => void
}

export interface FuzzReport {
  /** Cases that were run. */
  cases: number
  /** A line each: what went wrong, which case it was, and with which reader. */
  findings: string[]
}

// Node 20 runs no TypeScript; Vite's module runner does.
const RUN = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`
const CHILD = fileURLToPath(new URL('child.ts', import.meta.url))

/** A process that dies at a case tells less than one that runs the case alone. */
const ALONE = 3

/**
 * Runs cases in child processes with little memory. A case that ends its process is run again, alone in a new one: what
 * was only left over from others does not count.
 */
export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const { cases, from = 0, onProgress, onFinding, until = Number.POSITIVE_INFINITY } = options
  const findings: string[] = []
  const find = (finding: string) => {
    findings.push(finding)
    onFinding?.(finding)
  }
  let next = from
  let barren = 0
  while (next < from + cases && Date.now() < until) {
    const part = await runChild(options, next, from + cases, find, (done) => onProgress?.(done - from))
    if (part.end === undefined || Date.now() >= until) {
      next = part.end === undefined ? from + cases : part.reached
      continue
    }
    const { index, what } = part.end
    if (index < next) {
      if (++barren === ALONE) throw new Error(`the child process does not start: ${what}`)
      continue
    }
    barren = 0
    const alone = await runChild(options, index, index + 1, () => {})
    if (alone.end) find(`${what} at case ${index} (${alone.end.what})`)
    next = index + 1
  }
  return { cases: Math.min(next, from + cases) - from, findings }
}

interface Part {
  /** The first case that is not known to be through. */
  reached: number
  /** Where the process did not come to its end. */
  end?: { index: number; what: string }
}

async function runChild(
  { seed, only = 'all', mostMs = 2000, mostMb = 500, until }: FuzzOptions,
  from: number,
  to: number,
  onWrong: (line: string) => void,
  onDone: (done: number) => void = () => {},
): Promise<Part> {
  const settings = [seed, from, to, only, mostMs, mostMb].map(String)
  const child = spawn(
    process.execPath,
    ['--max-old-space-size=600', '--input-type=module', '-e', RUN, CHILD, ...settings],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  const part: Part = { reached: from }
  let ended: Part['end']
  let last = from - 1
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors = (errors + chunk).slice(-2000)
  })
  const lines = createInterface(child.stdout)
  lines.on('line', (line) => {
    const [word, number] = line.split(' ')
    if (word === 'done') {
      part.reached = Number(number)
      onDone(part.reached)
      if (until !== undefined && Date.now() >= until) child.kill('SIGKILL')
    } else if (word === 'wrong') {
      onWrong(line)
      last = Number(number)
    } else if (word === 'hang' || word === 'memory') ended = { index: Number(number), what: word }
  })
  const [code] = await once(child, 'close')
  if (code !== 0) part.end = ended ?? { index: Math.max(last, part.reached - 1), what: `crash: ${errors}` }
  return part
}
