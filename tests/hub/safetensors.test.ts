import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { openSafetensors, readTensor, readTensors } from '../../src/hub/safetensors.ts'
import { weightsFromSafetensors } from '../../src/hub/safetensors-format.ts'
import { writeSafetensors, writeSafetensorsFolder } from '../../src/hub/safetensors-write.ts'
import { type DType, sizeOf, type TensorData, tensorData } from '../../src/tensor/data.ts'
import { lacksShared, sharedPath } from '../shared.ts'
import { temporaryFolder } from './temporary.ts'

const folder = temporaryFolder()
const path = join(folder, 'a.safetensors')

/** A file from a header as it stands and bytes. */
function handmade(header: unknown, data: Uint8Array): string {
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(json.length))
  const file = join(folder, 'handmade.safetensors')
  writeFileSync(file, Buffer.concat([length, json, data]))
  return file
}

const tensors = fc
  .record({
    dtype: fc.constantFrom<DType>('float32', 'int32', 'int64', 'uint8', 'bool'),
    shape: fc.array(fc.nat(4), { maxLength: 4 }),
    seed: fc.nat(),
  })
  .map(({ dtype, shape, seed }): TensorData => {
    const value = (i: number) => (dtype === 'bool' ? (i + seed) % 2 : (i * 37 + seed) % 251)
    return tensorData(
      dtype,
      shape,
      Array.from({ length: sizeOf(shape) }, (_, i) => value(i)),
    )
  })

