import { cpSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { writeSafetensors } from '../../src/hub/safetensors-write.ts'
import { loadModel } from '../../src/load/load.ts'
import { type Quantization, quantizers } from '../../src/load/quantize.ts'
import { modelFromConfig } from '../../src/load/registry.ts'
import { type CausalLm, traceModel } from '../../src/nn/model.ts'
import { isQuantized } from '../../src/runtime/lower.ts'
import { placeOf } from '../../src/runtime/mapped-file.ts'
import '../../src/runtime/node.ts'
import type { QuantizedWeight, TensorData } from '../../src/tensor/index.ts'

const SHIPPED = new URL('../../weights/jackdaw-base', import.meta.url).pathname
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-weights-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Temporary folders of mapped weights go here. */
const temporary = join(folder, 'temporary')
beforeEach(() => {
  vi.stubEnv('TMPDIR', mkdtempSync(temporary))
})
afterEach(() => vi.unstubAllEnvs())
const leftOvers = () => readdirSync(process.env.TMPDIR as string).filter((name) => name.startsWith('jackdaw-'))

/** The shipped model as float32 on the disk. */
async function float32Folder(): Promise<string> {
  const target = mkdtempSync(join(folder, 'float32-'))
  cpSync(join(SHIPPED, 'config.json'), join(target, 'config.json'))
  const checkpoint = openCheckpoint(SHIPPED)
  const tensors = checkpoint.names().map((name): [string, TensorData] => {
    const { shape } = checkpoint.info(name)
    return [name, { dtype: 'float32', shape, data: checkpoint.read(name) }]
  })
  checkpoint.close()
  await writeSafetensors(join(target, 'model.safetensors'), tensors)
  return target
}

const sameBytes = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))

/** What a quantizer makes of whole matrices, all in memory. */
function quantizedInMemory(path: string, quantization: Quantization): Map<string, QuantizedWeight> {
  const checkpoint = openCheckpoint(path)
  const { model } = modelFromConfig(checkpoint.config)
  const traced = traceModel(model)
  const outputs = Object.values(traced.outputs).filter((tensor) => tensor !== undefined)
  const parameters = [...traced.parameters.values()]
  const made = [...quantizers(quantization, { outputs, parameters })].map(([name, { quantize }]) => {
    const { shape } = parameters.find((parameter) => parameter.name === name)!
    return [name, quantize({ dtype: 'float32', shape, data: checkpoint.read(name) })] as const
  })
  checkpoint.close()
  return new Map(made)
}

describe('a checkpoint that lacks parameters', () => {
  it('is refused, unless it is to be trained on: then they are left out', async () => {
    const path = await float32Folder()
    const checkpoint = openCheckpoint(path)
    const kept = checkpoint.names().filter((name) => !name.endsWith('norm.weight'))
    const tensors = kept.map((name): [string, TensorData] => {
      const { shape } = checkpoint.info(name)
      return [name, { dtype: 'float32', shape, data: checkpoint.read(name) }]
    })
    checkpoint.close()
    await writeSafetensors(join(path, 'model.safetensors'), tensors)
    await expect(loadModel(path)).rejects.toThrow(/^the checkpoint has no parameter model\..*norm\.weight/)
    const { weights } = await loadModel(path, { missing: 'init' })
    expect([...weights.keys()].sort()).toEqual(kept.sort())
    await expect(loadModel(path, { missing: 'init', mapped: true })).rejects.toThrow('can only be init for training')
  })
})

