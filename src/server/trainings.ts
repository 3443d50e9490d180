import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { z } from 'zod'
import { toJson, writeWhole } from '../optim/files.ts'
import { RESULT } from '../optim/result.ts'
import { RequestError } from './errors.ts'
import { packageRoot } from './package.ts'
import { resultOf, summary } from './runs-api.ts'
import type { Training } from './wire.ts'

/**
 * Runs that the page has asked for. Each is `jackdaw train` in a process of its own, one at a time, and its folder says
 * all of it: what it is to do in training.json, what it has said in training.log, how far it is in the files that every
 * run writes. So a server that was started again, or killed, finds what it had begun.
 */

const JOB = 'training.json'
const LOG = 'training.log'
/** Of trainings that wait for their turn. */
const MOST_WAITING = 4
/** How long a run may take to write its snapshot after it was told to stop. */
const STOP_MS = 20_000
/** Between two looks at a run of a server that is gone. */
const LOOK_MS = 500
const LOG_TAIL_BYTES = 8 * 1024

const JOB_SCHEMA = z.object({
  kind: z.enum(['reward', 'ppo']),
  model: z.string(),
  reward: z.string().nullable(),
  examples: z.number(),
  /** Of `jackdaw train`, beside --out. */
  arguments: z.array(z.string()),
  /** As it was last known; a process that is gone has come to another end. */
  state: z.enum(['waiting', 'running', 'stopped', 'failed', 'finished']),
  /** Go on with what the folder holds. */
  resume: z.boolean(),
  process: z.number().nullable(),
  error: z.string().nullable(),
  startedAt: z.string(),
})
type Job = z.infer<typeof JOB_SCHEMA>

export interface TrainingOptions {
  /** What `jackdaw train` is on this machine: a program and its first arguments. */
  command?: readonly [string, ...string[]]
  /** What each kind of training is called. */
  recipes?: Readonly<Record<Training['kind'], string>>
  /** How many pairs a reward model needs. Default 10. */
  leastPreferences?: number
}

export interface NewTraining {
  kind: Training['kind']
  model: string
  /** What `--set model=` takes. */
  modelReference: string
  reward?: { run: string; folder: string }
  /** Lines of JSON that it learns from. */
  examples: readonly string[]
  settings: Readonly<Record<string, number | boolean>>
}

interface Current {
  readonly run: string
  /** Tells it to end; it may do so before it has written anything. */
  stop(): void
  isStopping: boolean
  readonly ended: Promise<void>
}

const jackdawTrain: readonly [string, ...string[]] = [process.execPath, join(packageRoot, 'bin', 'jackdaw.js'), 'train']
const usualRecipes = { reward: 'instructgpt/reward', ppo: 'instructgpt/ppo' } as const

export class Trainings {
  readonly leastPreferences: number
  private readonly command: readonly [string, ...string[]]
  private readonly recipes: Readonly<Record<Training['kind'], string>>
  private readonly jobs = new Map<string, Job>()
  private opened?: Promise<void>
  /** The one that trains. */
  private current?: Current
  private isClosed = false

  constructor(
    private readonly runsDir: string,
    private readonly log: (error: unknown) => void,
    /** Called with each run that has come to its end. */
    private readonly onFinished: (run: string, kind: Training['kind']) => void,
    options: TrainingOptions = {},
  ) {
    this.command = options.command ?? jackdawTrain
    this.recipes = options.recipes ?? usualRecipes
    this.leastPreferences = options.leastPreferences ?? 10
  }

  /** Finds what was begun earlier, and goes on with what waits. */
  open(): Promise<void> {
    this.opened ??= this.find()
    return this.opened
  }

  private async find(): Promise<void> {
    const entries = await readdir(this.runsDir, { withFileTypes: true }).catch(() => [])
    for (const { name } of entries.filter((entry) => entry.isDirectory())) {
      const job = await readJob(join(this.runsDir, name))
      if (job) this.jobs.set(name, job)
    }
    for (const [run, job] of this.jobs) {
      if (job.state !== 'running') continue
      // Of a server that was killed: its run goes on.
      if (job.process !== null && (await isRunning(job.process, this.folderOf(run)))) this.follow(run, job, job.process)
      else await this.settle(run, job, { isWell: true, cutOff: 'The server ended while it trained; it can go on.' })
    }
    this.next()
  }

  /** Newest first. */
  async list(): Promise<Training[]> {
    await this.open()
    const all = await Promise.all([...this.jobs].map(([run, job]) => this.told(run, job)))
    return all.sort((a, b) => b.startedAt.localeCompare(a.startedAt) || b.run.localeCompare(a.run))
  }

