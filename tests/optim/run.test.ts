import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { openSafetensors } from '../../src/hub/safetensors.ts'
import { type RunOptions, resumedSettings, runRecipe } from '../../src/optim/run.ts'
import { loadSnapshot, newestSnapshot, saveSnapshot, startSnapshot } from '../../src/optim/snapshot.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { countingBatch, tinyOptions } from './tiny.ts'
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

/** Runs in a process of its own, which is killed without warning when it has said `killAfter`. */
async function killedRun(out: string, settings: Partial<TinySettings>, killAfter: number): Promise<void> {
  const script = fileURLToPath(new URL('run-child.ts', import.meta.url))
  const child = spawn(process.execPath, ['--input-type=module', '-e', RUN, script], {
    env: { ...process.env, JACKDAW_TEST_RUN: JSON.stringify({ out: join(folder, out), settings }) },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  for await (const line of createInterface(child.stdout)) {
    if (Number(line) >= killAfter) {
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
    expect(result).toEqual({ finished: true, scores: { valLoss: evaluations[4].valLoss } })
    expect(evaluations[4].valLoss).toBeLessThan(evaluations[0].valLoss - 0.5)
    expect(checkpoints).toEqual(['step-00000056', 'step-00000060'])
    expect(seen).toHaveLength(65)
    const names = [
      'checkpoints',
      'config.json',
      'curve.svg',
      'metrics.jsonl',
      'model.safetensors',
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
      for (const step of [2, first, second]) await killedRun('killed', longer, step)
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
    const settings = await resumedSettings(tiny, out)
    expect(settings).toEqual({ ...tiny.settings, steps: 8, learningRate: 1e-3 })
    await expect(run('first', {}, { resume: true })).rejects.toThrow(
      `the run in ${out} was started with learningRate=0.001, not 0.003: say --set learningRate=0.001`,
    )
    await runRecipe(tiny, { ...settings, steps: 9 }, { out, resume: true, say: (line) => said.push(line) })
    expect(said.at(-1)).toBe('resumed after step 8')
    await expect(runRecipe({ ...tiny, name: 'other' }, settings, { out, resume: true })).rejects.toThrow(
      `${out} holds a run of tiny, not of other`,
    )
    writeFileSync(join(out, 'run.json'), '{"recipe":')
    await expect(resumedSettings(tiny, out)).rejects.toThrow('run.json is damaged')
    await expect(run('new', {}, { resume: true, say: (line) => said.push(line) })).resolves.toBeDefined()
    expect(said.at(-1)).toBe(`no checkpoint in ${join(folder, 'new', 'checkpoints')}: started anew`)
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
    await saveSnapshot(folder, one)
    expect(readdirSync(folder)).toEqual(['step-00000001'])
    one.release()
  })

  it('older than the newest few are removed', async () => {
    const one = await trainer()
    for (let step = 1; step <= 4; step++) {
      await saveSnapshot(folder, one, { keep: 3 })
      await one.train(countingBatch(step))
    }
    expect(readdirSync(folder).sort()).toEqual(['step-00000002', 'step-00000003', 'step-00000004'])
    expect(await newestSnapshot(folder)).toBe(join(folder, 'step-00000004'))
    one.release()
  })

  it('written beside training hold the state of their step', async () => {
    const [one, other] = [await trainer(), await trainer()]
    const { written } = await startSnapshot(folder, one)
    await one.train(countingBatch(1))
    await loadSnapshot(await written, other)
    expect(other.step).toBe(1)
    await other.train(countingBatch(1))
    expect((await other.snapshot()).flat).toEqual((await one.snapshot()).flat)
    for (const trained of [one, other]) trained.release()
  })

  it('that cannot be written fail the step in progress, which moves nothing, and no later one', async () => {
    const one = await trainer()
    const file = join(folder, 'file')
    writeFileSync(file, '')
    const { written } = await startSnapshot(file, one)
    await expect(one.train(countingBatch(1))).rejects.toThrow('EEXIST')
    await expect(written).rejects.toThrow('EEXIST')
    expect(one.step).toBe(1)
    expect((await one.train(countingBatch(1))).step).toBe(2)
    one.release()
  })

  it('of another model or another optimiser are refused in one sentence', async () => {
    const one = await trainer()
    const checkpoint = await saveSnapshot(folder, one)
    const others = await Promise.all([
      trainer({ emaDecay: 0.9 }),
      trainer({ groups: [{ takes: () => true }] }),
      Trainer.create(tinyOptions({ batch: 1 }, { groups: [{ takes: ({ shape }) => shape.length > 1 }] })),
    ])
    for (const other of others) {
      await expect(loadSnapshot(checkpoint, other)).rejects.toThrow(
        `${checkpoint} was written by a run of another model or optimiser: name another --out, or take its settings`,
      )
      other.release()
    }
    one.release()
  })

  it('that are damaged are refused in one sentence, wherever the damage is', async () => {
    const one = await trainer()
    const checkpoint = await saveSnapshot(folder, one)
    const files = ['state.json', 'training.safetensors'].map((name) => join(checkpoint, name))
    const whole = files.map((file) => readFileSync(file))
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.boolean(),
        async (which, at, cut) => {
          const bytes = Buffer.from(whole[which])
          // Past the header every bit pattern is a number: only what describes them can be seen to be wrong.
          const header = which === 0 ? bytes.length : 8 + Number(bytes.readBigUInt64LE())
          const position = Math.floor(at * (cut ? bytes.length : header))
          if (!cut) bytes[position] ^= 0x80
          writeFileSync(files[which], cut ? bytes.subarray(0, position) : bytes)
          await expect(loadSnapshot(checkpoint, one)).rejects.toThrow(
            /^\S+step-00000001 (is damaged \(.+\): remove it to go on from the one before, if there is one|was written by a run of another model or optimiser: .*)$/,
          )
          writeFileSync(files[which], whole[which])
        },
      ),
      { numRuns: 60 },
    )
    rmSync(files[0])
    await expect(loadSnapshot(checkpoint, one)).rejects.toThrow('is damaged (state.json is missing)')
    one.release()
  })
})
