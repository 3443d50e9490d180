import { existsSync, readFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { encodePng, pictureGrid } from '../image/png.ts'
import type { TensorData } from '../tensor/index.ts'
import { runCurve } from './curve.ts'
import { toJson, writeWhole } from './files.ts'
import { type Loop, Stopped, scalarsOf, steps, trainLoop } from './loop.ts'
import { METRICS, Metrics } from './metrics.ts'
import { savedWeights, saveModel } from './model-folder.ts'
import type {
  CommonSettings,
  Figure,
  Json,
  ModelProduct,
  Recipe,
  RecipeContext,
  Scalars,
  StageProduct,
  Step,
  StepsOptions,
  TrainLoopOptions,
} from './recipe.ts'
import { FIGURE, RESULT, type RunResult } from './result.ts'
import type { RunOptions, RunReport } from './run.ts'
import { type LoopPoint, newestSnapshot, readSnapshot, setDamagedAside } from './snapshot.ts'
import { type StepResult, Trainer, type TrainerOptions } from './trainer.ts'

const STAGES = 'stages'
const STAGE = 'stage.json'
export const CURVE = 'curve.svg'

/** What a finished stage says of itself. */
const STAGE_SCHEMA = z.object({
  /** What it answered with; left out where that is nothing. */
  value: z.json().optional(),
  /** The length of metrics.jsonl at its end, in bytes. */
  metrics: z.int().nonnegative(),
})

/** A part of a run with a folder, at most one loop, and trainers of its own. The run itself is the outermost. */
class Stage {
  /** Of the latest evaluation. */
  scores?: Scalars
  loop?: Loop
  private readonly trainers: Trainer[] = []

  constructor(
    /** '' for the run itself. */
    readonly name: string,
    readonly folder: string,
    private readonly runSeed: number,
  ) {}

  get checkpoints(): string {
    return join(this.folder, 'checkpoints')
  }

  /** Of the draws that a loop's steps are given. */
  get seed(): number {
    return derivedSeed(this.runSeed, this.name, 'steps')
  }

  /** @throws Error where the stage had its loop: a snapshot could not say which of two it is of */
  beginLoop(): Loop {
    if (this.loop) throw new Error('a stage has one loop: put the second one into a stage of its own')
    this.loop = { step: 0 }
    return this.loop
  }

  async trainer(options: TrainerOptions): Promise<Trainer> {
    const number = this.trainers.length
    // A run with one trainer alone is seeded as it says.
    const seed = this.name === '' && number === 0 ? this.runSeed : derivedSeed(this.runSeed, this.name, `${number}`)
    const trainer = await Trainer.create({ seed, ...options })
    this.trainers.push(trainer)
    return trainer
  }

  release(): void {
    for (const trainer of this.trainers.splice(0)) trainer.release()
  }
}

/** A seed for a part of a run: 32 bits that are a function of the run's seed and of names (FNV-1a). */
function derivedSeed(seed: number, ...names: readonly string[]): number {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from([seed, ...names].join('/'))) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

export interface RunContextOptions extends Pick<RunOptions, 'out' | 'provider' | 'onProgress'> {
  readonly recipe: Recipe
  readonly settings: CommonSettings
  readonly resumes: boolean
  readonly signal: AbortSignal
  readonly say: (message: string) => void
  readonly result: RunResult
  /** Called before the first thing is written. */
  readonly onFirstWrite: () => Promise<void>
}

/** What a recipe's program works with, over the folder of one run. */
export class RunContext implements RecipeContext {
  readonly settings: CommonSettings
  readonly out: string
  readonly signal: AbortSignal
  readonly say: (message: string) => void
  readonly resumes: boolean
  current: Stage
  private readonly outermost: Stage
  private readonly names = new Set<string>()
  private progress: RunReport = { activity: 'loading', step: 0, steps: 0 }
  private readonly started = performance.now()
  private readonly secondsBefore: number
  private hasWritten = false

  private constructor(
    private readonly options: RunContextOptions,
    readonly metrics: Metrics,
  ) {
    const { settings, signal, say, resumes, out, result } = options
    this.settings = settings
    this.out = out
    this.signal = signal
    this.say = say
    this.resumes = resumes
    this.secondsBefore = result.seconds
    this.outermost = new Stage('', out, settings.seed)
    this.current = this.outermost
  }

  static async create(options: RunContextOptions): Promise<RunContext> {
    const recorded = options.resumes ? await recordedMetrics(options.out, options.say) : 0
    return new RunContext(options, new Metrics(join(options.out, METRICS), recorded))
  }

  // A recipe takes these out of the context, so they are bound to it.

  readonly stage = async <Value extends Json | undefined>(
    name: string,
    run: () => Promise<Value>,
  ): Promise<StageProduct<Value>> => {
    if (this.current !== this.outermost) {
      throw new Error(`stage ${name} begins inside of stage ${this.current.name}: stages run one after the other`)
    }
    if (!/^[\w-]+$/.test(name)) throw new Error(`a stage's name is made of letters, digits, - and _, got '${name}'`)
    if (this.names.has(name)) throw new Error(`there are two stages called ${name}: the name tells them apart on disk`)
    this.names.add(name)
    const stage = new Stage(name, join(this.options.out, STAGES, name), this.settings.seed)
    const path = join(stage.folder, STAGE)
    const finished = this.resumes ? readStage(path) : undefined
    if (finished) {
      this.metrics.reached(finished.metrics)
      this.say(`stage ${name}: finished before`)
      await rm(stage.checkpoints, { recursive: true, force: true })
      return productOf<Value>(stage.folder, finished.value)
    }
    this.stopWhereAsked()
    this.current = stage
    this.progress = { activity: 'loading', stage: name, step: 0, steps: 0 }
    this.report({})
    try {
      const value = await run()
      await this.firstWrite()
      await writeWhole(path, toJson({ value, metrics: this.metrics.length }))
      await rm(stage.checkpoints, { recursive: true, force: true })
      await this.publish()
      // As a resumed run will read it.
      return productOf<Value>(stage.folder, readStage(path)?.value)
    } finally {
      stage.release()
      this.current = this.outermost
      this.progress = { activity: 'loading', step: 0, steps: 0 }
    }
  }

  readonly trainer = (options: Omit<TrainerOptions, 'provider'>): Promise<Trainer> =>
    this.current.trainer({ ...options, provider: this.options.provider })

  readonly steps = <State extends object>(options: StepsOptions<State>): AsyncIterable<Step<State>> =>
    steps(this, options)

  readonly trainLoop = <Scores extends Scalars>(options: TrainLoopOptions<Scores>): Promise<Scores> =>
    trainLoop(this, options)

  readonly log = (values: Scalars | StepResult): void => {
    const scalars = scalarsOf(values)
    const { loop } = this.current
    if (loop?.log) loop.log.add(scalars)
    else this.record({ step: loop?.step ?? 0, ...scalars })
  }

  readonly sample = async (name: string, texts: readonly Json[]): Promise<void> => {
    const lines = texts.map((text) => `${JSON.stringify(text)}\n`)
    await this.writeSample(`${name}-${this.stepLabel()}.jsonl`, lines.join(''))
  }

  readonly picture = async (name: string, pictures: TensorData, options = {}): Promise<void> =>
    this.writeSample(`${name}-${this.stepLabel()}.png`, encodePng(pictureGrid(pictures, options)))

  readonly save = async (product: ModelProduct): Promise<void> => {
    const { activity } = this.progress
    this.report({ activity: 'saving' })
    await this.firstWrite()
    await saveModel(join(this.current.folder, product.folder ?? ''), product)
    this.report({ activity })
  }

  readonly figure = (figure: Figure): void => {
    const { result } = this.options
    const others = result.figures?.filter(({ title }) => title !== figure.title) ?? []
    result.figures = [...others, FIGURE.parse(figure)]
  }

  readonly claim = (measured: Scalars, holds: boolean): void => {
    Object.assign(this.options.result, { measured, holds })
  }

  /** A line of metrics.jsonl. */
  record(line: object): void {
    const { name } = this.current
    this.metrics.append(name === '' ? line : { stage: name, ...line })
  }

  report(news: Partial<RunReport>): void {
    this.progress = { ...this.progress, ...news }
    this.options.onProgress?.(this.progress)
  }

  /** A loop begins, at a snapshot or anew. */
  resumedLoop(from: LoopPoint | undefined): void {
    const { name, checkpoints } = this.current
    if (from) this.metrics.reached(from.metrics ?? 0)
    else this.metrics.begin()
    if (!this.resumes) return
    const where = name === '' ? '' : `stage ${name}: `
    this.say(where + (from ? `resumed after step ${from.step}` : `no snapshot in ${checkpoints}: started anew`))
  }

  /** Brings curve.svg and result.json up to date. */
  async publish(news: Partial<RunResult> = {}): Promise<void> {
    await this.firstWrite()
    const { result, out, recipe } = this.options
    const { name, loop, scores } = this.current
    const place = loop && { stage: name || undefined, step: loop.step, scores }
    const seconds = Math.round(this.secondsBefore + (performance.now() - this.started) / 1000)
    const date = new Date().toISOString().slice(0, 10)
    Object.assign(result, place, { seconds, date }, news)
    await writeWhole(join(out, RESULT), toJson(result))
    await writeWhole(join(out, CURVE), runCurve(this.metrics.read(), recipe.curve, result.figures))
  }

  /** Whether there is anything that a failure has to be written beside. */
  get begun(): boolean {
    return this.hasWritten
  }

  async firstWrite(): Promise<void> {
    if (this.hasWritten) return
    this.hasWritten = true
    await this.options.onFirstWrite()
  }

  /** The scores of the run's last evaluation, those of stages aside. */
  get scores(): Scalars | undefined {
    return this.outermost.scores
  }

  release(): void {
    this.current.release()
    this.outermost.release()
  }

  private stopWhereAsked(): void {
    if (this.signal.aborted) throw new Stopped('stopped between two stages')
  }

  /** Steps done, the one in progress among them. */
  private stepLabel(): string {
    const { loop } = this.current
    return `${(loop?.step ?? 0) + (loop?.log ? 1 : 0)}`.padStart(8, '0')
  }

  private async writeSample(file: string, content: string | Uint8Array): Promise<void> {
    await this.firstWrite()
    await writeWhole(join(this.options.out, 'samples', this.current.name, file), content)
  }
}

function readStage(path: string): z.infer<typeof STAGE_SCHEMA> | undefined {
  if (!existsSync(path)) return undefined
  try {
    return STAGE_SCHEMA.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    throw new Error(`${path} is damaged: remove it to run the stage again`)
  }
}

function productOf<Value>(folder: string, value: unknown): StageProduct<Value> {
  return { value: value as Value, folder, weights: (inside = '') => savedWeights(join(folder, inside)) }
}

/** How much of metrics.jsonl the newest of finished stages and whole snapshots knows of, in bytes. */
async function recordedMetrics(out: string, say: (message: string) => void): Promise<number> {
  const stages = join(out, STAGES)
  const names = existsSync(stages) ? await readdir(stages) : []
  const lengths = names.map((name) => readStage(join(stages, name, STAGE))?.metrics ?? 0)
  for (const folder of [out, ...names.map((name) => join(stages, name))]) {
    const checkpoints = join(folder, 'checkpoints')
    await setDamagedAside(checkpoints, say)
    const newest = await newestSnapshot(checkpoints)
    if (newest) lengths.push((await readSnapshot(newest)).metrics)
  }
  return Math.max(0, ...lengths)
}
