import { appendFileSync, existsSync, mkdirSync, readFileSync, statSync, truncateSync } from 'node:fs'
import { dirname } from 'node:path'

export const METRICS = 'metrics.jsonl'

/**
 * metrics.jsonl: a line a step, written as it happens. A resumed program runs from its start again but does nothing
 * twice: what it says before it has come to where the run was is on record, and what was said after that is cut.
 */
export class Metrics {
  /** In bytes. What lies before is on record. */
  private position = 0

  /** @param recorded - how many bytes the newest of snapshots and finished stages knows of */
  constructor(
    readonly path: string,
    private readonly recorded: number,
  ) {
    if (existsSync(path)) truncateSync(path, Math.min(recorded, statSync(path).size))
  }

  /** The run is where it was when the file had this many bytes. */
  reached(position: number): void {
    this.position = Math.max(this.position, position)
  }

  /** A step or a stage begins of which nothing is on record. */
  begin(): void {
    this.position = this.recorded
  }

  append(line: object): void {
    if (this.position < this.recorded) return
    mkdirSync(dirname(this.path), { recursive: true })
    appendFileSync(this.path, `${JSON.stringify(line)}\n`)
  }

  /** In bytes, for a snapshot. */
  get length(): number {
    return existsSync(this.path) ? statSync(this.path).size : 0
  }

  read(): string {
    return existsSync(this.path) ? readFileSync(this.path, 'utf8') : ''
  }
}
