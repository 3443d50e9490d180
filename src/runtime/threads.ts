import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'

/**
 * How many threads compute: `JACKDAW_THREADS`, or one a physical core. Two hyperthreads share one core's multipliers,
 * so a second thread there slows matrix products down.
 *
 * @throws Error where `JACKDAW_THREADS` is not a positive integer.
 */
export function defaultThreads(): number {
  const setting = process.env.JACKDAW_THREADS
  if (setting) {
    const threads = Number(setting)
    if (!Number.isInteger(threads) || threads < 1) {
      throw new Error(`JACKDAW_THREADS must be a positive integer, got '${setting}'`)
    }
    return threads
  }
  const logical = availableParallelism()
  return Math.max(1, Math.min(logical, physicalCores() ?? logical))
}

/** Distinct sets of hyperthread siblings, on Linux; elsewhere unknown. */
function physicalCores(): number | undefined {
  const cores = new Set<string>()
  for (let cpu = 0; ; cpu++) {
    try {
      const path = `/sys/devices/system/cpu/cpu${cpu}/topology/thread_siblings_list`
      cores.add(readFileSync(path, 'utf8').trim())
    } catch {
      return cores.size || undefined
    }
  }
}
