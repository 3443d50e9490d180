import { join } from 'node:path'
import { writeAtomically } from '../hub/file.ts'
import type { LanguageModel } from '../prompt/language-model.ts'
import { type DataFile, fingerprint } from './data-file.ts'
import { type EvalResults, groupScores, type TaskResult, taskResult, toResults } from './results.ts'
import { SamplesFile, takeFolder } from './samples-file.ts'
import type { AskSettings, Opening, OpenTask, Sample, Task } from './task.ts'

/** A task with its data. */
export interface TaskRun {
  readonly task: Task
  readonly data: DataFile
  /** Another file of the folder that the data are in. */
  beside(name: string): DataFile
}

export interface EvaluateOptions extends AskSettings {
  /** Only the first so many questions. */
  limit?: number
  /** Names for several of the tasks, whose scores are also told together. */
  groups?: Readonly<Record<string, readonly string[]>>
  /** A folder for results.json and the samples: a run that was killed goes on from there. */
  out?: string
  /** What the model is, for the results: reference, precision. Another one does not go on with a run. */
  modelInfo?: Readonly<Record<string, unknown>>
  onProgress?: (report: Progress) => void
  signal?: AbortSignal
}

export interface Progress {
  readonly task: string
  readonly done: number
  readonly total: number
}

/** Questions between two times that samples are put on the disk: many share a beginning, and a killed run loses few. */
const CHUNK = 64

/** Asks a model the questions of tasks, and sums up. */
export async function evaluate(
  model: LanguageModel,
  runs: readonly TaskRun[],
  options: EvaluateOptions = {},
): Promise<EvalResults> {
  const { limit, groups = {}, out, modelInfo = {}, onProgress, signal, ...settings } = options
  const started = Date.now()
  const release = out === undefined ? undefined : takeFolder(out)
  try {
    // What is wrong with any data is said before anything is asked.
    const opened = runs.map((run) => ({ ...run, open: run.task.open(run.data, settings, opening(model, run)) }))
    const results: TaskResult[] = []
    for (const { task, data, open } of opened) {
      const identity = JSON.stringify([
        task.name,
        task.version,
        fingerprint(data.text),
        modelInfo,
        open.config,
        open.numFewshot,
      ])
      const file = out === undefined ? undefined : new SamplesFile(out, task.name, fingerprint(identity))
      try {
        const total = Math.min(limit ?? open.size, open.size)
        const samples = await askAll(model, open, total, file, {
          onProgress: (done) => onProgress?.({ task: task.name, done, total }),
          signal,
        })
        results.push(taskResult(task, open, samples))
      } finally {
        file?.close()
      }
    }
    const all = toResults(results, groupScores(results, groups), {
      ...{ limit, modelInfo, settings, started, seconds: (Date.now() - started) / 1000 },
    })
    if (out !== undefined) {
      await writeAtomically(join(out, 'results.json'), (write) =>
        write(new TextEncoder().encode(`${JSON.stringify(all, undefined, 2)}\n`)),
      )
    }
    return all
  } finally {
    release?.()
  }
}

const opening = (model: LanguageModel, { beside }: TaskRun): Opening => ({ model, beside })

/** The samples of the first `total` items; those that a file holds are not asked again. */
async function askAll(
  model: LanguageModel,
  open: OpenTask,
  total: number,
  file: SamplesFile | undefined,
  { onProgress, signal }: { onProgress: (done: number) => void; signal?: AbortSignal },
): Promise<Sample[]> {
  const samples = new Map(file?.samples)
  const all = Array.from({ length: total }, (_, item) => item)
  const missing = all.filter((item) => !samples.has(item))
  for (let start = 0; start < missing.length; start += CHUNK) {
    signal?.throwIfAborted()
    const items = missing.slice(start, start + CHUNK)
    const before = total - missing.length + start
    onProgress(before)
    const asked = await open.ask(model, items, {
      onProgress: (done, of) => onProgress(before + (items.length * done) / of),
      signal,
    })
    file?.add(asked)
    for (const sample of asked) samples.set(sample.doc_id, sample)
  }
  onProgress(total)
  file?.finish()
  return all.map((item) => samples.get(item) as Sample)
}
