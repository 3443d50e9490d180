import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createApp } from '../../src/server/app.ts'
import type { TabModelList, TokenList } from '../../src/server/wire.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore } from './support.ts'

const log = captureLogger()
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-tab-models-'))
const runs = join(folder, 'runs')
const app = createApp({ models: [new MockModel()], store: noStore(), logger: log.logger, runsDir: runs })
const SECRET = 'not to be read'

beforeAll(() => {
  const run = join(runs, 'mine')
  mkdirSync(run, { recursive: true })
  writeFileSync(join(run, 'config.json'), '{"architectures":["GPT2LMHeadModel"]}')
  writeFileSync(join(run, 'model.safetensors'), 'weights')
  writeFileSync(join(run, 'metrics.jsonl'), SECRET)
  writeFileSync(join(folder, 'secret.json'), SECRET)
  symlinkSync(join(folder, 'secret.json'), join(run, 'tokenizer.json'))
  const stage = join(run, 'stages', 'warm-up')
  mkdirSync(stage, { recursive: true })
  writeFileSync(join(stage, 'config.json'), '{"architectures":["BertForMaskedLM"]}')
  writeFileSync(join(stage, 'model.safetensors'), 'a stage')
  writeFileSync(join(stage, 'vocab.txt'), '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncaw\n')
  mkdirSync(join(runs, 'unfinished'))
  writeFileSync(join(runs, 'unfinished', 'config.json'), '{"architectures":["GPT2LMHeadModel"]}')
  mkdirSync(join(runs, 'damaged'))
  writeFileSync(join(runs, 'damaged', 'config.json'), '{')
  writeFileSync(join(runs, 'damaged', 'model.safetensors'), '')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('lists what is shipped and what runs have left, where it is whole', async () => {
  const { models } = (await (await app.request('/api/tab-models')).json()) as TabModelList
  expect(models.filter(({ place }) => place === 'run')).toEqual([
    { place: 'run', name: 'mine', architecture: 'GPT2LMHeadModel', bytes: 7, hasTokenizer: false },
    { place: 'run', name: 'mine/warm-up', architecture: 'BertForMaskedLM', bytes: 7, hasTokenizer: true },
  ])
  const shipped = models.find(({ name }) => name === 'jackdaw-base')
  expect(shipped).toMatchObject({ place: 'shipped', architecture: 'LlamaForCausalLM', hasTokenizer: true })
})

it('sends the four files of a model, and nothing else of any folder', async () => {
  const model = await app.request('/api/tab-models/run/mine/model.safetensors')
  expect(await model.text()).toBe('weights')
  const stage = await app.request('/api/tab-models/run/mine%2Fwarm-up/model.safetensors')
  expect(await stage.text()).toBe('a stage')
  // BERT's own file as what a page reads.
  const tokenizer = await app.request('/api/tab-models/run/mine%2Fwarm-up/tokenizer.json')
  const { encode } = tokenizerFromJson(await tokenizer.json())
  expect(encode('Caw [MASK]')).toEqual([2, 5, 4, 3])
  const settings = await app.request('/api/tab-models/run/mine/tokenizer_config.json')
  expect(await settings.json()).toEqual({})
  const config = await app.request('/api/tab-models/shipped/jackdaw-base/config.json')
  expect(await config.json()).toMatchObject({ architectures: ['LlamaForCausalLM'] })
  for (const path of [
    'run/mine/metrics.jsonl',
    'run/mine/tokenizer.json', // a link
    'run/unfinished/config.json',
    'run/../config.json',
    'run/..%2f/secret.json',
    'run/mine/..%2f..%2fsecret.json',
    'shipped/mine/config.json',
    'nowhere/mine/config.json',
  ]) {
    const response = await app.request(`/api/tab-models/${path}`)
    expect(response.status, path).toBe(404)
    expect(await response.text()).not.toContain(SECRET)
  }
  expect(log.errors).toEqual([])
})

it('cuts a text as a served model does', async () => {
  const post = (body: object) =>
    app.request('/api/tokens', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
  const { tokens } = (await (await post({ model: 'mock', text: 'aé' })).json()) as TokenList
  expect(tokens).toEqual([
    { id: 97, text: 'a' },
    { id: 195, text: '\ufffd' },
    { id: 169, text: '\ufffd' },
  ])
  expect((await post({ model: 'none', text: 'a' })).status).toBe(404)
  expect((await post({ model: 'mock', text: 'a'.repeat(10_001) })).status).toBe(400)
})
