import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { serveCommand } from '../../src/cli/serve.ts'
import { ConversationStore } from '../../src/server/store.ts'

afterEach(() => {
  vi.restoreAllMocks()
})

it('does not say that it serves before its conversations are open', { timeout: 60_000 }, async () => {
  const data = mkdtempSync(join(tmpdir(), 'jackdaw-serve-'))
  const holder = await ConversationStore.open({ dataDir: data })
  const said = vi.spyOn(console, 'log').mockImplementation(() => {})
  try {
    await expect(
      serveCommand().exitOverride().parseAsync(['--data', data, '--port', '0'], { from: 'user' }),
    ).rejects.toThrow('are open in this process already')
    expect(said).not.toHaveBeenCalled()
  } finally {
    await holder.close()
    rmSync(data, { recursive: true, force: true })
  }
})
