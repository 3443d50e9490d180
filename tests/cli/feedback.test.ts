import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { feedbackCommand } from '../../src/cli/feedback.ts'
import { listen } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { MockModel } from '../server/mock-model.ts'

let folder: string
let data: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'jackdaw-feedback-'))
  data = join(folder, 'data')
  vi.stubEnv('JACKDAW_API_KEY', undefined)
  vi.stubEnv('DATABASE_URL', undefined)
  vi.spyOn(process.stderr, 'write').mockImplementation(() => true)
  const store = await ConversationStore.open({ dataDir: data })
  const settings = { temperature: 0.7, seed: 1, continues: false }
  const answers = ['one', 'two', 'three'].map((model) => ({ model, settings }))
  const id = await store.addComparison([{ role: 'user', content: 'Grüße?' }], answers)
  const contents = ['Grüß dich.', 'Hallo.', 'Nein.']
  await store.saveAnswers(
    id,
    contents.map((content, place) => ({ place, content, finishReason: 'stop' as const })),
  )
  await store.vote(id, { groups: [[2], [0, 1]], allBad: false, comment: '', voter: '' })
  await store.close()
})
afterAll(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

const run = (...args: string[]): Promise<unknown> =>
  feedbackCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {}, writeOut: () => {} })
    .parseAsync(['export', ...args], { from: 'user' })
const lines = (file: string) =>
  readFileSync(file, 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line))

describe('jackdaw feedback export', () => {
  it('writes a folder’s comparisons, and over nothing', async () => {
    const out = join(folder, 'out.jsonl')
    await run('--data', data, '--kind', 'comparisons', '--out', out)
    expect(lines(out)).toEqual([
      expect.objectContaining({
        messages: [{ role: 'user', content: 'Grüße?' }],
        answers: ['Nein.', ['Grüß dich.', 'Hallo.']],
        models: ['three', ['one', 'two']],
      }),
    ])
    await expect(run('--data', data, '--out', out)).rejects.toThrow('is there already; add --force')
    await run('--data', data, '--kind', 'ratings', '--out', out, '--force')
    expect(lines(out)).toEqual([])
  })

  it('says what to do while a server has them, and asks that server', async () => {
    const server = await listen({
      ...{ models: [new MockModel()], store: ConversationStore.open({ dataDir: data }), apiKey: 'secret' },
      ...{ logger: { debug() {}, error() {} }, host: '127.0.0.1', port: 0 },
    })
    try {
      const out = join(folder, 'asked.jsonl')
      await expect(run('--data', data, '--out', out)).rejects.toThrow('jackdaw feedback export --server URL')
      await expect(run('--server', server.url, '--out', out)).rejects.toThrow('The API key is missing or wrong')
      await run('--server', server.url, '--api-key', 'secret', '--out', out, '--force')
      expect(lines(out)).toEqual([expect.objectContaining({ answers: ['Nein.', ['Grüß dich.', 'Hallo.']] })])
    } finally {
      await server.close()
    }
    await expect(run('--server', server.url)).rejects.toThrow('does not answer')
    await expect(run('--server', 'nowhere')).rejects.toThrow('is no address')
  })

  it('makes no database where there is none', async () => {
    const none = join(folder, 'none')
    await expect(run('--data', none)).rejects.toThrow(`There are no conversations in ${none}`)
    await expect(run('--kind', 'thumbs')).rejects.toThrow(/Allowed choices are ratings, comparisons, all/)
  })
})