describe('safetensors', () => {
  it('are read from memory as from disk, and refused alike', () => {
    const halves = handmade(
      {
        a: { dtype: 'F16', shape: [2], data_offsets: [0, 4] },
        b: { dtype: 'F32', shape: [1, 1], data_offsets: [4, 8] },
      },
      Uint8Array.from([0, 0x3c, 0, 0xc0, 0, 0, 0x80, 0x3f]),
    )
    const bytes = readFileSync(halves)
    const weights = weightsFromSafetensors(bytes)
    const checkpoint = openSafetensors(halves)
    expect([...weights.keys()]).toEqual(checkpoint.names())
    for (const [name, { shape, data }] of weights) {
      expect(shape).toEqual(checkpoint.info(name).shape)
      expect(data).toEqual(checkpoint.read(name))
    }
    checkpoint.close()
    expect(weights.get('a')?.data).toEqual(Float32Array.of(1, -2))
    expect(() => weightsFromSafetensors(bytes.subarray(0, -1), 'weights')).toThrow(
      'weights: not a valid safetensors file',
    )
  })

  it('reads back exactly what was written, whatever the types, shapes and names', async () => {
    const name = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => text !== '__metadata__')
    await fc.assert(
      fc.asyncProperty(fc.dictionary(name, tensors, { maxKeys: 8, noNullPrototype: true }), async (written) => {
        await writeSafetensors(path, Object.entries(written))
        expect(readTensors(path)).toEqual(written)
      }),
      { numRuns: 60 },
    )
  })

  it('keeps metadata and says pt where none are given', async () => {
    await writeSafetensors(path, [])
    expect(openSafetensors(path).metadata).toEqual({ format: 'pt' })
    await writeSafetensors(path, [], { metadata: { a: 'é\n"' } })
    expect(openSafetensors(path).metadata).toEqual({ a: 'é\n"' })
  })

  it.skipIf(lacksShared('parity/gpt2/model.safetensors'))('writes the same bytes as the official library', async () => {
    for (const [file, metadata] of [
      ['parity/gpt2/model.safetensors', undefined],
      ['parity/resnet-basic/model.safetensors', undefined],
      ['parity/gpt2/inputs.safetensors', {}],
      ['parity/gguf/types.safetensors', {}],
    ] as const) {
      const original = sharedPath(file)
      await writeSafetensors(path, Object.entries(readTensors(original)), { metadata })
      expect(readFileSync(path).equals(readFileSync(original)), file).toBe(true)
    }
  })

  it('reads every number type as float32', () => {
    const values = [1, 2, 100]
    const arrays: Record<string, ArrayBufferView> = {
      I8: Int8Array.from(values),
      U8: Uint8Array.from(values),
      I16: Int16Array.from(values),
      I32: Int32Array.from(values),
      I64: BigInt64Array.from(values, BigInt),
      F64: Float64Array.from(values),
      F32: Float32Array.from(values),
      F16: Uint16Array.of(0x3c00, 0x4000, 0x5640),
      BF16: Uint16Array.of(0x3f80, 0x4000, 0x42c8),
    }
    for (const [dtype, array] of Object.entries(arrays)) {
      const bytes = new Uint8Array(array.buffer)
      const file = handmade({ x: { dtype, shape: [3], data_offsets: [0, bytes.length] } }, bytes)
      const checkpoint = openSafetensors(file)
      expect(checkpoint.info('x')).toMatchObject({ type: dtype, shape: [3], byteLength: bytes.length })
      expect([...checkpoint.read('x')], dtype).toEqual(values)
      const into = new Float32Array(5).subarray(1, 4)
      expect([...checkpoint.read('x', into)]).toEqual(values)
      expect(checkpoint.readRaw('x')).toEqual(bytes)
      expect([...readTensor(checkpoint, 'x').data].map(Number)).toEqual(values)
      checkpoint.close()
      expect(() => checkpoint.read('x')).toThrow('was closed')
    }
  })

  it('stores float32 as F16 or BF16 when asked, integers untouched', async () => {
    const x = tensorData(
      'float32',
      [3_000_000],
      new Float32Array(3_000_000).map((_, i) => (i % 2048) / 8),
    )
    const ids = tensorData('int64', [2], [1, 2])
    for (const dtype of ['F16', 'BF16'] as const) {
      await writeSafetensors(path, Object.entries({ x, ids }), { dtype })
      const checkpoint = openSafetensors(path)
      expect([checkpoint.info('x').type, checkpoint.info('ids').type]).toEqual([dtype, 'I64'])
      const step = dtype === 'F16' ? 2 ** -11 : 2 ** -8
      const original = x.data as Float32Array
      const worst = checkpoint
        .read('x')
        .reduce((max, value, i) => Math.max(max, Math.abs(value - original[i]) / Math.max(1, original[i])), 0)
      expect(worst).toBeLessThanOrEqual(step)
      checkpoint.close()
    }
  })

  it('splits above the limit, reads the shards as one, and removes what the other form left', async () => {
    const model = join(folder, 'model')
    mkdirSync(model)
    writeFileSync(join(model, 'config.json'), '{"model_type":"llama"}')
    const entries = Array.from(
      { length: 5 },
      (_, i) => [`t${i}`, tensorData('float32', [10], Array(10).fill(i))] as const,
    )
    await writeSafetensorsFolder(model, entries, { maxShardBytes: 100 })
    expect(readdirSync(model).filter((name) => /^model-0000[1-3]-of-00003\.safetensors$/.test(name))).toHaveLength(3)
    const sharded = openCheckpoint(model)
    expect(sharded.config).toEqual({ model_type: 'llama' })
    expect(sharded.metadata).toEqual({ total_size: 200, format: 'pt' })
    expect(sharded.names().sort()).toEqual(['t0', 't1', 't2', 't3', 't4'])
    expect([...sharded.read('t3')]).toEqual(Array(10).fill(3))
    sharded.close()
    await writeSafetensorsFolder(model, entries)
    expect(readdirSync(model).sort()).toEqual(['config.json', 'model.safetensors'])
    expect([...openCheckpoint(model).read('t4')]).toEqual(Array(10).fill(4))
  })

  it('leaves the old file as it was, and nothing else, where writing fails', async () => {
    const place = join(folder, 'atomic')
    mkdirSync(place)
    const file = join(place, 'x.safetensors')
    await writeSafetensors(file, [['x', tensorData('float32', [1], [7])]])
    const bad = { dtype: 'float32', shape: [2], data: new Float32Array(3) } as const
    await expect(writeSafetensors(file, [['x', bad]])).rejects.toThrow('"x" has 3 elements')
    const same = tensorData('float32', [1])
    await expect(writeSafetensors(file, Object.entries({ x: same }).concat([['x', same]]))).rejects.toThrow(
      'two tensors',
    )
    expect(readdirSync(place)).toEqual(['x.safetensors'])
    expect([...readTensors(file).x.data]).toEqual([7])
    await expect(writeSafetensors(join(folder, 'nowhere', 'x.safetensors'), [])).rejects.toThrow('ENOENT')
    expect(existsSync(join(folder, 'nowhere'))).toBe(false)
  })

  it('reads beyond the first 4 GB of a file', () => {
    const large = 5 * 2 ** 30
    const json = JSON.stringify({
      large: { dtype: 'U8', shape: [large], data_offsets: [0, large] },
      last: { dtype: 'F32', shape: [2], data_offsets: [large, large + 8] },
    }).padEnd(256)
    const file = join(folder, 'large.safetensors')
    const header = Buffer.alloc(264)
    header.writeBigUInt64LE(256n)
    header.write(json, 8)
    // A file with a hole: it takes no room on the disk.
    const descriptor = openSync(file, 'w')
    writeSync(descriptor, header, 0, 264, 0)
    writeSync(descriptor, new Uint8Array(Float32Array.of(1.5, -2).buffer), 0, 8, 264 + large)
    closeSync(descriptor)
    const checkpoint = openSafetensors(file)
    expect([...checkpoint.read('last')]).toEqual([1.5, -2])
    expect(checkpoint.info('large').byteLength).toBe(large)
    checkpoint.close()
    rmSync(file)
  })

  it('writes from memory that WebAssembly shares', async () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
    const view = new Float32Array(memory.buffer, 256, 4)
    view.set([1, 2, 3, 4])
    await writeSafetensors(path, [['x', { dtype: 'float32', shape: [2, 2], data: view }]])
    expect([...readTensors(path).x.data]).toEqual([1, 2, 3, 4])
  })

  it('says in one sentence what is wrong with a header', () => {
    const entry = (shape: unknown, offsets: unknown, dtype = 'F32') => ({ dtype, shape, data_offsets: offsets })
    const cases: [unknown, string][] = [
      [{ x: entry([2], [0, 4]) }, '"x" has 4 bytes, its shape [2] needs 8'],
      [{ x: entry([8], [0, 32]) }, '"x" ends at byte'],
      [{ x: entry([-1], [0, 4]) }, 'the shape of "x" is not a list of whole numbers'],
      [{ x: entry([1.5], [0, 6]) }, 'the shape of "x"'],
      [{ x: entry([2 ** 40, 2 ** 40], [0, 8]) }, '"x" is too large'],
      [{ x: entry([1], [4, 0]) }, '"x" has -4 bytes'],
      [{ x: entry([1], [4, 8]) }, '"x" follows a gap'],
      [{ x: entry([2], [0, 8]), y: entry([1], [4, 8]) }, '"y" overlaps another tensor'],
      [{ x: entry([1], [0, 4]) }, '4 bytes at its end belong to no tensor'],
      [{ x: entry([1], [0, 4], 'F31') }, 'unknown type'],
      [{ x: entry([1], [0, 4], 'constructor') }, 'unknown type'],
      [{ x: 3 }, 'the entry of "x" is not an object'],
      [{ x: { a: { b: { c: 1 } } } }, 'nested too deeply'],
      [[], 'not a JSON object'],
    ]
    for (const [header, message] of cases) {
      expect(() => openSafetensors(handmade(header, new Uint8Array(8))), message).toThrow(message)
    }
    const raw = (text: string) => {
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)))
      writeFileSync(path, Buffer.concat([length, Buffer.from(text)]))
      return path
    }
    const empty = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    expect(() => openSafetensors(raw(`{"x":${empty},"\\u0078":${empty}}`))).toThrow('same name')
    expect(() => openSafetensors(raw(`{"\\ud800":${empty}}`))).toThrow('not Unicode')
    expect(() => openSafetensors(raw(`${'['.repeat(1000)}`))).toThrow('nested too deeply')
    writeFileSync(path, Buffer.from('ffffffffffffff7f7b7d', 'hex'))
    expect(() => openSafetensors(path)).toThrow('its header is said to be')
  })

  it('refuses an index that leads out of its folder or names tensors that are not there', () => {
    const index = join(folder, 'bad.safetensors.index.json')
    for (const file of ['../a.safetensors', '/etc/a.safetensors', 'x\\a.safetensors', 'C:a.safetensors', 'a.bin', 3]) {
      writeFileSync(index, JSON.stringify({ weight_map: { x: file } }))
      expect(() => openCheckpoint(index)).toThrow('no plain file name')
    }
    handmade({}, new Uint8Array(0))
    writeFileSync(index, JSON.stringify({ weight_map: { x: 'handmade.safetensors' } }))
    expect(() => openCheckpoint(index)).toThrow('but it is not')
  })
})
