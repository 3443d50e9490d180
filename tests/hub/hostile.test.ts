import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Checkpoint } from '../../src/hub/checkpoint.ts'
import { ggufFromConfig } from '../../src/hub/gguf/config.ts'
import { type GgufValue, openGguf } from '../../src/hub/gguf/file.ts'
import { openGgufAsHuggingFace } from '../../src/hub/gguf/names.ts'
import { quantize } from '../../src/hub/gguf/quantize.ts'
import { writeGguf } from '../../src/hub/gguf/write.ts'
import { openSafetensors } from '../../src/hub/safetensors.ts'
import { writeSafetensors } from '../../src/hub/safetensors-write.ts'
import { sizeOf, tensorData } from '../../src/tensor/data.ts'
import { temporaryFolder } from './temporary.ts'

const folder = temporaryFolder()
const path = join(folder, 'mutated')
const LARGE = 64 << 20

/** Reads everything of a file; what is thrown must be one short line, and what is read must fit the file. */
function readAll(open: (path: string) => Checkpoint, fileBytes: number): void {
  const before = process.memoryUsage().arrayBuffers
  let checkpoint: Checkpoint | undefined
  try {
    checkpoint = open(path)
    for (const name of checkpoint.names()) {
      const { shape, byteLength } = checkpoint.info(name)
      expect(byteLength).toBeLessThanOrEqual(fileBytes)
      expect(checkpoint.readRaw(name)).toHaveLength(byteLength)
      expect(checkpoint.read(name)).toHaveLength(sizeOf(shape))
    }
  } catch (error) {
    if ((error as Error).name === 'AssertionError') throw error
    expect(error).toBeInstanceOf(Error)
    expect(error).not.toBeInstanceOf(TypeError)
    expect(error).not.toBeInstanceOf(RangeError)
    expect((error as Error).message).not.toMatch(/\n|^internal/)
    expect((error as Error).message.length).toBeLessThan(400)
  } finally {
    checkpoint?.close()
  }
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(LARGE)
}

/** Some bytes changed, some cut out or put in, the end cut off; mostly where the header is. */
const mutations = (headerBytes: number, length: number) => {
  const place = fc.oneof(
    { arbitrary: fc.nat(headerBytes - 1), weight: 4 },
    { arbitrary: fc.nat(length - 1), weight: 1 },
  )
  const byte = fc.oneof(fc.nat(255), fc.constantFrom(0, 1, 0x22, 0x2c, 0x2d, 0x39, 0x5b, 0x7b, 0x7d, 0x7f, 0x80, 0xff))
  return fc.array(
    fc.oneof(
      fc.record({
        kind: fc.constant('set' as const),
        at: place,
        bytes: fc.array(byte, { minLength: 1, maxLength: 9 }),
      }),
      fc.record({ kind: fc.constant('insert' as const), at: place, bytes: fc.array(byte, { maxLength: 20 }) }),
      fc.record({ kind: fc.constant('remove' as const), at: place, count: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ kind: fc.constant('cut' as const), at: place }),
    ),
    { minLength: 1, maxLength: 4 },
  )
}
type Mutation = ReturnType<typeof mutations> extends fc.Arbitrary<infer T> ? T : never

function mutate(original: Buffer, changes: Mutation): Buffer {
  let bytes = Buffer.from(original)
  for (const change of changes) {
    const at = Math.min(change.at, bytes.length)
    if (change.kind === 'set') bytes.set(change.bytes.slice(0, bytes.length - at), at)
    else if (change.kind === 'cut') bytes = bytes.subarray(0, at)
    else {
      const middle = change.kind === 'insert' ? Buffer.from(change.bytes) : Buffer.alloc(0)
      const skipped = change.kind === 'remove' ? change.count : 0
      bytes = Buffer.concat([bytes.subarray(0, at), middle, bytes.subarray(at + skipped)])
    }
  }
  return bytes
}

let safetensors: Buffer
let gguf: Buffer

beforeAll(async () => {
  const names = Array.from({ length: 6 }, (_, i) => `layer.${i}.weight`)
  await writeSafetensors(
    path,
    names.map((name, i) => [name, tensorData(i % 2 ? 'float32' : 'int64', [2, i + 1])] as const),
  )
  safetensors = readFileSync(path)
  const { metadata } = ggufFromConfig({
    architectures: ['LlamaForCausalLM'],
    vocab_size: 4,
    hidden_size: 32,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    rms_norm_eps: 1e-5,
  })
  const strings: GgufValue = { type: 'array', itemType: 'string', value: ['a', 'é', '日本'] }
  metadata.set('tokenizer.ggml.tokens', strings)
  metadata.set('nested', { type: 'array', itemType: 'array', value: [strings, strings] })
  const rows = { 'token_embd.weight': 4, 'blk.0.attn_q.weight': 32, 'blk.0.attn_k.weight': 32, 'output_norm.weight': 1 }
  const types = ['Q4_0', 'Q8_0', 'F16', 'F32'] as const
  await writeGguf(
    path,
    metadata,
    Object.entries(rows).map(([name, count], i) => {
      const bytes = () => quantize(types[i], new Float32Array(count * 32).fill(0.5))
      return { name, type: types[i], shape: [count, 32], bytes }
    }),
  )
  gguf = readFileSync(path)
})

describe('damaged and hostile files', () => {
  it('safetensors: any mutation is read or refused in one line, and nothing large is allocated', () => {
    fc.assert(
      fc.property(mutations(600, safetensors.length), (changes) => {
        const bytes = mutate(safetensors, changes)
        writeFileSync(path, bytes)
        readAll(openSafetensors, bytes.length)
      }),
      { numRuns: 1000 },
    )
  })

  it('GGUF: any mutation is read or refused in one line, and nothing large is allocated', () => {
    fc.assert(
      fc.property(mutations(1600, gguf.length), (changes) => {
        const bytes = mutate(gguf, changes)
        writeFileSync(path, bytes)
        readAll(openGguf, bytes.length)
        readAll(openGgufAsHuggingFace, bytes.length)
      }),
      { numRuns: 1000 },
    )
  })

  it('every cut of a valid file is refused', () => {
    for (const [original, open] of [
      [safetensors, openSafetensors],
      [gguf, openGguf],
    ] as const) {
      for (let length = 0; length < original.length; length += length < 1700 ? 7 : 301) {
        writeFileSync(path, original.subarray(0, length))
        expect(() => open(path), `${length} bytes`).toThrow(/^[^\n]*(cut short|not a valid)[^\n]*$/)
      }
    }
  })

  it('no length in a GGUF header is believed, wherever it stands', () => {
    for (let at = 8; at < 1600; at += at < 300 ? 1 : 3) {
      for (const value of [2n ** 64n - 1n, 2n ** 31n]) {
        const bytes = Buffer.from(gguf)
        bytes.writeBigUInt64LE(value, at)
        writeFileSync(path, bytes)
        readAll(openGguf, bytes.length)
      }
    }
  }, 120_000)

  it('random bytes after a right beginning are refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(2, 3), (tail, version) => {
        writeFileSync(path, Buffer.concat([Buffer.from('GGUF'), Buffer.from([version, 0, 0, 0]), tail]))
        readAll(openGguf, tail.length + 8)
        const length = Buffer.alloc(8)
        length.writeBigUInt64LE(BigInt(tail.length))
        writeFileSync(path, Buffer.concat([length, tail]))
        readAll(openSafetensors, tail.length + 8)
      }),
      { numRuns: 500 },
    )
  })
})
