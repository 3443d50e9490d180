import { cpus, loadavg, totalmem } from 'node:os'
import { defaultThreads } from '../src/runtime/threads.ts'

/** What figures must be read with. */
export interface Machine {
  readonly processor: string
  readonly cores: number
  readonly memoryGb: number
  readonly platform: string
  /** Mean number of running processes over the last minute; above 0 at the start means that others compute too. */
  readonly loadAtStart: number
}

export const describeMachine = (): Machine => ({
  processor: cpus()[0].model,
  cores: defaultThreads(),
  memoryGb: Math.round(totalmem() / 2 ** 30),
  platform: `${process.platform} ${process.arch}`,
  loadAtStart: Math.round(loadavg()[0] * 100) / 100,
})
