import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { lockFile } from '../runtime/file-lock.ts'
import type { Sample } from './task.ts'

/** A line of the file: a sample, and which run it is of. */
type Line = Sample & { readonly run_hash: string }

/**
 * What was asked so far, kept as it comes: a run that was killed goes on where it was. The samples of a task are in a file of
 * another name until all are there.
 */
export class SamplesFile {
  private readonly held: Map<number, Sample>
  private descriptor: number | undefined

  /**
   * @param runHash - tells settings, data and model from others
   * @throws Error where the file holds samples of another run
   */
  constructor(
    private readonly folder: string,
    private readonly task: string,
    private readonly runHash: string,
  ) {
    const path = [this.unfinished, this.finished].find((file) => existsSync(file))
    this.held = path === undefined ? new Map() : this.read(path)
  }

  private get finished(): string {
    return join(this.folder, `samples_${this.task}.jsonl`)
  }

  private get unfinished(): string {
    return join(this.folder, `.samples_${this.task}.jsonl.part`)
  }

  /** Samples that need not be asked again, by item. */
  get samples(): ReadonlyMap<number, Sample> {
    return this.held
  }

  /** Adds samples, and does not come back before they are on the disk. */
  add(samples: readonly Sample[]): void {
    if (this.descriptor === undefined) {
      // More items than an earlier run was asked for: it is unfinished again.
      if (!existsSync(this.unfinished) && existsSync(this.finished)) renameSync(this.finished, this.unfinished)
      this.descriptor = openSync(this.unfinished, 'a')
    }
    const lines = samples.map((sample): Line => ({ ...sample, run_hash: this.runHash }))
    writeSync(this.descriptor, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    fsyncSync(this.descriptor)
    for (const sample of samples) this.held.set(sample.doc_id, sample)
  }

  /** All are there: the file gets its name. */
  finish(): void {
    this.close()
    if (existsSync(this.unfinished)) renameSync(this.unfinished, this.finished)
  }

  close(): void {
    if (this.descriptor !== undefined) closeSync(this.descriptor)
    this.descriptor = undefined
  }

  private read(path: string): Map<number, Sample> {
    const text = readFileSync(path, 'utf8')
    const whole = text.slice(0, text.lastIndexOf('\n') + 1)
    // What a killed run was writing.
    if (whole.length < text.length) truncateSync(path, Buffer.byteLength(whole))
    const samples = new Map<number, Sample>()
    for (const [i, json] of whole.split('\n').entries()) {
      if (json === '') continue
      const { run_hash: runHash, ...sample } = this.parse(json, `${path}, line ${i + 1}`)
      if (runHash !== this.runHash) {
        throw new Error(
          `${path} is of a run with other settings, data or another model: give another --out, or delete it to begin anew`,
        )
      }
      samples.set(sample.doc_id, sample)
    }
    return samples
  }

  private parse(json: string, where: string): Line {
    try {
      const line = JSON.parse(json) as Line
      if (Number.isInteger(line.doc_id) && typeof line.scores === 'object') return line
    } catch {
      // told below
    }
    throw new Error(`${where}: is no sample of a run; delete the file to begin anew`)
  }
}

/**
 * Makes a folder and takes it for this process, until it ends.
 *
 * @throws Error where another process has it
 */
export function takeFolder(folder: string): () => void {
  mkdirSync(folder, { recursive: true })
  const descriptor = openSync(join(folder, '.lock'), 'a')
  if (lockFile(descriptor) === false) {
    closeSync(descriptor)
    throw new Error(`${folder} is in use by another evaluation: wait for it, or give another --out`)
  }
  return () => closeSync(descriptor)
}
