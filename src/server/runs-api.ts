import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Hono } from 'hono'
import { METRICS } from '../optim/metrics.ts'
import { RESULT, type RunResult, readResult } from '../optim/result.ts'
import { check, RequestError } from './errors.ts'
import {
  type MetricsPage,
  metricsQuery,
  type RunDetail,
  type RunList,
  type RunSample,
  type RunSummary,
} from './wire.ts'

/** As `jackdaw train` names them: `NAME-STEP.jsonl` of texts, `NAME-STEP.png` of a picture. */
const SAMPLE = /^(.+)-(\d{8,})\.(jsonl|png)$/
/** The newest of them are told. */
const MOST_SAMPLES = 400
/** What is read of metrics.jsonl at a time. */
const PAGE_BYTES = 512 * 1024
/** A line is far shorter. */
const TAIL_BYTES = 4 * 1024
/** How much before a place in metrics.jsonl tells that the file is still the same. */
const MARK_BYTES = 64
const MOST_TEXT_BYTES = 1024 * 1024

/**
 * The runs in a folder, as `jackdaw train --out FOLDER/NAME` writes them, also while they are written.
 *
 * No path is made of what a client says: a run, and a sample of it, is one of those that the folder lists, and links
 * are no runs and no samples.
 */
export function runRoutes(folder: string): Hono {
  const app = new Hono()

  app.get('/runs', async (context) => {
    const names = await runNames(folder)
    const runs = await Promise.all(names.map((name) => summary(join(folder, name), name)))
    const newestFirst = runs.sort((a, b) => b.updatedAt.localeCompare(a.updatedAt) || a.name.localeCompare(b.name))
    return context.json({ folder, runs: newestFirst } satisfies RunList)
  })

  app.get('/runs/:run', async (context) => {
    const { name, path } = await findRun(folder, context.req.param('run'))
    const samples = await samplesOf(path)
    const body: RunDetail = {
      ...(await summary(path, name)),
      result: resultOf(path) ?? null,
      hasModel: await hasModel(path),
      samples: samples.slice(0, MOST_SAMPLES),
    }
    return context.json(body)
  })

  app.get('/runs/:run/metrics', async (context) => {
    const { cursor } = check(metricsQuery, context.req.query())
    const { path } = await findRun(folder, context.req.param('run'))
    return context.json((await metricsPage(join(path, METRICS), cursor)) satisfies MetricsPage)
  })

  app.get('/runs/:run/samples/:file{.+}', async (context) => {
    const { path } = await findRun(folder, context.req.param('run'))
    const file = context.req.param('file')
    const sample = (await samplesOf(path)).find((other) => other.file === file)
    if (!sample) throw new RequestError(404, 'The run has no such sample.', { code: 'not_found' })
    const bytes = await readRegular(join(path, 'samples', sample.file))
    if (!bytes) throw new RequestError(404, 'The sample is gone.', { code: 'not_found' })
    if (sample.kind === 'picture') {
      return context.body(new Uint8Array(bytes), 200, { 'content-type': 'image/png', 'cache-control': 'no-cache' })
    }
    return context.json({ texts: lines(bytes.subarray(0, MOST_TEXT_BYTES).toString('utf8')) })
  })

  return app
}

/** Folders with something of a run in them. */
async function runNames(folder: string): Promise<string[]> {
  const entries = await listed(folder)
  const folders = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  const isRun = await Promise.all(
    folders.map(async (name) => {
      const inside = await listed(join(folder, name))
      return inside.some((entry) => entry.isFile() && [METRICS, RESULT].includes(entry.name))
    }),
  )
  return folders.filter((_, i) => isRun[i])
}

/** The run of that name: one that the folder lists. @throws RequestError 404 where there is none */
export async function findRun(folder: string, wanted: string): Promise<{ name: string; path: string }> {
  const name = (await runNames(folder)).find((other) => other === wanted)
  if (name === undefined) throw new RequestError(404, 'There is no such run.', { code: 'not_found' })
  return { name, path: join(folder, name) }
}

/** Nothing where there is no such folder, or none that may be read. */
async function listed(folder: string) {
  return readdir(folder, { withFileTypes: true }).catch((error: NodeJS.ErrnoException) => {
    if (['ENOENT', 'ENOTDIR', 'EACCES', 'EPERM'].includes(error.code ?? '')) return []
    throw error
  })
}

/** Whether a folder holds a model that may be served. */
export async function hasModel(path: string): Promise<boolean> {
  const names = (await listed(path)).filter((entry) => entry.isFile()).map(({ name }) => name)
  return ['config.json', 'model.safetensors', 'tokenizer.json'].every((name) => names.includes(name))
}

/** A damaged result.json says nothing: the run is shown without. */
export function resultOf(path: string): RunResult | undefined {
  try {
    return readResult(join(path, RESULT))
  } catch {
    return undefined
  }
}

