import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it, vi } from 'vitest'
import { convertCommand } from '../../src/cli/convert.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-convert-'))
afterAll(() => rmSync(folder, { recursive: true }))
const source = fileURLToPath(new URL('../parity/llama', import.meta.url))
vi.spyOn(process.stderr, 'write').mockReturnValue(true)

const convert = (target: string, ...flags: string[]) =>
  convertCommand()
    .exitOverride()
    .parseAsync([source, target, ...flags], { from: 'user' })

it('overwrites nothing unless it is told to', async () => {
  for (const name of ['model.gguf', 'model.safetensors', 'model.onnx']) {
    const file = join(folder, name)
    writeFileSync(file, 'precious')
    await expect(convert(file)).rejects.toThrow('is there already; choose another name, or add --force')
    expect(readFileSync(file, 'utf8')).toBe('precious')
  }
  const model = join(folder, 'model')
  mkdirSync(model)
  await convert(model)
  await expect(convert(model)).rejects.toThrow('is there already')
  await convert(join(folder, 'model.gguf'), '--force')
  expect(readFileSync(join(folder, 'model.gguf')).subarray(0, 4).toString()).toBe('GGUF')
})

it('refuses endings that it does not know, and takes names of models with dots for folders', async () => {
  for (const name of ['model.ggfu', 'model.txt', 'model.bin']) {
    await expect(convert(join(folder, name))).rejects.toThrow(/cannot write \.\w+ files/)
    expect(existsSync(join(folder, name))).toBe(false)
  }
  for (const name of ['SmolLM2-1.7B', 'my.model/']) {
    await convert(join(folder, name))
    expect(existsSync(join(folder, name, 'config.json'))).toBe(true)
  }
})