  /** The training of that run. @throws RequestError 404 where there is none */
  async training(run: string): Promise<Training> {
    await this.open()
    return this.told(run, this.jobOf(run))
  }

  /** @throws RequestError 429 where too many wait already */
  async start({ kind, model, modelReference, reward, examples, settings }: NewTraining): Promise<Training> {
    await this.open()
    const waiting = [...this.jobs.values()].filter(({ state }) => state === 'waiting').length
    if (waiting >= MOST_WAITING) {
      throw new RequestError(429, `${waiting} trainings wait for their turn already; stop one of them, or wait.`, {
        code: 'rate_limit_exceeded',
      })
    }
    const run = await this.newFolder(`${model.replace(/[^\w.-]+/g, '-').replace(/^[.-]+/, '')}-${kind}`)
    const data = join(this.folderOf(run), kind === 'reward' ? 'preferences.jsonl' : 'prompts.jsonl')
    await writeFile(data, examples.map((line) => `${line}\n`).join(''))
    const set = Object.entries({ model: modelReference, data, ...(reward && { reward: reward.folder }), ...settings })
    const job: Job = {
      ...{ kind, model, reward: reward?.run ?? null, examples: examples.length },
      arguments: [this.recipes[kind], ...set.flatMap(([key, value]) => ['--set', `${key}=${value}`])],
      ...{ state: 'waiting', resume: false, process: null, error: null, startedAt: new Date().toISOString() },
    }
    this.jobs.set(run, job)
    await this.keep(run, job)
    this.next()
    return this.told(run, job)
  }

  /** Takes it from the queue, or has it write a snapshot and end. */
  async stop(run: string): Promise<Training> {
    await this.open()
    const job = this.jobOf(run)
    if (this.current?.run === run) await this.stopCurrent(this.current)
    else if (job.state === 'waiting') {
      job.state = 'stopped'
      await this.keep(run, job)
    }
    return this.told(run, job)
  }

  /** Goes on with what was stopped or failed, in its turn. @throws RequestError 409 where there is nothing to go on with */
  async resume(run: string): Promise<Training> {
    await this.open()
    const job = this.jobOf(run)
    if (job.state === 'finished') throw new RequestError(409, `${run} has come to its end.`)
    if (job.state === 'stopped' || job.state === 'failed') {
      // What ended before it had written anything begins anew.
      const resume = ['run.json', RESULT].some((name) => existsSync(join(this.folderOf(run), name)))
      Object.assign(job, { state: 'waiting', error: null, resume })
      await this.keep(run, job)
      this.next()
    }
    return this.told(run, job)
  }

  /** Stops the run in progress, with a snapshot. */
  async close(): Promise<void> {
    this.isClosed = true
    await this.opened
    if (this.current) await this.stopCurrent(this.current)
  }

  private async stopCurrent(current: Current): Promise<void> {
    current.isStopping = true
    current.stop()
    await Promise.race([current.ended, delay(STOP_MS, undefined, { ref: false })])
  }

  private folderOf(run: string): string {
    return join(this.runsDir, run)
  }

  private jobOf(run: string): Job {
    const job = this.jobs.get(run)
    if (!job) throw new RequestError(404, 'There is no such training.', { code: 'not_found' })
    return job
  }

  private async told(run: string, job: Job): Promise<Training> {
    const { kind, model, reward, examples, state, error, startedAt } = job
    const found = await summary(this.folderOf(run), run)
    const hasBegun = found.state !== null || found.step > 0
    return { run, kind, model, reward, examples, state, error, startedAt, summary: hasBegun ? found : null }
  }

