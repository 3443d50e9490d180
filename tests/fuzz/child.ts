import { writeSync } from 'node:fs'
import { Worker } from 'node:worker_threads'
import { Dice } from './mutate.ts'
import { openReaders, type Reader } from './readers.ts'

/**
 * Runs cases `from` to `to` of a seed, and says on standard output, a line each: `ready`, `wrong CASE READER SENTENCE`,
 * `done CASES`. A thread watches: a case that holds the processor for too long, or takes too much memory, ends the
 * process with `hang CASE` or `memory CASE`.
 */
const [seed, from, to, only, mostMs, mostMb] = process.argv.slice(2)

const WATCH = `
const { writeSync } = require('node:fs')
const { workerData: { shared, mostMs, mostBytes } } = require('node:worker_threads')
let seen = -1, since = 0, cpu = 0
const base = process.memoryUsage.rss()
setInterval(() => {
  const [index] = shared
  const { user, system } = process.cpuUsage()
  const now = (user + system) / 1000
  if (index !== seen) [seen, since, cpu] = [index, Date.now(), now]
  const end = (what) => {
    writeSync(1, what + ' ' + index + '\\n')
    process.kill(process.pid, 'SIGKILL')
  }
  if (process.memoryUsage.rss() - base > mostBytes) end('memory')
  // Time of the processor, too: others use this machine.
  else if (Date.now() - since > mostMs && now - cpu > 0.75 * mostMs) end('hang')
}, 50)`

const readers = await openReaders()
const chosen = only === 'all' ? readers : readers.filter(({ name }) => name === only)
const shared = new Int32Array(new SharedArrayBuffer(4))
shared[0] = -1
const workerData = { shared, mostMs: Number(mostMs), mostBytes: Number(mostMb) * 1e6 }
new Worker(WATCH, { eval: true, workerData, execArgv: [] }).unref()
const say = (line: string) => writeSync(1, `${line}\n`)
say('ready')
const pending = new Set<Promise<void>>()
for (let index = Number(from); index < Number(to); index++) {
  shared[0] = index
  const reader = chosen[index % chosen.length]
  const read = run(reader, index)
  if (reader.waits) {
    pending.add(read)
    void read.then(() => pending.delete(read))
    if (pending.size > 100) await Promise.race(pending)
  } else await read
  // Streams, timers and other processes have their turn.
  if (index % chosen.length === 0) await new Promise((resolve) => setImmediate(resolve))
  if (index % 100 === 99) say(`done ${index + 1}`)
}
await Promise.all(pending)
say(`done ${to}`)
process.exit(0)

async function run(reader: Reader, index: number): Promise<void> {
  try {
    await reader.run(new Dice(Number(seed), index))
  } catch (error) {
    const { name, message, stack = '' } = error as Error
    const frames = stack.split('\n').filter((line) => /\/(src|fuzz)\//.test(line))
    const where = frames
      .slice(0, 3)
      .map((line) => line.trim().replace(/\(.*?\/(?=src|tests)/, '('))
      .join(' ')
    say(`wrong ${index} ${reader.name}: ${name}: ${message.slice(0, 300).replaceAll('\n', '\\n')} ${where}`)
  }
}
