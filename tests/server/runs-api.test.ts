import { appendFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createApp } from '../../src/server/app.ts'
import type { MetricsPage, RunDetail, RunList } from '../../src/server/wire.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore } from './support.ts'

const log = captureLogger()
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-runs-'))
const runs = join(folder, 'runs')
const app = createApp({ models: [new MockModel()], store: noStore(), logger: log.logger, runsDir: runs })
const get = (path: string) => app.request(path)
const json = async <T>(path: string) => (await get(path)).json() as Promise<T>
const metrics = (run: string, cursor?: string) =>
  json<MetricsPage>(`/api/runs/${run}/metrics${cursor === undefined ? '' : `?cursor=${cursor}`}`)

const SECRET = 'not to be read'
const result = {
  recipe: 'gpt2/nanogpt',
  paper: 'gpt2',
  claim: 'it learns',
  state: 'running',
  step: 0,
  settings: { steps: 100, seed: 1 },
  seed: 1,
  seconds: 2,
  machine: { processor: 'x', threads: 1, memoryGib: 1, platform: 'linux x64', provider: 'cpu' },
  versions: { node: '20', jackdaw: '0' },
  date: '2026-01-01',
}

beforeAll(() => {
  const run = join(runs, 'lr 0.1')
  mkdirSync(join(run, 'samples', 'warm-up'), { recursive: true })
  writeFileSync(join(run, 'result.json'), JSON.stringify(result))
  writeFileSync(join(run, 'metrics.jsonl'), '{"step":1,"loss":4}\n{"step":2,"loss":3}\n{"step":3,"lo')
  writeFileSync(join(run, 'samples', 'story-00000002.jsonl'), '"once"\n{"upon":"a time"}\n')
  writeFileSync(join(run, 'samples', 'warm-up', 'grid-00000010.png'), 'png')
  writeFileSync(join(run, 'samples', 'notes.txt'), SECRET)
  writeFileSync(join(folder, 'secret-00000001.jsonl'), `"${SECRET}"\n`)
  symlinkSync(join(folder, 'secret-00000001.jsonl'), join(run, 'samples', 'link-00000001.jsonl'))
  mkdirSync(join(runs, 'damaged'))
  writeFileSync(join(runs, 'damaged', 'result.json'), '{')
  mkdirSync(join(runs, 'nothing'))
  mkdirSync(join(folder, 'outside'))
  writeFileSync(join(folder, 'outside', 'metrics.jsonl'), `{"step":1,"text":"${SECRET}"}\n`)
  symlinkSync(join(folder, 'outside'), join(runs, 'linked'))
  mkdirSync(join(runs, 'pointing'))
  writeFileSync(join(runs, 'pointing', 'result.json'), JSON.stringify(result))
  symlinkSync(join(folder, 'outside', 'metrics.jsonl'), join(runs, 'pointing', 'metrics.jsonl'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('lists the folders that are runs, with what their newest line says, and no links', async () => {
  const { runs: listed } = await json<RunList>('/api/runs')
  expect(listed.map(({ name }) => name).sort()).toEqual(['damaged', 'lr 0.1', 'pointing'])
  expect(listed.find(({ name }) => name === 'lr 0.1')).toMatchObject({
    recipe: 'gpt2/nanogpt',
    state: 'running',
    step: 2,
    steps: 100,
    loss: 3,
  })
  expect(listed.find(({ name }) => name === 'damaged')).toMatchObject({ state: null, step: 0 })
})

it('is empty where there is no such folder', async () => {
  const elsewhere = createApp({ models: [new MockModel()], store: noStore(), logger: log.logger, runsDir: '/nowhere' })
  expect(await (await elsewhere.request('/api/runs')).json()).toEqual({ folder: '/nowhere', runs: [] })
})

it('tells a run’s samples, and serves those alone', async () => {
  const run = await json<RunDetail>('/api/runs/lr%200.1')
  expect(run.result?.claim).toBe('it learns')
  expect(run.samples).toEqual([
    { stage: 'warm-up', name: 'grid', step: 10, kind: 'picture', file: 'warm-up/grid-00000010.png' },
    { stage: null, name: 'story', step: 2, kind: 'texts', file: 'story-00000002.jsonl' },
  ])
  const samples = '/api/runs/lr%200.1/samples'
  expect(await json(`${samples}/story-00000002.jsonl`)).toEqual({ texts: ['once', { upon: 'a time' }] })
  const picture = await get(`${samples}/warm-up/grid-00000010.png`)
  expect(picture.headers.get('content-type')).toBe('image/png')
  expect(await picture.text()).toBe('png')
  for (const file of ['notes.txt', 'link-00000001.jsonl', '../result.json', '..%2fresult.json', 'warm-up']) {
    expect((await get(`${samples}/${file}`)).status, file).toBe(404)
  }
})

it('reads on where it was, takes a line only when it is whole, and begins anew after a run was resumed', async () => {
  const path = join(runs, 'lr 0.1', 'metrics.jsonl')
  const first = await metrics('lr%200.1')
  expect(first).toMatchObject({ restarted: true, more: false, lines: [{ step: 1 }, { step: 2 }] })
  appendFileSync(path, 'ss":2}\n')
  const second = await metrics('lr%200.1', first.cursor)
  expect(second).toMatchObject({ restarted: false, lines: [{ step: 3, loss: 2 }] })
  expect((await metrics('lr%200.1', second.cursor)).lines).toEqual([])
  // Resumed at step 1, and gone on beyond the old length.
  truncateSync(path, '{"step":1,"loss":4}\n'.length)
  appendFileSync(path, '{"step":2,"loss":9}\n{"step":3,"loss":9}\n{"step":4,"loss":9}\n')
  const third = await metrics('lr%200.1', second.cursor)
  expect(third.restarted).toBe(true)
  expect(third.lines).toHaveLength(4)
})

it('reads a long run in pages, every line once', async () => {
  const run = join(runs, 'long')
  mkdirSync(run)
  const steps = Array.from({ length: 30_000 }, (_, i) => i)
  writeFileSync(join(run, 'metrics.jsonl'), steps.map((step) => `{"step":${step},"loss":${1 / (step + 1)}}\n`).join(''))
  const read: unknown[] = []
  let page = await metrics('long')
  let pages = 1
  for (read.push(...page.lines); page.more; read.push(...page.lines), pages++) page = await metrics('long', page.cursor)
  expect(pages).toBeGreaterThan(1)
  expect((read as { step: number }[]).map(({ step }) => step)).toEqual(steps)
  rmSync(run, { recursive: true })
})

it('never leaves the folder, whatever it is asked', async () => {
  const part = fc.oneof(
    fc.constantFrom('..', '.', '%2e%2e', '..%2f', '%2F', '\\', '%00', 'lr%200.1', 'samples', 'metrics.jsonl', 'linked'),
    fc.constantFrom('pointing', 'outside', 'secret-00000001.jsonl', 'link-00000001.jsonl', '~', 'C:', '%5c..%5c'),
    fc.string().map(encodeURIComponent),
  )
  const path = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => `/api/runs/${parts.join('/')}`)
  await fc.assert(
    fc.asyncProperty(path, fc.option(fc.string()), async (path, cursor) => {
      const response = await get(cursor === null ? path : `${path}/metrics?cursor=${encodeURIComponent(cursor)}`)
      expect([200, 400, 404]).toContain(response.status)
      expect(await response.text()).not.toContain(SECRET)
    }),
    { numRuns: 400 },
  )
  expect((await metrics('pointing')).lines).toEqual([])
  expect((await get('/api/runs/linked/metrics')).status).toBe(404)
  expect(log.errors).toEqual([])
})