export async function summary(path: string, name: string): Promise<RunSummary> {
  const result = resultOf(path)
  const { recipe = null, paper = null, claim = null, state = null, holds = null, seconds = 0, settings } = result ?? {}
  const last = await lastLine(join(path, METRICS))
  const { step = result?.step ?? 0, stage = null } = last ?? {}
  const written = await Promise.all([METRICS, RESULT].map((file) => stat(join(path, file)).catch(() => undefined)))
  const updatedAt = new Date(Math.max(0, ...written.map((file) => file?.mtimeMs ?? 0))).toISOString()
  // With stages, the setting is of one of them or of none.
  const steps = stage === null && typeof settings?.steps === 'number' ? settings.steps : null
  return { name, recipe, paper, claim, state, holds, seconds, step, steps, stage, loss: last?.loss ?? null, updatedAt }
}

interface LastLine {
  step?: number
  stage?: string
  loss?: number
}

/** What the newest step says; the line that is being written is none yet. */
async function lastLine(path: string): Promise<LastLine | undefined> {
  const file = await openRegular(path)
  if (!file) return undefined
  try {
    const { size } = await file.stat()
    const tail = await readAt(file, Math.max(0, size - TAIL_BYTES), Math.min(size, TAIL_BYTES))
    const read = lines(tail.subarray(0, tail.lastIndexOf('\n') + 1).toString('utf8')) as LastLine[]
    const newest = read.findLast((line) => typeof line?.step === 'number')
    const loss = read.findLast((line) => typeof line?.loss === 'number' && line.stage === newest?.stage)?.loss
    return newest && { step: newest.step, stage: typeof newest.stage === 'string' ? newest.stage : undefined, loss }
  } finally {
    await file.close()
  }
}

/**
 * The lines after a cursor. A run that was resumed has cut what its snapshot did not know of, and gone on elsewhere:
 * what lies before the cursor is then another text, and reading begins anew.
 */
async function metricsPage(path: string, cursor = '0.'): Promise<MetricsPage> {
  const file = await openRegular(path)
  if (!file) return { cursor: '0.', restarted: true, more: false, lines: [] }
  try {
    const { size } = await file.stat()
    const [asked, mark] = cursor.split('.')
    const restarted = Number(asked) > size || (await markBefore(file, Number(asked))) !== mark
    const from = restarted ? 0 : Number(asked)
    const bytes = await readAt(file, from, Math.min(PAGE_BYTES, size - from))
    // The line that is being written is read when it is whole; one that is longer than a page is none of ours.
    const whole = bytes.lastIndexOf('\n') + 1
    const end = from + (whole === 0 && bytes.length === PAGE_BYTES ? bytes.length : whole)
    return {
      cursor: `${end}.${await markBefore(file, end)}`,
      restarted: restarted || from === 0,
      more: from + bytes.length < size,
      lines: lines(bytes.subarray(0, whole).toString('utf8')),
    }
  } finally {
    await file.close()
  }
}

async function markBefore(file: FileHandle, place: number): Promise<string> {
  if (place === 0) return ''
  const from = Math.max(0, place - MARK_BYTES)
  const before = await readAt(file, from, place - from)
  return createHash('sha256').update(before).digest('hex').slice(0, 12)
}

async function samplesOf(path: string): Promise<RunSample[]> {
  if (!(await listed(path)).some((entry) => entry.isDirectory() && entry.name === 'samples')) return []
  const folder = join(path, 'samples')
  const entries = await listed(folder)
  const stages = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  const staged = await Promise.all(stages.map(async (stage) => ({ stage, files: await listed(join(folder, stage)) })))
  return [{ stage: null, files: entries }, ...staged]
    .flatMap(({ stage, files }) =>
      files.filter((entry) => entry.isFile()).flatMap(({ name }) => sampleCalled(name, stage) ?? []),
    )
    .sort((a, b) => b.step - a.step || a.file.localeCompare(b.file))
}

function sampleCalled(file: string, stage: string | null): RunSample | undefined {
  const parts = SAMPLE.exec(file)
  if (!parts) return undefined
  const [, name, step, ending] = parts
  const kind = ending === 'png' ? 'picture' : 'texts'
  return { stage, name, step: Number(step), kind, file: stage === null ? file : `${stage}/${file}` }
}

/** Undefined where there is no such file, and where it is something else: a link, a pipe. */
async function openRegular(path: string): Promise<FileHandle | undefined> {
  const flags = constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0)
  const file = await open(path, flags).catch((error: NodeJS.ErrnoException) => {
    if (['ENOENT', 'ELOOP', 'EACCES', 'EPERM', 'ENXIO'].includes(error.code ?? '')) return undefined
    throw error
  })
  if (file && !(await file.stat()).isFile()) {
    await file.close()
    return undefined
  }
  return file
}

async function readRegular(path: string): Promise<Buffer | undefined> {
  const file = await openRegular(path)
  try {
    return await file?.readFile()
  } finally {
    await file?.close()
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position)
  return buffer.subarray(0, bytesRead)
}

/** JSON of each line; what is none is left out. */
function lines(text: string): unknown[] {
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as unknown]
    } catch {
      return []
    }
  })
}