describe('mapped weights', () => {
  it('equal those in memory bit for bit, converted or mapped where they lie', async () => {
    const expected = await loadModel(SHIPPED)
    for (const path of [SHIPPED, await float32Folder()]) {
      const { weights, releaseFiles } = await loadModel(path, { mapped: true })
      expect([...weights.keys()]).toEqual([...expected.weights.keys()])
      for (const [name, value] of weights) {
        const { data, shape } = value as TensorData
        expect(placeOf(data)).toBeDefined()
        expect(shape).toEqual(expected.weights.get(name)!.shape)
        expect(sameBytes(data, (expected.weights.get(name) as TensorData).data)).toBe(true)
      }
      // Stored as float32, nothing is written anywhere.
      expect(leftOvers()).toHaveLength(path === SHIPPED ? 1 : 0)
      releaseFiles()
      expect(leftOvers()).toHaveLength(0)
    }
  })

  it.each(['q4', 'q4s', 'q8'] as const)('in blocks of %s equal those quantised whole', async (quantization) => {
    const { weights, releaseFiles } = await loadModel(SHIPPED, { quantize: quantization })
    const expected = quantizedInMemory(SHIPPED, quantization)
    expect(expected.size).toBeGreaterThan(0)
    for (const [name, whole] of expected) {
      const value = weights.get(name) as QuantizedWeight
      expect(isQuantized(value)).toBe(true)
      expect({ bits: value.bits, blockSize: value.blockSize, shape: value.shape }).toEqual({
        bits: whole.bits,
        blockSize: whole.blockSize,
        shape: whole.shape,
      })
      expect(sameBytes(value.packed, whole.packed)).toBe(true)
      expect(sameBytes(value.scales, whole.scales)).toBe(true)
      expect(value.zeroPoints === undefined).toBe(whole.zeroPoints === undefined)
      if (value.zeroPoints) expect(sameBytes(value.zeroPoints, whole.zeroPoints!)).toBe(true)
    }
    releaseFiles()
  })

  it.each([undefined, 'q4'] as const)('decode the same logits as weights in memory (%s)', async (quantize) => {
    const inMemory = await loadModel(SHIPPED, { quantize })
    const copied = new Map(
      [...inMemory.weights].map(([name, value]) => [
        name,
        isQuantized(value)
          ? {
              ...value,
              packed: value.packed.slice(),
              scales: value.scales.slice(),
              zeroPoints: value.zeroPoints?.slice(),
            }
          : value,
      ]),
    )
    const mapped = await loadModel(SHIPPED, { quantize, mapped: true })
    const model = mapped.model as CausalLm
    const expected = await CachedDecoder.create(model, copied, { capacity: 32 })
    const decoder = await CachedDecoder.create(model, mapped.weights, { capacity: 32, copyWeights: true })
    inMemory.releaseFiles()
    mapped.releaseFiles()
    expect(leftOvers()).toHaveLength(0)
    const ids = [1, 200, 30, 4, 555]
    expect(await decoder.prefill(0, ids, 0)).toEqual(await expected.prefill(0, ids, 0))
    expect(await decoder.decode([7], [ids.length])).toEqual(await expected.decode([7], [ids.length]))
    expect(() => decoder.toOnnx()).toThrow(/^toOnnx: the weights are no longer here; compile without copyWeights$/)
    decoder.release()
    expected.release()
  })

  it('leave nothing behind where reading fails', async () => {
    const damaged = await float32Folder()
    const config = openCheckpoint(damaged).config as { num_hidden_layers: number }
    writeFileSync(
      join(damaged, 'config.json'),
      JSON.stringify({ ...config, num_hidden_layers: config.num_hidden_layers + 1 }),
    )
    await expect(loadModel(damaged, { quantize: 'q4' })).rejects.toThrow(/^the checkpoint has no parameter [^\n]+$/)
    expect(leftOvers()).toHaveLength(0)
  })
})

describe('rows of a tensor', () => {
  it('are read from anywhere, and refused where there are none', () => {
    const checkpoint = openCheckpoint(SHIPPED)
    const name = checkpoint.names().find((each) => checkpoint.info(each).shape.length === 2)!
    const [rows, columns] = checkpoint.info(name).shape
    const whole = checkpoint.read(name)
    fc.assert(
      fc.property(fc.nat(rows - 1), fc.nat(20), (first, count) => {
        const into = new Float32Array(count * columns)
        if (first + count > rows) expect(() => checkpoint.read(name, into, first)).toThrow(/cannot fill/)
        else
          expect(checkpoint.read(name, into, first)).toEqual(whole.subarray(first * columns, (first + count) * columns))
      }),
    )
    expect(() => checkpoint.read(name, new Float32Array(columns + 1), 0)).toThrow(/it cannot fill \d+ from row 0$/)
    for (const row of [-1, 0.5, Number.NaN]) {
      expect(() => checkpoint.read(name, new Float32Array(columns), row)).toThrow(/cannot fill/)
    }
    checkpoint.close()
  })
})
