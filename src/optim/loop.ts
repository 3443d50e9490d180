import { StepRandom } from '../data/random.ts'
import type { RunContext } from './context.ts'
import { requireSaveable } from './model-folder.ts'
import type { Scalars, Step, StepsOptions, TrainLoopOptions } from './recipe.ts'
import { loadSnapshot, newestSnapshot, startSnapshot } from './snapshot.ts'
import type { StepResult } from './trainer.ts'

/** What a run that was asked to stop ends with, once nothing can get lost. */
export class Stopped extends Error {
  override name = 'Stopped'
}

/** Numbers of one step: of several under one name, the mean. */
class StepLog {
  private readonly sums = new Map<string, { sum: number; count: number }>()

  add(values: Scalars): void {
    for (const [name, value] of Object.entries(values)) {
      const { sum, count } = this.sums.get(name) ?? { sum: 0, count: 0 }
      this.sums.set(name, { sum: sum + value, count: count + 1 })
    }
  }

  means(): Scalars {
    return Object.fromEntries(Array.from(this.sums, ([name, { sum, count }]) => [name, sum / count]))
  }
}

/** The loop of the stage in progress. */
export interface Loop {
  /** Steps done. */
  step: number
  /** Of the step in progress. */
  log?: StepLog
}

/** What a recipe logs, as plain numbers. */
export function scalarsOf(values: Scalars | StepResult): Scalars {
  if (!isStepResult(values)) return values
  const { loss, gradNorm, learningRate, metrics } = values
  return { loss, gradNorm, learningRate, ...metrics }
}

const isStepResult = (values: Scalars | StepResult): values is StepResult => typeof values.metrics === 'object'

/** Steps, evaluations and snapshots to the end, or until the signal; the last snapshot is of the last step. */
export async function* steps<State extends object>(
  run: RunContext,
  { steps, trainers, state = {} as State, perStep = {}, evaluate, onStop, ...own }: StepsOptions<State>,
): AsyncGenerator<Step<State>, void, void> {
  const { evalEvery = run.settings.evalEvery, checkpointEvery = run.settings.checkpointEvery } = own
  const stage = run.current
  const loop = stage.beginLoop()
  const newest = run.resumes ? await newestSnapshot(stage.checkpoints) : undefined
  const from = newest === undefined ? undefined : await loadSnapshot(newest, trainers)
  let { evaluation, ended = false } = from ?? {}
  if (from) {
    loop.step = from.step
    Object.assign(state, from.state)
  }
  run.resumedLoop(from)

  const evaluateNow = async (): Promise<void> => {
    if (!evaluate || evaluation?.step === loop.step) return
    run.report({ activity: 'evaluating' })
    evaluation = { step: loop.step, scores: await evaluate() }
    run.record({ step: loop.step, ...evaluation.scores })
    stage.scores = evaluation.scores
    run.report({ activity: 'training', scores: evaluation.scores })
    await run.publish()
  }
  let saved = from?.step
  let saving: Promise<unknown> | undefined
  const save = async (): Promise<void> => {
    await saving
    const { metrics } = run
    const point = { step: loop.step, ended, state, evaluation, metrics: metrics.length }
    saving = (await startSnapshot(stage.checkpoints, trainers, point)).written
    saving.catch(() => {}) // fails the trainers' next step, or the end of the loop
    saved = loop.step
    await run.publish()
  }

  stage.scores = evaluation?.scores
  run.report({ activity: 'training', step: loop.step, steps, scores: stage.scores })
  await run.publish()
  if (!from && evalEvery > 0) await evaluateNow()
  const end = (): void => {
    ended = true
  }
  const isOver = (): boolean => ended || loop.step >= steps
  let trainedMs = 0
  try {
    for (let done = 1; !isOver() && !run.signal.aborted; done++) {
      loop.log = new StepLog()
      const started = performance.now()
      yield { step: loop.step, state, random: new StepRandom(stage.seed, loop.step), end }
      trainedMs += performance.now() - started
      const scalars = loop.log.means()
      loop.log = undefined
      loop.step++
      const speeds = Object.entries(perStep).map(([unit, count]) => [unit, (1000 * done * count) / trainedMs] as const)
      const rounded = speeds.map(([unit, speed]) => [`${unit}PerSecond`, Math.round(speed)])
      run.record({ step: loop.step, ...scalars, ...Object.fromEntries(rounded) })
      run.report({ step: loop.step, scalars, speeds: Object.fromEntries(speeds) })
      if (evalEvery > 0 && loop.step % evalEvery === 0) await evaluateNow()
      if (checkpointEvery > 0 && loop.step % checkpointEvery === 0) await save()
    }
    if (isOver()) await evaluateNow()
    if (saved !== loop.step) await save()
    await saving
  } finally {
    loop.log = undefined
    await saving?.catch(() => {}) // what is being written stays whole where a step fails
  }
  if (isOver()) return
  await onStop?.()
  throw new Stopped(`stopped after step ${loop.step}`)
}

/** One trainer, a batch a step. */
export async function trainLoop<Scores extends Scalars>(
  run: RunContext,
  { trainer, batches, evaluate, save, ...options }: TrainLoopOptions<Scores>,
): Promise<Scores> {
  if (save) requireSaveable(save, trainer)
  const onStop = async (): Promise<void> => {
    if (save) await run.save({ ...save, weights: trainer })
  }
  const { parameterCount } = trainer.layout
  const parameters = parameterCount < 1e5 ? `${parameterCount}` : `${(parameterCount / 1e6).toFixed(2)}M`
  const sees = Object.entries(options.perStep ?? {}).map(([unit, count]) => `, ${count} ${unit} a step`)
  run.say(`${parameters} parameters${sees.join('')}`)
  const loop = { ...options, trainers: { training: trainer }, evaluate: evaluate && (() => evaluate(trainer)), onStop }
  for await (const { step } of steps(run, loop)) run.log(await trainer.train(batches(step)))
  await onStop()
  return (run.current.scores ?? {}) as Scores
}
