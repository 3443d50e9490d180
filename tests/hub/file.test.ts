import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { writeAtomically } from '../../src/hub/file.ts'
import { temporaryFolder } from './temporary.ts'

const STAGE = 8 << 20

describe('a file that is written whole or not at all', () => {
  const folder = temporaryFolder()
  const bytes = Buffer.alloc(2 * STAGE + 5000)
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 2654435761) >>> 24

  it.each([0, 1, 4096, STAGE - 1, STAGE, STAGE + 1, 2 * STAGE, 2 * STAGE + 4096, bytes.length])(
    'has what was given, %i bytes in pieces of any size',
    async (size) => {
      for (const piece of [1 << 30, 3_000_001]) {
        const path = join(folder, 'file')
        await writeAtomically(path, async (write) => {
          for (let at = 0; at < size; at += piece) await write(bytes.subarray(at, Math.min(at + piece, size)))
        })
        expect(readFileSync(path).equals(bytes.subarray(0, size))).toBe(true)
      }
    },
  )

  it('leaves the old file, and nothing else, where writing fails', async () => {
    const path = join(folder, 'kept')
    await writeAtomically(path, (write) => write(Buffer.from('old')))
    for (const size of [3, bytes.length]) {
      const failing = writeAtomically(path, async (write) => {
        await write(bytes.subarray(0, size))
        throw new Error('no more')
      })
      await expect(failing).rejects.toThrow('no more')
      expect(readFileSync(path, 'utf8')).toBe('old')
    }
    expect(readdirSync(folder).filter((name) => name.startsWith('.'))).toEqual([])
  })
})
