import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { openSafetensors } from '../../src/hub/safetensors.ts'
import { constantInit } from '../../src/nn/initializers.ts'
import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { type RunOptions, resumedSettings, runRecipe } from '../../src/optim/run.ts'
import { loadSnapshot, newestSnapshot, saveSnapshot, startSnapshot } from '../../src/optim/snapshot.ts'
import { Trainer, type TrainerOptions } from '../../src/optim/trainer.ts'
import staged from './staged-recipe.ts'
import { countingBatch, tinyGpt, tinyOptions } from './tiny.ts'
import tiny from './tiny-recipe.ts'

// Node 20 runs no TypeScript; Vite's module runner does.
const RUN = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`

type TinySettings = typeof tiny.settings

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'jackdaw-run-'))
})
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

const run = (out: string, settings: Partial<TinySettings> = {}, options: Partial<RunOptions> = {}) =>
  runRecipe(tiny, { ...tiny.settings, ...settings }, { out: join(folder, out), ...options })

interface Child {
  readonly name?: 'tiny' | 'staged'
  readonly out: string
  readonly settings: object
}

/** Runs in a process of its own, which is killed without warning when it has said `killAfter` of `stage`. */
async function killedRun({ name = 'tiny', out, settings }: Child, killAfter: number, stage = ''): Promise<void> {
  const script = fileURLToPath(new URL('run-child.ts', import.meta.url))
  const child = spawn(process.execPath, ['--input-type=module', '-e', RUN, script], {
    env: { ...process.env, JACKDAW_TEST_RUN: JSON.stringify({ name, out: join(folder, out), settings }) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  for await (const line of createInterface(child.stdout)) {
    const [saidStage, step] = line.split(' ')
    if (saidStage === stage && Number(step) >= killAfter) {
      child.kill('SIGKILL')
      break
    }
  }
  const [code, signal] = await exit
  expect([code, signal], 'the run ended before it was killed').toEqual([null, 'SIGKILL'])
}

/** What a run leaves, without its speeds. */
function resultsOf(out: string) {
  const read = (path: string) => readFileSync(join(folder, out, path))
  const lines = read('metrics.jsonl').toString().trimEnd().split('\n')
  const metrics = lines.map((line) => {
    const { tokensPerSecond, ...rest } = JSON.parse(line) as Record<string, number>
    return rest
  })
  const checkpoints = readdirSync(join(folder, out, 'checkpoints')).sort()
  const state = (name: string) => read(join('checkpoints', name, 'training.safetensors')).toString('base64')
  return {
    metrics,
    checkpoints,
    states: checkpoints.map(state),
    model: read('model.safetensors').toString('base64'),
    config: read('config.json').toString(),
  }
}

describe('a run whose newest snapshot is damaged', () => {
  /** One bit of a weight, somewhere after the header. */
  function flip(out: string, snapshot: string): void {
    const path = join(folder, out, 'checkpoints', snapshot, 'training.safetensors')
    const bytes = readFileSync(path)
    bytes[bytes.length - 4_001] ^= 1
    writeFileSync(path, bytes)
  }

  it('goes on from the one before, with a sentence, and ends as if nothing had been', async () => {
    const stop = new AbortController()
    await run('damaged', {}, { signal: stop.signal, onProgress: ({ step }) => step === 30 && stop.abort() })
    const checkpoints = join(folder, 'damaged', 'checkpoints')
    expect(readdirSync(checkpoints)).toEqual(['step-00000028', 'step-00000030'])
    flip('damaged', 'step-00000030')
    const said: string[] = []
    await run('damaged', {}, { resume: true, say: (message) => said.push(message) })
    expect(said[0]).toMatch(
      /^\S+step-00000030 is damaged \(\w+ is not what was written\): set aside as step-00000030\.damaged, going on from step-00000028$/,
    )
    expect(said).toContain('resumed after step 28')
    expect(readdirSync(checkpoints)).toContain('step-00000030.damaged')
    rmSync(join(checkpoints, 'step-00000030.damaged'), { recursive: true })
    await run('whole')
    expect(resultsOf('damaged')).toEqual(resultsOf('whole'))
  })

  it('and the one before too, is not begun anew without being told to', async () => {
    await run('lost')
    for (const name of readdirSync(join(folder, 'lost', 'checkpoints'))) flip('lost', name)
    const before = readdirSync(join(folder, 'lost', 'checkpoints'))
    await expect(run('lost', {}, { resume: true })).rejects.toThrow(/step-00000060 is damaged \(.*\): remove it/)
    expect(readdirSync(join(folder, 'lost', 'checkpoints'))).toEqual(before)
  })
})

describe('a run', () => {
  it('writes a line a step as it happens, evaluations, and a model folder', async () => {
    const seen: number[] = []
    const result = await run('whole', {}, { onProgress: ({ step }) => seen.push(step) })
    const { metrics, checkpoints } = resultsOf('whole')
    const steps = metrics.filter((line) => 'loss' in line)
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
    expect(Object.keys(steps[0])).toEqual(['step', 'loss', 'gradNorm', 'learningRate', 'scaledBy'])
    const evaluations = metrics.filter((line) => 'valLoss' in line)
    expect(evaluations.map(({ step }) => step)).toEqual([0, 15, 30, 45, 60])
    const scores = { valLoss: evaluations[4].valLoss }
    expect(result).toEqual({ finished: true, scores, measured: scores, holds: scores.valLoss < 2 })
    expect(evaluations[4].valLoss).toBeLessThan(evaluations[0].valLoss - 0.5)
    expect(checkpoints).toEqual(['step-00000056', 'step-00000060'])
    expect(new Set(seen)).toEqual(new Set(Array.from({ length: 61 }, (_, i) => i)))
    const names = [
      'checkpoints',
      'config.json',
      'curve.svg',
      'metrics.jsonl',
      'model.safetensors',
      'result.json',
      'run.json',
      'tokenizer.json',
    ]
    expect(readdirSync(join(folder, 'whole')).sort()).toEqual(names)
    // The averaged parameters, as the recipe wants.
    const [model, state] = [
      openSafetensors(join(folder, 'whole', 'model.safetensors')),
      openSafetensors(join(folder, 'whole', 'checkpoints', 'step-00000060', 'training.safetensors')),
    ]
    const wte = model.read('transformer.wte.weight')
    expect(wte).toEqual(state.read('ema').subarray(0, wte.length))
    expect(wte).not.toEqual(state.read('parameters').subarray(0, wte.length))
  })

  it.each([
    ['with accumulation, dropout and an average', {}],
    ['without', { accumulate: 1, dropout: 0, emaDecay: 0 }],
  ])(
    'killed at any step and resumed ends bit for bit as if it had not been, %s',
    { timeout: 180_000 },
    async (_what, settings) => {
      const longer = { ...settings, steps: 120 }
      await run('whole', longer)
      const whole = resultsOf('whole')
      // Before the first checkpoint, and at two points drawn anew at every run of this test.
      const [first, second] = fc.sample(fc.integer({ min: 8, max: 80 }), 2).sort((a, b) => a - b)
      for (const step of [2, first, second]) await killedRun({ out: 'killed', settings: longer }, step)
      await run('killed', longer, { resume: true })
      expect(resultsOf('killed'), `killed at 2, ${first} and ${second}`).toEqual(whole)
    },
  )

  it('stopped by a signal leaves a checkpoint of the step it was at, and a model', async () => {
    const stop = new AbortController()
    const result = await run(
      'stopped',
      {},
      {
        signal: stop.signal,
        onProgress: ({ step }) => step === 10 && stop.abort(),
      },
    )
    expect(result.finished).toBe(false)
    expect(readdirSync(join(folder, 'stopped', 'checkpoints'))).toEqual(['step-00000007', 'step-00000010'])
    expect(existsSync(join(folder, 'stopped', 'model.safetensors'))).toBe(true)
    await run('stopped', {}, { resume: true })
    await run('whole')
    const [stopped, whole] = [resultsOf('stopped'), resultsOf('whole')]
    expect(stopped.metrics).toEqual(whole.metrics)
    expect(stopped.model).toBe(whole.model)
  })

  it('whose loss is no number stops there, and its last checkpoint stays', async () => {
    await expect(run('broken', { breakAt: 17 })).rejects.toThrow(
      'the loss is NaN and the norm of the gradient NaN at step 18: start again with a lower learning rate',
    )
    expect(readdirSync(join(folder, 'broken', 'checkpoints'))).toEqual(['step-00000007', 'step-00000014'])
    const lines = readFileSync(join(folder, 'broken', 'metrics.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
    expect(JSON.parse(lines.at(-1) as string).step).toBe(17)
  })

  it('goes on with the settings that it was started with, and refuses others', async () => {
    const said: string[] = []
    await run('first', { steps: 8, learningRate: 1e-3 })
    const out = join(folder, 'first')
    await expect(run('first')).rejects.toThrow(`${out} already holds a run: add --resume`)
    const settings = await resumedSettings(tiny, { out })
    expect(settings).toEqual({ ...tiny.settings, steps: 8, learningRate: 1e-3 })
    await expect(run('first', {}, { resume: true })).rejects.toThrow(
      `the run in ${out} was started with learningRate=0.001, not 0.003: say --set learningRate=0.001`,
    )
    await runRecipe(tiny, { ...settings, steps: 9 }, { out, resume: true, say: (line) => said.push(line) })
    expect(said).toContain('resumed after step 8')
    await expect(runRecipe(tiny, settings, { name: 'other', out, resume: true })).rejects.toThrow(
      `${out} holds a run of tiny, not of other`,
    )
    writeFileSync(join(out, 'run.json'), '{"recipe":')
    await expect(resumedSettings(tiny, { out })).rejects.toThrow('run.json is damaged')
    await expect(run('new', {}, { resume: true, say: (line) => said.push(line) })).resolves.toBeDefined()
    expect(said).toContain(`no snapshot in ${join(folder, 'new', 'checkpoints')}: started anew`)
  })
})

describe('a run in stages', () => {
  const runStaged = (out: string, options: Partial<RunOptions> = {}) =>
    runRecipe(staged, staged.settings, { out: join(folder, out), ...options })

  /** Every file that a run leaves, without its times. */
  function filesOf(out: string): Record<string, string> {
    const files = readdirSync(join(folder, out), { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    )
    const paths = files.map((entry) => relative(join(folder, out), join(entry.parentPath, entry.name))).sort()
    return Object.fromEntries(
      paths.map((path) => {
        const bytes = readFileSync(join(folder, out, path))
        const isText = /\.jsonl?$/.test(path)
        return [
          path,
          isText
            ? bytes.toString().replace(/("tokensPerSecond"|"seconds"|"metrics"): ?\d+/g, '$1')
            : bytes.toString('base64'),
        ]
      }),
    )
  }

  it('keeps what each stage made, and says where a line of metrics is from', async () => {
    const outcome = await runStaged('whole')
    expect(outcome).toMatchObject({ finished: true, measured: { taught: 40 }, holds: true })
    const files = filesOf('whole')
    expect(Object.keys(files)).toEqual(
      [
        ...['config.json', 'curve.svg', 'metrics.jsonl', 'model.safetensors', 'result.json', 'run.json'],
        ...[10, 20, 30, 40].map((step) => `samples/students/draws-000000${step}.jsonl`),
        'samples/students/noise-00000040.png',
        ...[
          'policy/config.json',
          'policy/model.safetensors',
          'stage.json',
          'value/config.json',
          'value/model.safetensors',
        ].map((file) => `stages/students/${file}`),
        ...['config.json', 'model.safetensors', 'stage.json'].map((file) => `stages/teacher/${file}`),
      ].sort(),
    )
    expect(files['stages/students/policy/model.safetensors']).toBe(files['model.safetensors'])
    expect(files['stages/students/value/model.safetensors']).not.toBe(files['model.safetensors'])
    const lines = files['metrics.jsonl']
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line.replace(',"tokensPerSecond"', '')))
    expect(lines.filter(({ stage }) => stage === 'teacher')).toHaveLength(40)
    expect(lines.filter(({ stage }) => stage === 'students')).toHaveLength(45)
    expect(lines.filter(({ stage }) => stage === undefined)).toEqual([{ step: 0, taught: 40 }])
    // The policy is trained twice a step; the line has the mean.
    expect(lines.at(-1)).toEqual({ stage: 'students', step: 40, policyStep: 80, valueStep: 40 })
    const result = JSON.parse(readFileSync(join(folder, 'whole', 'result.json'), 'utf8'))
    expect(result).toMatchObject({
      ...{ recipe: 'staged', paper: 'staged', claim: staged.claim, state: 'finished' },
      ...{ holds: true, measured: { taught: 40 }, seed: 5, settings: staged.settings },
    })
    expect(result.seconds).toBeGreaterThan(0)
  })

  it('killed in each of its stages and resumed ends bit for bit as if it had not been', {
    timeout: 180_000,
  }, async () => {
    await runStaged('whole')
    const steps = fc.sample(fc.integer({ min: 1, max: 36 }), 4)
    const kills = [
      ...steps
        .slice(0, 2)
        .sort((a, b) => a - b)
        .map((step) => ['teacher', step] as const),
      ...steps
        .slice(2)
        .sort((a, b) => a - b)
        .map((step) => ['students', step] as const),
    ]
    for (const [stage, step] of kills) await killedRun({ name: 'staged', out: 'killed', settings: {} }, step, stage)
    await runStaged('killed', { resume: true })
    expect(filesOf('killed'), `killed at ${kills}`).toEqual(filesOf('whole'))
  })

  it('stopped between or inside of stages goes on from there', async () => {
    const said: string[] = []
    for (const [stage, at] of [
      ['teacher', 40],
      ['students', 13],
    ] as const) {
      const stop = new AbortController()
      const onProgress: RunOptions['onProgress'] = (report) => {
        if (report.stage === stage && report.step === at) stop.abort()
      }
      const outcome = await runStaged('stopped', { signal: stop.signal, onProgress, resume: stage === 'students' })
      expect(outcome.finished).toBe(false)
      const result = JSON.parse(readFileSync(join(folder, 'stopped', 'result.json'), 'utf8'))
      expect(result).toMatchObject({ state: 'stopped', stage, step: at })
    }
    await runStaged('stopped', { resume: true, say: (line) => said.push(line) })
    expect(said).toEqual(['stage teacher: finished before', 'stage students: resumed after step 13'])
    await runStaged('whole')
    expect(filesOf('stopped')).toEqual(filesOf('whole'))
  })

  it('ends a loop before its time, once and for all', async () => {
    const settings = { data: '', steps: 50, seed: 1, evalEvery: 20, checkpointEvery: 3 }
    const out = join(folder, 'ended')
    const seen: number[] = []
    const early = recipe({
      ...{ paper: 'p', claim: 'c', settings },
      async run({ settings, trainer, steps, log }) {
        const trainers = { one: await trainer(tinyOptions()) }
        const evaluate = async () => ({ valLoss: 1 })
        for await (const { step, end } of steps({ steps: settings.steps, trainers, evaluate })) {
          seen.push(step)
          log({ reward: step })
          if (step === 4) end()
        }
      },
    })
    await runRecipe(early, settings, { out })
    await runRecipe(early, settings, { out, resume: true })
    expect(seen).toEqual([0, 1, 2, 3, 4])
    const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trimEnd().split('\n')
    expect(lines.map((line) => JSON.parse(line)).filter((line) => 'valLoss' in line)).toEqual([
      { step: 0, valLoss: 1 },
      { step: 5, valLoss: 1 },
    ])
    expect(lines).toHaveLength(7)
  })

  it('refuses what would not be told apart on disk', async () => {
    const settings = { data: '', steps: 1, seed: 1, evalEvery: 0, checkpointEvery: 0 }
    const failing = (run: Parameters<typeof recipe>[0]['run']) =>
      runRecipe(recipe({ paper: 'p', claim: 'c', settings, run }), settings, { out: join(folder, `${Math.random()}`) })
    await expect(failing(async ({ stage }) => void (await stage('a/b', async () => 1)))).rejects.toThrow(
      "a stage's name is",
    )
    await expect(
      failing(async ({ stage }) => {
        await stage('a', async () => 1)
        await stage('a', async () => 2)
      }),
    ).rejects.toThrow('there are two stages called a')
    await expect(
      failing(async ({ stage }) => void (await stage('a', async () => (await stage('b', async () => 1)).value))),
    ).rejects.toThrow('stage b begins inside of stage a')
    const looped = failing(async ({ steps }) => {
      for (let i = 0; i < 2; i++) for await (const _ of steps({ steps: 1, trainers: {} }));
    })
    await expect(looped).rejects.toThrow('a stage has one loop')
  })

  it('saves exactly what the model has, and says early what it cannot', async () => {
    const settings = { ...tiny.settings, steps: 1 }
    const options = tinyOptions()
    const withHead: TrainerOptions['objective'] = (scope, inputs) => {
      const { sum, count } = nextTokenObjective(options.model)(scope, inputs).loss
      return { loss: { sum: sum.add(scope.at('value_head').param('bias', [], constantInit(0))), count } }
    }
    const out = join(folder, 'head')
    await runRecipe(
      recipe({
        ...{ paper: 'p', claim: 'c', settings },
        async run({ trainer, trainLoop }) {
          const learner = await trainer({ ...options, objective: withHead })
          await trainLoop({ trainer: learner, steps: 1, batches: countingBatch, save: { model: options.model } })
          const other = tinyGpt({ nLayers: 3 })
          await expect(
            trainLoop({ trainer: learner, steps: 1, batches: countingBatch, save: { model: other } }),
          ).rejects.toThrow('the model cannot be saved: 12 of its parameters are not there, transformer.h.2.')
          const averaged = { model: options.model, averaged: true }
          await expect(
            trainLoop({ trainer: learner, steps: 1, batches: countingBatch, save: averaged }),
          ).rejects.toThrow('its trainer keeps no average: it needs an emaDecay')
        },
      }),
      settings,
      { out },
    )
    const file = openSafetensors(join(out, 'model.safetensors'))
    expect(file.names().filter((name) => name.includes('value_head'))).toEqual([])
    expect(file.names()).toContain('transformer.wte.weight')
    file.close()
  })
})

describe('checkpoints', () => {
  async function trainer(options = {}): Promise<Trainer> {
    const made = await Trainer.create(tinyOptions({}, options))
    await made.train(countingBatch(0))
    return made
  }

  it('are whole or not there: a partial folder is ignored and cleared away', async () => {
    const partial = join(folder, '.step-00000003.partial')
    mkdirSync(partial)
    writeFileSync(join(partial, 'state.json'), '{"step":3')
    expect(await newestSnapshot(folder)).toBeUndefined()
    const one = await trainer()
    await saveSnapshot(folder, { training: one }, { step: one.step })
    expect(readdirSync(folder)).toEqual(['step-00000001'])
    one.release()
  })

  it('older than the newest few are removed', async () => {
    const one = await trainer()
    for (let step = 1; step <= 4; step++) {
      await saveSnapshot(folder, { training: one }, { step }, { keep: 3 })
      await one.train(countingBatch(step))
    }
    expect(readdirSync(folder).sort()).toEqual(['step-00000002', 'step-00000003', 'step-00000004'])
    expect(await newestSnapshot(folder)).toBe(join(folder, 'step-00000004'))
    one.release()
  })

  it('written beside training hold the state of their step', async () => {
    const [one, other] = [await trainer(), await trainer()]
    const { written } = await startSnapshot(folder, { training: one }, { step: one.step })
    await one.train(countingBatch(1))
    await loadSnapshot(await written, { training: other })
    expect(other.step).toBe(1)
    await other.train(countingBatch(1))
    expect((await other.snapshot()).flat).toEqual((await one.snapshot()).flat)
    for (const trained of [one, other]) trained.release()
  })

  it('that cannot be written fail the step in progress, which moves nothing, and no later one', async () => {
    const one = await trainer()
    const file = join(folder, 'file')
    writeFileSync(file, '')
    const { written } = await startSnapshot(file, { training: one }, { step: one.step })
    await expect(one.train(countingBatch(1))).rejects.toThrow('EEXIST')
    await expect(written).rejects.toThrow('EEXIST')
    expect(one.step).toBe(1)
    expect((await one.train(countingBatch(1))).step).toBe(2)
    one.release()
  })

  it('of another model or another optimiser are refused in one sentence', async () => {
    const one = await trainer()
    const checkpoint = await saveSnapshot(folder, { training: one }, { step: one.step })
    const others = await Promise.all([
      trainer({ emaDecay: 0.9 }),
      trainer({ groups: [{ takes: () => true }] }),
      Trainer.create(tinyOptions({ batch: 1 }, { groups: [{ takes: ({ shape }) => shape.length > 1 }] })),
    ])
    for (const other of others) {
      await expect(loadSnapshot(checkpoint, { training: other })).rejects.toThrow(
        `${checkpoint} was written by a run of another model or optimiser: name another --out, or take its settings`,
      )
      other.release()
    }
    one.release()
  })

  it('without checksums, of an earlier jackdaw, are read as they are', async () => {
    const [one, other] = [await trainer(), await trainer()]
    const checkpoint = await saveSnapshot(folder, { training: one }, { step: one.step })
    const path = join(checkpoint, 'state.json')
    const { checksum, trainers, ...rest } = JSON.parse(readFileSync(path, 'utf8'))
    const { checksums, ...training } = trainers.training
    expect([checksum, checksums.parameters]).toEqual([expect.any(Number), expect.any(Number)])
    writeFileSync(path, JSON.stringify({ ...rest, trainers: { training } }))
    await loadSnapshot(checkpoint, { training: other })
    expect((await other.snapshot()).flat).toEqual((await one.snapshot()).flat)
    for (const trained of [one, other]) trained.release()
  })

  it('that are damaged are refused in one sentence, wherever the damage is', async () => {
    const one = await trainer()
    const checkpoint = await saveSnapshot(folder, { training: one }, { step: one.step })
    const files = ['state.json', 'training.safetensors'].map((name) => join(checkpoint, name))
    const whole = files.map((file) => readFileSync(file))
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.boolean(),
        async (which, at, cut) => {
          const bytes = Buffer.from(whole[which])
          const position = Math.floor(at * bytes.length)
          if (!cut) bytes[position] ^= 0x80
          writeFileSync(files[which], cut ? bytes.subarray(0, position) : bytes)
          await expect(loadSnapshot(checkpoint, { training: one })).rejects.toThrow(
            /^\S+step-00000001 (is damaged \(.+\): remove it to go on from the one before, if there is one|was written by a run of another model or optimiser: .*)$/,
          )
          writeFileSync(files[which], whole[which])
        },
      ),
      { numRuns: 60 },
    )
    rmSync(files[0])
    await expect(loadSnapshot(checkpoint, { training: one })).rejects.toThrow('is damaged (state.json is missing)')
    one.release()
  })
})