  /** The first name that is free: no two trainings write into one folder. */
  private async newFolder(name: string): Promise<string> {
    await mkdir(this.runsDir, { recursive: true })
    for (let number = 1; ; number++) {
      try {
        mkdirSync(join(this.runsDir, `${name}-${number}`))
        return `${name}-${number}`
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
  }

  private keep(run: string, job: Job): Promise<void> {
    return writeWhole(join(this.folderOf(run), JOB), toJson(job))
  }

  /** Begins with the training that has waited longest, where none is in progress. */
  private next(): void {
    if (this.current || this.isClosed) return
    const waiting = [...this.jobs].filter(([, { state }]) => state === 'waiting')
    const [first] = waiting.sort(([, a], [, b]) => a.startedAt.localeCompare(b.startedAt))
    if (first) this.train(...first)
  }

  private train(run: string, job: Job): void {
    let child: ChildProcess | undefined
    let isStopping = false
    const ended = (async () => {
      const folder = this.folderOf(run)
      const output = await open(join(folder, LOG), 'a')
      try {
        const [program, ...first] = this.command
        const more = job.resume ? ['--resume'] : []
        child = spawn(program, [...first, ...job.arguments, '--out', folder, ...more], {
          // A file, so that it may outlive this server; a group of its own, so that Ctrl C asks it once, by us.
          stdio: ['ignore', output.fd, output.fd],
          detached: true,
          env: withoutSecrets(process.env),
        })
        const end = new Promise<number | null>((resolve, reject) => {
          child?.once('exit', resolve)
          child?.once('error', reject)
        })
        Object.assign(job, { state: 'running', process: child.pid ?? null })
        if (isStopping) child.kill('SIGTERM')
        const [code] = await Promise.all([end, this.keep(run, job)])
        return code === 0
      } finally {
        await output.close()
      }
    })()
    this.set(run, job, ended, () => {
      isStopping = true
      child?.kill('SIGTERM')
    })
  }

  /** A run that a server has left behind. */
  private follow(run: string, job: Job, id: number): void {
    const ended = (async () => {
      while (await isRunning(id, this.folderOf(run))) await delay(LOOK_MS)
      // How it ended, its own folder alone tells.
      return true
    })()
    this.set(run, job, ended, () => {
      try {
        process.kill(id, 'SIGTERM')
      } catch {
        // It has just ended.
      }
    })
  }

  /** @param ended - whether the process ended well */
  private set(run: string, job: Job, ended: Promise<boolean>, stop: () => void): void {
    const end = async () => {
      const isWell = await ended.catch((error) => {
        this.log(error)
        return false
      })
      await this.settle(run, job, { isWell, cutOff: current.isStopping ? '' : null }).catch(this.log)
      this.current = undefined
      this.next()
    }
    const current: Current = { run, stop, isStopping: false, ended: Promise.resolve().then(end) }
    this.current = current
  }

  /**
   * What has become of a run whose process is gone.
   *
   * @param isWell - what the folder says is this process' word, and not that of one before
   * @param cutOff - of one that was stopped before it could say so: why, or ''; null where nobody stopped it
   */
  private async settle(
    run: string,
    job: Job,
    { isWell, cutOff }: { isWell: boolean; cutOff: string | null },
  ): Promise<void> {
    const folder = this.folderOf(run)
    const result = resultOf(folder)
    job.process = null
    if (isWell && (result?.state === 'finished' || result?.state === 'stopped')) {
      Object.assign(job, { state: result.state, error: null })
    } else if (cutOff !== null && result?.error === undefined) {
      Object.assign(job, { state: 'stopped', error: cutOff || null })
    } else {
      Object.assign(job, { state: 'failed', error: result?.error ?? (await lastWords(folder)) })
    }
    await this.keep(run, job)
    if (job.state === 'finished') this.onFinished(run, job.kind)
  }
}

/** What a training has no use for. */
function withoutSecrets({ JACKDAW_API_KEY: _, DATABASE_URL: __, ...rest }: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return rest
}

async function readJob(folder: string): Promise<Job | undefined> {
  try {
    return JOB_SCHEMA.parse(JSON.parse(await readFile(join(folder, JOB), 'utf8')))
  } catch {
    return undefined
  }
}

/** Whether a process is the training of that folder: the system may have given its number to another one. */
async function isRunning(id: number, folder: string): Promise<boolean> {
  const line = await readFile(`/proc/${id}/cmdline`, 'utf8').catch(() =>
    promisify(execFile)('ps', ['-o', 'args=', '-p', String(id)]).then(
      ({ stdout }) => stdout,
      () => '',
    ),
  )
  return line.includes(folder)
}

/** The last thing that a training said: why it ended. */
async function lastWords(folder: string): Promise<string> {
  const file = await open(join(folder, LOG)).catch(() => undefined)
  try {
    const size = (await file?.stat())?.size ?? 0
    const from = Math.max(0, size - LOG_TAIL_BYTES)
    const read = await file?.read(Buffer.alloc(size - from), 0, size - from, from)
    const lines = (read?.buffer.toString('utf8') ?? '').split('\n').filter((line) => line.trim() !== '')
    const said = lines.findLast((line) => line.startsWith('jackdaw: ')) ?? lines.at(-1)
    return said?.replace(/^jackdaw: /, '').slice(0, 500) ?? 'It ended without a word.'
  } finally {
    await file?.close()
  }
}
