import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TensorSource } from '../../../src/hub/checkpoint.ts'
import { type GgufValue, openGguf } from '../../../src/hub/gguf/file.ts'
import { quantize, WRITABLE_TYPES } from '../../../src/hub/gguf/quantize.ts'
import { dequantize } from '../../../src/hub/gguf/quants.ts'
import { writeGguf } from '../../../src/hub/gguf/write.ts'
import { openSafetensors } from '../../../src/hub/safetensors.ts'
import { lacksShared, sharedPath } from '../../shared.ts'
import { temporaryFolder } from '../temporary.ts'

const folder = temporaryFolder()
const path = join(folder, 'a.gguf')
const lacksTypes = lacksShared('parity/gguf/types.gguf')

const source = (name: string, values: Float32Array, shape: number[], type = 'F32' as const): TensorSource => ({
  name,
  type,
  shape,
  bytes: () => quantize(type, values),
})

describe('GGUF', () => {
  it.skipIf(lacksTypes)('dequantises every type to the very numbers of the reference', () => {
    const file = openGguf(sharedPath('parity/gguf/types.gguf'))
    const reference = openSafetensors(sharedPath('parity/gguf/types.safetensors'))
    expect(file.names().sort()).toEqual(reference.names().sort())
    for (const name of file.names()) {
      expect(file.info(name)).toMatchObject({ type: name, shape: [6, 512] })
      expect(file.read(name), name).toEqual(reference.read(name))
    }
    expect(file.metadata).toMatchObject({
      'general.architecture': 'llama',
      'types.strings': ['a', 'é', '日本'],
      'types.ints': [1, 2, 3],
      'types.flag': true,
      'types.number': 1.5,
    })
  })

  it.skipIf(lacksTypes)('quantises to the very bytes of the reference', () => {
    const file = openGguf(sharedPath('parity/gguf/types.gguf'))
    for (const type of WRITABLE_TYPES) expect(quantize(type, file.read('F32')), type).toEqual(file.readRaw(type))
  })

  it('quantises to the nearest step that a block has', () => {
    const steps = { Q8_0: 127, Q4_0: 8, Q4_1: 15 }
    const floats = fc.float32Array({ min: -100, max: 100, noNaN: true, minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(fc.constantFrom('Q8_0', 'Q4_0', 'Q4_1'), floats, (type, values) => {
        const back = new Float32Array(32)
        dequantize(type, quantize(type, values), back)
        const range = type === 'Q4_1' ? Math.max(...values) - Math.min(...values) : Math.max(...values.map(Math.abs))
        // Q4_0 has no step for +8: that end is a whole step off. The rest is the rounding of the scales to float16.
        const allowed = (type === 'Q4_0' ? 1 : 0.5) * (range / steps[type]) + 100 * 2 ** -10 + 2 ** -14
        for (let i = 0; i < 32; i++) expect(Math.abs(back[i] - values[i])).toBeLessThanOrEqual(allowed)
      }),
    )
  })

  it('refuses to quantise what is not finite or too large', () => {
    for (const bad of [Number.NaN, Infinity, 1e9]) {
      for (const type of ['Q8_0', 'Q4_0', 'Q4_1'] as const) {
        expect(() => quantize(type, new Float32Array(32).fill(0).with(5, bad))).toThrow('quantize:')
      }
    }
  })

  it('reads back every kind of metadata value as it was written', async () => {
    const scalar = fc.oneof(
      fc.record({ type: fc.constant('uint8' as const), value: fc.nat(255) }),
      fc.record({ type: fc.constant('int8' as const), value: fc.integer({ min: -128, max: 127 }) }),
      fc.record({ type: fc.constant('uint16' as const), value: fc.nat(65535) }),
      fc.record({ type: fc.constant('int16' as const), value: fc.integer({ min: -32768, max: 32767 }) }),
      fc.record({ type: fc.constant('uint32' as const), value: fc.nat(0xffffffff) }),
      fc.record({ type: fc.constant('int32' as const), value: fc.integer() }),
      fc.record({ type: fc.constant('float32' as const), value: fc.float() }),
      fc.record({ type: fc.constant('float64' as const), value: fc.double() }),
      fc.record({ type: fc.constant('bool' as const), value: fc.boolean() }),
      fc.record({ type: fc.constant('string' as const), value: fc.string({ unit: 'grapheme' }) }),
      fc.record({ type: fc.constant('uint64' as const), value: fc.maxSafeNat() }),
      fc.record({ type: fc.constant('int64' as const), value: fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 60n) }) }),
    )
    const strings = fc.record({
      type: fc.constant('array' as const),
      itemType: fc.constant('string' as const),
      value: fc.array(fc.string()),
    })
    const nested = fc.record({
      type: fc.constant('array' as const),
      itemType: fc.constant('array' as const),
      value: fc.array(strings),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(scalar, strings, nested), { maxLength: 12 }), async (values) => {
        const metadata = new Map<string, GgufValue>(values.map((value, i) => [`key.${i}`, value]))
        await writeGguf(path, metadata, [])
        const file = openGguf(path)
        expect(file.typedMetadata).toEqual(metadata)
        file.close()
      }),
      { numRuns: 60 },
    )
  })

  it('reads back tensors with their shapes, at any alignment', async () => {
    const shapes = fc.array(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 }), { maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(shapes, fc.constantFrom(8, 32, 64, 4096), async (all, alignment) => {
        const metadata = new Map<string, GgufValue>([['general.alignment', { type: 'uint32', value: alignment }]])
        const values = all.map((shape, n) => new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(n + 0.5))
        await writeGguf(
          path,
          metadata,
          all.map((shape, n) => source(`t${n}`, values[n], shape)),
        )
        const file = openGguf(path)
        for (const [n, shape] of all.entries()) {
          expect(file.info(`t${n}`).shape).toEqual(shape)
          expect(file.read(`t${n}`)).toEqual(values[n])
        }
        file.close()
      }),
      { numRuns: 40 },
    )
  })

  it('reads tensors larger than its reading window piece by piece', async () => {
    const values = new Float32Array(3_000_000 - (3_000_000 % 32)).map((_, i) => ((i * 7919) % 1000) / 1000 - 0.5)
    const bytes = quantize('Q8_0', values)
    await writeGguf(path, new Map(), [{ name: 'x', type: 'Q8_0', shape: [values.length], bytes: () => bytes }])
    const whole = new Float32Array(values.length)
    dequantize('Q8_0', bytes, whole)
    expect(Buffer.from(openGguf(path).read('x').buffer).equals(Buffer.from(whole.buffer))).toBe(true)
  })

  it('says in one sentence what is wrong', () => {
    const header = (...parts: (number | bigint | string)[]) => {
      // Numbers are uint32, bigints uint64, strings their length and bytes.
      const bytes = parts.map((part) => {
        if (typeof part === 'number') return Buffer.from(Uint32Array.of(part).buffer)
        if (typeof part === 'bigint') return Buffer.from(BigUint64Array.of(part).buffer)
        return Buffer.concat([
          Buffer.from(BigUint64Array.of(BigInt(Buffer.byteLength(part))).buffer),
          Buffer.from(part),
        ])
      })
      const file = Buffer.concat([Buffer.from('GGUF'), ...bytes])
      writeFileSync(path, Buffer.concat([file, Buffer.alloc(96)]))
      return path
    }
    const F32 = 0
    const Q4_0 = 2
    const fails = (file: string, message: string) => expect(() => openGguf(file), message).toThrow(message)
    fails(header(1), 'its version is 1')
    fails(header(0x03000000), 'big-endian')
    fails(header(3, 2n ** 60n, 0n), 'the number of tensors is')
    fails(header(3, 2n ** 40n, 0n), 'do not fit')
    fails(header(3, 0n, 1n, 'k', 8, 2n ** 40n), 'the length of "k" is')
    fails(header(3, 0n, 1n, 'k', 13), 'unknown type 13')
    fails(header(3, 0n, 1n, 'k', 9, 8, 2n ** 30n), 'is said to have')
    fails(header(3, 0n, 1n, 'k', 9, 9, 1n, 9, 1n, 9, 1n, 9, 1n, 9, 1n), 'nested')
    fails(header(3, 0n, 2n, 'k', 4, 1, 'k', 4, 1), 'is there twice')
    fails(header(3, 1n, 0n, 'x', 5, 1n, 1n, 1n, 1n, 1n, F32, 0n), 'has 5 dimensions')
    fails(header(3, 1n, 0n, 'x', 1, 4n, 99, 0n), 'unknown type 99')
    fails(header(3, 1n, 0n, 'x', 1, 33n, Q4_0, 0n), "no multiple of Q4_0's 32")
    fails(header(3, 1n, 0n, 'x', 1, 2n ** 50n, F32, 0n), 'ends at byte')
    fails(header(3, 1n, 0n, 'x', 2, 2n ** 50n, 2n ** 50n, F32, 0n), 'too large')
    fails(header(3, 1n, 0n, 'x', 1, 4n, F32, 7n), 'no multiple of 32')
    fails(header(3, 1n, 0n, 'x', 1, 4n, F32, 2n ** 52n), 'ends at byte')
    fails(header(3, 2n, 0n, 'x', 1, 4n, F32, 0n, 'y', 1, 4n, F32, 0n), 'overlaps')
    fails(header(3, 2n, 0n, 'x', 1, 4n, F32, 0n, 'x', 1, 4n, F32, 32n), 'two tensors are named')
    fails(header(3, 0n, 1n, 'general.alignment', 4, 33), 'general.alignment is 33')
    fails(header(3, 0n, 1n, 'general.alignment', 4, 0), 'general.alignment is 0')
    writeFileSync(path, 'GGUF')
    fails(path, 'cut short')
    writeFileSync(path, 'PK\x03\x04....')
    fails(path, 'does not begin with "GGUF"')
  })
})
