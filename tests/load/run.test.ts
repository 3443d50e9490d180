import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { loadModel } from '../../src/load/load.ts'
import { forward } from '../../src/load/run.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'

it('takes a mask of bytes or of truth values for one of numbers', async () => {
  const checkpoint = openCheckpoint(fileURLToPath(new URL('../parity/gpt2', import.meta.url)))
  const inputIds = tensorData('int32', [1, 4], [5, 6, 7, 8])
  const mask = [0, 1, 1, 1]
  const ask = (dtype: 'int32' | 'bool' | 'uint8') =>
    forward(checkpoint, { input_ids: inputIds, attention_mask: tensorData(dtype, [1, 4], mask) })
  const expected = await ask('int32')
  expect(await ask('bool')).toEqual(expected)
  expect(await ask('uint8')).toEqual(expected)
  checkpoint.close()
})

it('says which file has the weights where they are not safetensors', () => {
  for (const name of ['pytorch_model.bin', 'pytorch_model.bin.index.json']) {
    const folder = mkdtempSync(join(tmpdir(), 'jackdaw-run-'))
    writeFileSync(join(folder, name), '{}')
    expect(() => openCheckpoint(folder)).toThrow(`has its weights in ${name}, which is not read`)
  }
})

it('listens once for the end of the process, however many models have temporary files', async () => {
  const before = process.listenerCount('exit')
  const load = () => loadModel(fileURLToPath(new URL('../parity/gpt2', import.meta.url)), { quantize: 'q8' })
  const models = [await load(), await load(), await load()]
  expect(process.listenerCount('exit') - before).toBeLessThanOrEqual(1)
  for (const { releaseFiles } of models) releaseFiles()
})
