import { Worker } from 'node:worker_threads'
import type { Crew, CrewJob } from './kernels.ts'

/**
 * Threads that take chunks of a pass beside the calling one. They sleep between passes, so a busy machine loses nothing
 * to them, and whoever is free takes the next chunk, so a thread that wakes up late costs nothing either.
 */

/** Places in the control words: which pass it is, whether it is open and how many are at it, the next chunk. */
const TURN = 0
const STATE = 1
const NEXT = 2
const HEADER = 3
/** Set in `STATE` while threads may join; the other bits count those that have. What describes a job is fixed until then. */
const OPEN = 1 << 30

const CONTROL_WORDS = 8
const MOST_ARRAYS = 4
const MOST_NUMBERS = 8

/** How long the calling thread looks before it sleeps until the last chunk is done. */
const SPINS = 2000

/** The loop over chunks of `Arena`, in plain JavaScript: a worker has nothing but this text. */
const WORKER = `
const { workerData: { module, memory, control, job, sums, kernels, chunkFloats } } = require('node:worker_threads')
const { exports } = new WebAssembly.Instance(module, { host: { memory } })
let turn = 0
for (;;) {
  Atomics.wait(control, ${TURN}, turn)
  turn = Atomics.load(control, ${TURN})
  let state = Atomics.load(control, ${STATE})
  while (state & ${OPEN}) {
    const seen = Atomics.compareExchange(control, ${STATE}, state, state + 1)
    if (seen === state) break
    state = seen
  }
  if (!(state & ${OPEN})) continue
  const [kernel, length, arrays, numbers] = control.subarray(${HEADER})
  const places = job.slice(0, arrays)
  const values = job.slice(${MOST_ARRAYS}, ${MOST_ARRAYS} + numbers)
  for (;;) {
    const chunk = Atomics.add(control, ${NEXT}, 1)
    const start = chunk * chunkFloats
    if (start >= length) break
    const n = Math.min(chunkFloats, length - start)
    const sum = exports[kernels[kernel]](n, ...places.map((place) => place + 4 * start), ...values)
    if (sum !== undefined) sums[chunk] = sum
  }
  if (Atomics.sub(control, ${STATE}, 1) === 1) Atomics.notify(control, ${STATE})
}`

/** Starts `helpers` threads over a shared memory. They keep no process alive. */
export function openCrew(helpers: number, { module, memory, kernels, chunkFloats, sums }: CrewJob): Crew {
  const control = new Int32Array(new SharedArrayBuffer(4 * CONTROL_WORDS))
  const job = new Float64Array(new SharedArrayBuffer(8 * (MOST_ARRAYS + MOST_NUMBERS)))
  const workerData = { module, memory, control, job, sums, kernels, chunkFloats }
  const workers = Array.from({ length: helpers }, () => {
    const worker = new Worker(WORKER, { eval: true, workerData, execArgv: [], name: 'jackdaw kernels' })
    worker.unref()
    return worker
  })
  return {
    begin(kernel, length, places, numbers) {
      control.set([kernels.indexOf(kernel), length, places.length, numbers.length], HEADER)
      job.set(places)
      job.set(numbers, MOST_ARRAYS)
      Atomics.store(control, NEXT, 0)
      Atomics.store(control, STATE, OPEN)
      Atomics.add(control, TURN, 1)
      Atomics.notify(control, TURN)
    },
    next: () => Atomics.add(control, NEXT, 1),
    finish() {
      Atomics.and(control, STATE, ~OPEN)
      for (let i = 0; i < SPINS && Atomics.load(control, STATE) !== 0; i++);
      for (let state = Atomics.load(control, STATE); state !== 0; state = Atomics.load(control, STATE)) {
        Atomics.wait(control, STATE, state)
      }
    },
    end() {
      for (const worker of workers) void worker.terminate()
    },
  }
}
