import { afterEach, describe, expect, it, vi } from 'vitest'
import { withDownloadBar } from '../../src/cli/download-bar.ts'

const wasTerminal = process.stderr.isTTY
afterEach(() => {
  process.stderr.isTTY = wasTerminal
  vi.restoreAllMocks()
})

/** What is written while a download of two files goes on, on a terminal or not. */
async function written(isTerminal: boolean, download: boolean): Promise<string> {
  process.stderr.isTTY = isTerminal
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  const result = await withDownloadBar(async (onProgress) => {
    if (download) {
      onProgress?.({ bytes: 0, total: 20e6, file: 'config.json' })
      onProgress?.({ bytes: 30e6, total: 60e6, file: 'model.safetensors' })
    }
    return 'done'
  })
  expect(result).toBe('done')
  return write.mock.calls.map(([text]) => text).join('')
}

describe('the bar of a download', () => {
  it('tells megabytes and the file', async () => {
    expect(await written(true, true)).toContain('30/60 MB model.safetensors')
  })

  it('is not there where standard error is no terminal', async () => {
    expect(await written(false, true)).toBe('')
  })

  it('is not there where nothing is downloaded', async () => {
    expect(await written(true, false)).toBe('')
  })

  it('ends with what it was for, which may fail', async () => {
    process.stderr.isTTY = true
    vi.spyOn(process.stderr, 'write').mockReturnValue(true)
    const failing = withDownloadBar(async (onProgress) => {
      onProgress?.({ bytes: 1, total: 2, file: 'a' })
      throw new Error('the hub is away')
    })
    await expect(failing).rejects.toThrow('the hub is away')
  })
})
