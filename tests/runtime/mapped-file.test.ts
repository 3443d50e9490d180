import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { placeWeights } from '../../src/runtime/external-data.ts'
import { letGoOfPages, mapFile, placeOf } from '../../src/runtime/mapped-file.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { type TensorData, tensorData } from '../../src/tensor/data.ts'
import { encodeGraph } from './graphs.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
const backend = await nodeBackend()

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-mapped-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
let files = 0
function fileOf(bytes: Uint8Array): string {
  const path = join(folder, `${files++}`)
  writeFileSync(path, bytes)
  return path
}

/** How many mappings of the file this process has. */
const mappings = (path: string): number => readFileSync('/proc/self/maps', 'utf8').split(path).length - 1
const isLinux = process.platform === 'linux'

/** Repeats garbage collection until `isDone`, for a second at most. */
async function collectUntil(isDone: () => boolean): Promise<boolean> {
  for (let i = 0; i < 100 && !isDone(); i++) {
    collectGarbage()
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return isDone()
}

describe('a mapped file', () => {
  it('has the bytes of the file, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20_000 }), (bytes) => {
        expect(new Uint8Array(mapFile(fileOf(bytes)))).toEqual(bytes)
      }),
      { numRuns: 30 },
    )
  })

  it('is known by its place, parts of it too, until the file is deleted or changed', () => {
    const path = fileOf(new Uint8Array(64).fill(7))
    const buffer = mapFile(path)
    expect(placeOf(new Float32Array(buffer, 8, 2))).toMatchObject({ offset: 8 })
    expect(placeOf(new Float32Array(4))).toBeUndefined()
    const file = openSync(path, 'r+')
    writeSync(file, Uint8Array.of(1), 0, 1, 64)
    closeSync(file)
    expect(placeOf(new Uint8Array(buffer))).toBeUndefined()
    const other = fileOf(new Uint8Array(64).fill(7))
    const gone = mapFile(other)
    rmSync(other)
    expect(placeOf(new Uint8Array(gone))).toBeUndefined()
    expect(new Uint8Array(gone)[63]).toBe(7)
  })

  it('reads the same after its pages were let go', () => {
    const numbers = Float32Array.from({ length: 5000 }, (_, i) => i)
    const mapped = new Float32Array(mapFile(fileOf(new Uint8Array(numbers.buffer))))
    expect(mapped[4999]).toBe(4999)
    letGoOfPages(mapped)
    expect(mapped).toEqual(numbers)
  })

  it('says in one sentence that there is no such file', () => {
    expect(() => mapFile(join(folder, 'none'))).toThrow(/ENOENT/)
  })

  it.runIf(isLinux)('is unmapped when nothing refers to it any more', async () => {
    const path = fileOf(new Uint8Array(8192))
    let array: Uint8Array | undefined = new Uint8Array(mapFile(path))
    expect(mappings(path)).toBe(1)
    expect(array[8191]).toBe(0)
    array = undefined
    expect(await collectUntil(() => mappings(path) === 0)).toBe(true)
  })
})

describe('a session on weights in files', () => {
  const numbers = Float32Array.from({ length: 64 * 64 }, (_, i) => ((i * 37) % 101) / 64)
  /** x · weight + table[ids], with what is packed and what is looked up. */
  const model = (initializers: Record<string, TensorData>) =>
    encodeGraph({
      nodes: [
        { op: 'MatMul', inputs: ['x', 'weight'], outputs: ['h'] },
        { op: 'Add', inputs: ['h', 'bias'], outputs: ['y'] },
      ],
      inputs: [{ name: 'x', shape: ['n', 64] }],
      outputs: [{ name: 'y', shape: ['n', 64] }],
      external: initializers,
    })
  const x = tensorData('float32', [2, 64], numbers.slice(0, 128))
  const arrays = {
    weight: tensorData('float32', [64, 64], numbers),
    bias: tensorData('float32', [64], numbers.slice(64, 128)),
  }

  async function run(weights: Record<string, TensorData>): Promise<TensorData> {
    const session = await backend.createSession(model(weights), { initializers: new Map(Object.entries(weights)) })
    try {
      return (await session.run({ x })).y as TensorData
    } finally {
      session.release()
    }
  }

  /** The same weights, 12 bytes into a file. */
  function inFile(): { path: string; weights: typeof arrays } {
    const all = new Float32Array([1, 2, 3, ...arrays.weight.data, ...arrays.bias.data] as number[])
    const path = fileOf(new Uint8Array(all.buffer))
    const buffer = mapFile(path)
    const weight = { ...arrays.weight, data: new Float32Array(buffer, 12, 4096) }
    return { path, weights: { weight, bias: { ...arrays.bias, data: new Float32Array(buffer, 12 + 4 * 4096, 64) } } }
  }

  it('answers bit for bit as on arrays: all in files, some in files, and after the file is gone', async () => {
    const expected = await run(arrays)
    const { path, weights } = inFile()
    expect(placeWeights(model(weights), new Map(Object.entries(weights)))?.arrays.size).toBe(0)
    expect(await run(weights)).toEqual(expected)
    expect(await run({ weight: weights.weight, bias: arrays.bias })).toEqual(expected)
    rmSync(path)
    expect(placeWeights(model(weights), new Map(Object.entries(weights)))).toBeUndefined()
    expect(await run(weights)).toEqual(expected)
  })

  it.runIf(isLinux)('maps nothing any more once it is released', async () => {
    let { path, weights } = inFile() as { path: string; weights: typeof arrays | undefined }
    const session = await backend.createSession(model(arrays), { initializers: new Map(Object.entries(weights!)) })
    weights = undefined
    expect(mappings(path)).toBeGreaterThan(0)
    session.release()
    expect(await collectUntil(() => mappings(path) === 0)).toBe(true)
  })
})
