import { spawn } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type AppOptions, createApp, openRuns } from '../../src/server/app.ts'
import { ServedModels } from '../../src/server/served-models.ts'
import { ConversationStore } from '../../src/server/store.ts'
import type { Trainings } from '../../src/server/trainings.ts'
import { errorBody, type RunDetail, type Status, type Training, type TrainingList } from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, until } from './support.ts'

/** As `jackdaw train` behaves, seen from outside: a step every 10 ms, a snapshot when it is told to stop. */
const PROGRAM = `
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
const [recipe, ...rest] = process.argv.slice(2)
const out = rest[rest.indexOf('--out') + 1]
const set = Object.fromEntries(rest.flatMap((part, i) => (rest[i - 1] === '--set' ? [part.split(/=(.*)/s)] : [])))
console.error('a line')
if (set.refuse) throw console.error('jackdaw: there is no such setting'), process.exit(1)
const resumes = rest.includes('--resume')
if (!resumes && existsSync(out + '/result.json')) throw console.error('jackdaw: holds a run'), process.exit(1)
const result = {
  recipe, paper: 'instructgpt', claim: 'it learns', state: 'running', step: 0, settings: set, seed: 1, seconds: 1,
  machine: { processor: 'x', threads: 1, memoryGib: 1, platform: 'x', provider: 'cpu' },
  versions: { node: '20', jackdaw: '0' }, date: '2026-01-01',
}
const write = (more) => writeFileSync(out + '/result.json', JSON.stringify({ ...result, ...more }))
let stopped = false
process.on('SIGTERM', () => { stopped = true })
let step = resumes ? JSON.parse(readFileSync(out + '/result.json', 'utf8')).step : 0
write({ step })
for (; step < Number(set.steps) && !stopped; step++) {
  appendFileSync(out + '/metrics.jsonl', JSON.stringify({ step: step + 1, loss: 1 / (step + 1), reward: step }) + '\\n')
  await delay(10)
}
if (set.fail) write({ step, state: 'failed', error: 'the loss is no number' }), process.exit(1)
if (!stopped) for (const name of ['config.json', 'model.safetensors', 'tokenizer.json']) writeFileSync(out + '/' + name, '{}')
writeFileSync(out + '/environment.json', JSON.stringify(Object.keys(process.env)))
write({ step, state: stopped ? 'stopped' : 'finished' })
`

const root = mkdtempSync(join(tmpdir(), 'jackdaw-trainings-'))
const program = join(root, 'train.mjs')
const command = [process.execPath, program] as const
const base = Object.assign(new MockModel({ id: 'base' }), { path: join(root, 'base') })
const hosted = new MockModel({ id: 'hosted' })
let store: ConversationStore

beforeAll(async () => {
  writeFileSync(program, PROGRAM)
  store = await ConversationStore.open({ dataDir: join(root, 'data') })
})
const opened: Trainings[] = []
afterEach(async () => {
  for (const trainings of opened.splice(0)) await trainings.close()
})
afterAll(async () => {
  await store?.close()
  rmSync(root, { recursive: true, force: true })
})

let folders = 0
/** A server with a folder of runs of its own. */
function serverWith({ runsDir = join(root, `runs-${++folders}`), ...more }: Partial<AppOptions> = {}) {
  const models = new ServedModels([base, hosted])
  const { logger } = captureLogger()
  const options = {
    ...{ models, store, logger, runsDir },
    training: { command: [...command] as [string, ...string[]], leastPreferences: 3 },
    loadModel: async (folder: string) => new MockModel({ id: basename(folder) }),
    ...more,
  }
  const runs = openRuns(options, models)
  opened.push(runs.trainings)
  const app = createApp({ ...options, runs })
  const call = (method: string, path: string, body?: unknown, headers = {}, address = '127.0.0.1') =>
    app.request(
      `/api${path}`,
      {
        method,
        headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      },
      { incoming: { socket: { remoteAddress: address } } },
    )
  const list = async () => (await (await call('GET', '/trainings')).json()) as TrainingList
  const find = async (run: string) => (await list()).trainings.find((one) => one.run === run)
  const start = async (body: object) => {
    const response = await call('POST', '/trainings', body)
    if (response.status !== 201) throw new Error(`${response.status}: ${await response.text()}`)
    return (await response.json()) as Training
  }
  const ends = async (run: string, state: Training['state']) => {
    await until(async () => (await find(run))?.state === state)
    return (await find(run)) as Training
  }
  return { runsDir, runs, call, list, find, start, ends }
}

