import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { serveCommand } from '../../src/cli/serve.ts'
import { ConversationStore } from '../../src/server/store.ts'

/** No model of this name is there: whatever goes beyond the flags ends with that. */
const nothing = ['--model', 'no-such-model']

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'jackdaw-serve-'))
  vi.stubEnv('JACKDAW_API_KEY', undefined)
  vi.stubEnv('DATABASE_URL', undefined)
})
afterAll(() => {
  vi.unstubAllEnvs()
  rmSync(folder, { recursive: true, force: true })
})

const serve = (...args: string[]): Promise<unknown> =>
  serveCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .parseAsync([...nothing, '--data', join(folder, 'data'), ...args], { from: 'user' })

describe('jackdaw serve', () => {
  it('opens itself to a network only with a key, or where it is said that anyone may use it', async () => {
    for (const host of ['0.0.0.0', '::', '192.168.1.7', 'localhost.example', '128.0.0.1']) {
      await expect(serve('--host', host)).rejects.toThrow(
        `--host ${host} lets whoever reaches this machine use the server and read its conversations; ` +
          'set a key with --api-key, or say --allow-anonymous.',
      )
    }
    for (const args of [
      ['--host', '0.0.0.0', '--api-key', 'secret'],
      ['--host', '0.0.0.0', '--allow-anonymous'],
      ['--host', '127.0.0.1'],
      ['--host', '127.0.0.2'],
      ['--host', '::1'],
      ['--host', 'localhost'],
    ]) {
      await expect(serve(...args)).rejects.toThrow(/no-such-model/)
    }
  }, 60_000)

  it('does not say that it serves before its conversations are open', { timeout: 60_000 }, async () => {
    const data = join(folder, 'held')
    const holder = await ConversationStore.open({ dataDir: data })
    const said = vi.spyOn(console, 'log').mockImplementation(() => {})
    try {
      const serving = serveCommand().exitOverride().parseAsync(['--data', data, '--port', '0'], { from: 'user' })
      await expect(serving).rejects.toThrow('are open in this process already')
      expect(said).not.toHaveBeenCalled()
    } finally {
      said.mockRestore()
      await holder.close()
    }
  })
})