const messageOf = async (response: Response) => errorBody.parse(await response.json()).error.message
const reward = (steps = 5) => ({ kind: 'reward', settings: { steps } })

/** Five pairs of which one is better, of two rankings; and a tie, which tells nothing. */
async function vote(): Promise<void> {
  const settings = { seed: 1, continues: false }
  for (const [question, groups] of [
    ['first?', [[2], [0], [1]]],
    ['second?', [[1], [0, 2]]],
    ['third?', [[0, 1, 2]]],
  ] as const) {
    const answers = ['a', 'b', 'c'].map((model) => ({ model, settings }))
    const id = await store.addComparison([{ role: 'user', content: question }], answers)
    const written = ['one', 'two', 'three'].map((content, place) => ({ place, content, finishReason: 'stop' as const }))
    await store.saveAnswers(id, written)
    await store.vote(id, { groups: groups.map((group) => [...group]), allBad: false, comment: '', voter: '' })
  }
}

describe('trainings', () => {
  it('need comparisons, prompts and a model with files, and say so', async () => {
    const { call, list } = serverWith()
    const early = await call('POST', '/trainings', reward())
    expect(early.status).toBe(409)
    expect(await messageOf(early)).toBe(
      'A reward model needs 3 pairs of answers of which one is better, and there are 0: vote on more in the arena.',
    )
    await vote()
    expect((await call('POST', '/trainings', { kind: 'ppo', reward: 'no-such-run' })).status).toBe(404)
    expect(await messageOf(await call('POST', '/trainings', { ...reward(), model: 'hosted' }))).toBe(
      'hosted has no files to begin a training from.',
    )
    for (const settings of [{ data: '/etc/passwd' }, { 'a=b': 1 }, { '--out': 1 }]) {
      expect((await call('POST', '/trainings', { ...reward(), settings })).status).toBe(400)
    }
    expect(await list()).toEqual({ trainings: [], leastPreferences: 3, refusal: null })
  })

  it('go from comparisons to a reward model, and from that to a model that is served', async () => {
    const { runsDir, call, start, ends } = serverWith()
    const judge = await start(reward())
    expect(judge).toMatchObject({ run: 'base-reward-1', kind: 'reward', model: 'base', reward: null, examples: 2 })
    const done = await ends(judge.run, 'finished')
    expect(done.summary).toMatchObject({ name: judge.run, step: 5, recipe: 'instructgpt/reward', state: 'finished' })
    const data = join(runsDir, judge.run, 'preferences.jsonl')
    const result = JSON.parse(readFileSync(join(runsDir, judge.run, 'result.json'), 'utf8'))
    expect(result.settings).toEqual({ model: base.path, data, steps: '5' })
    const lines = readFileSync(data, 'utf8').trim().split('\n')
    expect(lines.map((line) => JSON.parse(line).answers)).toEqual([
      ['three', 'one', 'two'],
      ['two', ['one', 'three']],
    ])
    // A reward model writes no text: it is no model for the picker.
    const ids = async () => ((await (await call('GET', '/status')).json()) as Status).models.map(({ id }) => id)
    expect(await ids()).toEqual(['base', 'hosted'])

    const taught = await start({ kind: 'ppo', reward: judge.run, settings: { steps: 3, whiten: true } })
    expect(taught).toMatchObject({ run: 'base-ppo-1', model: 'base', reward: judge.run, examples: 3 })
    await ends(taught.run, 'finished')
    const { settings } = JSON.parse(readFileSync(join(runsDir, taught.run, 'result.json'), 'utf8'))
    expect(settings).toMatchObject({ model: base.path, reward: join(runsDir, judge.run), steps: '3', whiten: 'true' })
    const prompts = readFileSync(settings.data, 'utf8').trim().split('\n')
    expect(prompts.map((line) => JSON.parse(line).messages[0].content).sort()).toEqual(['first?', 'second?', 'third?'])
    await until(async () => (await ids()).includes(taught.run))

    const environment = JSON.parse(readFileSync(join(runsDir, taught.run, 'environment.json'), 'utf8'))
    expect(environment).not.toContain('DATABASE_URL')
  })

  it('come one after another, and only so many wait', async () => {
    const { call, list, start, ends } = serverWith()
    const started = [await start(reward(200))]
    for (let i = 0; i < 4; i++) started.push(await start(reward(1)))
    expect((await call('POST', '/trainings', reward())).status).toBe(429)
    expect(started.map(({ run }) => run)).toEqual([1, 2, 3, 4, 5].map((n) => `base-reward-${n}`))
    const states = async () => (await list()).trainings.map(({ state }) => state)
    await until(async () => (await states()).at(-1) === 'running')
    expect(await states()).toEqual(['waiting', 'waiting', 'waiting', 'waiting', 'running'])
    // One leaves the queue, and the one in progress makes room.
    await call('PATCH', `/trainings/${started[2].run}`, { state: 'stopped' })
    await call('PATCH', `/trainings/${started[0].run}`, { state: 'stopped' })
    for (const place of [1, 3, 4]) await ends(started[place].run, 'finished')
    expect(await states()).toEqual(['finished', 'finished', 'stopped', 'finished', 'stopped'])
  })

  it('are stopped with a snapshot and go on from it', async () => {
    const { call, start, ends, find } = serverWith()
    const { run } = await start(reward(400))
    await until(async () => ((await find(run))?.summary?.step ?? 0) > 3)
    const stopped = (await (await call('PATCH', `/trainings/${run}`, { state: 'stopped' })).json()) as Training
    expect(stopped.state).toBe('stopped')
    const { step } = stopped.summary!
    expect(step).toBeLessThan(400)
    await call('PATCH', `/trainings/${run}`, { state: 'running' })
    const done = await ends(run, 'finished')
    expect(done.summary?.step).toBe(400)
    expect((await call('PATCH', `/trainings/${run}`, { state: 'running' })).status).toBe(409)
    expect((await call('PATCH', '/trainings/nothing', { state: 'stopped' })).status).toBe(404)
  })

  it('say why they failed: what the run wrote, or the last that was said', async () => {
    const { start, ends } = serverWith()
    const failing = await start({ ...reward(2), settings: { steps: 2, fail: true } })
    expect((await ends(failing.run, 'failed')).error).toBe('the loss is no number')
    const refused = await start({ ...reward(2), settings: { steps: 2, refuse: true } })
    expect((await ends(refused.run, 'failed')).error).toBe('there is no such setting')
    const missing = serverWith({ training: { command: [join(root, 'no-such-program')], leastPreferences: 3 } })
    const { run } = await missing.start(reward())
    expect((await missing.ends(run, 'failed')).error).toBeTruthy()
  })

  it('are found again by a server that was started anew: what goes on, what was cut off, what waits', async () => {
    const runsDir = join(root, `runs-${++folders}`)
    const job = (name: string, more: object) => {
      const out = join(runsDir, name)
      mkdirSync(out, { recursive: true })
      const started = {
        ...{ kind: 'reward', model: 'base', reward: null, examples: 1, resume: false, process: null, error: null },
        ...{ arguments: ['instructgpt/reward', '--set', 'steps=300'], startedAt: '2026-01-01T00:00:00.000Z' },
      }
      writeFileSync(join(out, 'training.json'), JSON.stringify({ ...started, ...more }))
      return out
    }
    const out = job('lived-on', { state: 'waiting' })
    const child = spawn(process.execPath, [program, 'instructgpt/reward', '--set', 'steps=3000', '--out', out])
    job('lived-on', { state: 'running', process: child.pid })
    // The number of a process that is another one's by now.
    job('cut-off', { state: 'running', process: process.pid })
    job('in-line', { state: 'waiting', arguments: ['instructgpt/reward', '--set', 'steps=2'] })
    mkdirSync(join(runsDir, 'damaged'))
    writeFileSync(join(runsDir, 'damaged', 'training.json'), '{"kind":')

    const { find, call, ends } = serverWith({ runsDir })
    expect((await find('lived-on'))?.state).toBe('running')
    expect(await find('cut-off')).toMatchObject({
      state: 'stopped',
      error: expect.stringContaining('The server ended'),
    })
    expect((await find('in-line'))?.state).toBe('waiting')
    expect(await find('damaged')).toBeUndefined()
    await until(async () => ((await find('lived-on'))?.summary?.step ?? 0) > 0)
    await call('PATCH', '/trainings/lived-on', { state: 'stopped' })
    expect((await ends('lived-on', 'stopped')).summary?.step).toBeLessThan(3000)
    await ends('in-line', 'finished')
  })

  it('end with a snapshot when the server does', async () => {
    const { runs, start, find } = serverWith()
    const { run } = await start(reward(4000))
    await until(async () => ((await find(run))?.summary?.step ?? 0) > 0)
    await runs.trainings.close()
    expect((await find(run))?.state).toBe('stopped')
  })

  it('are started from this machine, or with a key, and by no form of a foreign page', async () => {
    const { call } = serverWith()
    for (const [headers, address] of [
      [{}, '192.168.1.9'],
      [{}, 'unknown'],
      [{ 'x-forwarded-for': '10.0.0.1' }, '127.0.0.1'],
    ] as const) {
      expect((await call('POST', '/trainings', reward(), headers, address)).status).toBe(403)
      expect((await call('PATCH', '/trainings/x', { state: 'stopped' }, headers, address)).status).toBe(403)
      expect((await call('POST', '/models', { run: 'x' }, headers, address)).status).toBe(403)
      expect((await call('DELETE', '/models/x', undefined, headers, address)).status).toBe(403)
      const list = (await (await call('GET', '/trainings', undefined, headers, address)).json()) as TrainingList
      expect(list.refusal).toMatch('--api-key')
    }
    expect((await call('POST', '/trainings', reward(), { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await call('PATCH', '/trainings/x', {}, { 'content-type': 'text/plain' })).status).toBe(415)
    expect((await call('POST', '/models', { run: 'x' }, {}, '::ffff:127.0.0.1')).status).toBe(404)
    const keyed = serverWith({ apiKey: 'secret' })
    expect((await keyed.call('POST', '/models', { run: 'x' }, {}, '192.168.1.9')).status).toBe(401)
    const headers = { authorization: 'Bearer secret' }
    expect((await keyed.call('POST', '/models', { run: 'x' }, headers, '192.168.1.9')).status).toBe(404)
  })
})

describe('a model that a run has left', () => {
  const leave = (runsDir: string, name: string) => {
    mkdirSync(join(runsDir, name), { recursive: true })
    for (const file of ['config.json', 'model.safetensors', 'tokenizer.json', 'metrics.jsonl']) {
      writeFileSync(join(runsDir, name, file), '{}')
    }
  }

  it('is served when that is asked for, also by the next server, and no more when it is not', async () => {
    const { runsDir, runs, call } = serverWith()
    leave(runsDir, 'mine')
    const detail = (await (await call('GET', '/runs/mine')).json()) as RunDetail
    expect(detail.hasModel).toBe(true)
    expect(await (await call('POST', '/models', { run: 'mine' })).json()).toMatchObject({ id: 'mine', canWrite: true })
    expect((await call('POST', '/models', { run: 'mine' })).status).toBe(201)
    expect(runs.runModels.has('mine')).toBe(true)

    const next = serverWith({ runsDir })
    await next.runs.runModels.open(() => {})
    const { models } = (await (await next.call('GET', '/status')).json()) as Status
    expect(models.map(({ id }) => id)).toEqual(['base', 'hosted', 'mine'])
    expect((await next.call('DELETE', '/models/mine')).status).toBe(204)
    expect((await next.call('DELETE', '/models/mine')).status).toBe(404)
    expect((await next.call('DELETE', '/models/base')).status).toBe(404)
    expect(JSON.parse(readFileSync(join(runsDir, 'served.json'), 'utf8'))).toEqual([])
  })

  it('is refused in a sentence: no model, a name that is taken, one that does not load, too many', async () => {
    const loadModel = async (folder: string) => {
      if (folder.endsWith('broken')) throw new Error('its weights are damaged')
      return new MockModel({ id: basename(folder) })
    }
    const { runsDir, call } = serverWith({ loadModel })
    for (const name of ['base', 'broken', ...Array.from({ length: 9 }, (_, i) => `run-${i}`)]) leave(runsDir, name)
    mkdirSync(join(runsDir, 'bare'))
    cpSync(join(runsDir, 'base', 'metrics.jsonl'), join(runsDir, 'bare', 'metrics.jsonl'))
    const refusal = async (run: string) => messageOf(await call('POST', '/models', { run }))
    expect(await refusal('bare')).toBe('bare has left no model to serve.')
    expect(await refusal('base')).toBe('A model called base is served already.')
    expect(await refusal('broken')).toBe('broken cannot be served: its weights are damaged')
    expect(await refusal('../base')).toBe('There is no such run.')
    for (let i = 0; i < 8; i++) expect((await call('POST', '/models', { run: `run-${i}` })).status).toBe(201)
    expect(await refusal('run-8')).toMatch('8 runs are served already')
    expect(existsSync(join(runsDir, 'served.json'))).toBe(true)
  })
})
