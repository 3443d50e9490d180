import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Checkpoint, FilePlace } from '../hub/checkpoint.ts'
import type { ModelClass } from '../nn/model.ts'
import type { ParameterSpec } from '../nn/scope.ts'
import { mapFile } from '../runtime/mapped-file.ts'
import { type QuantizedWeight, sizeOf, type TensorData } from '../tensor/index.ts'
import type { Quantizer } from './quantize.ts'

/** What a class of models says of the names that checkpoints have for its parameters. */
type NamesOf = Pick<ModelClass, 'baseModelPrefix' | 'aliases'>

/**
 * Reads the values of a model's parameters from a checkpoint, in fp32. Checkpoints of a model without its head leave
 * the base model's prefix out of the names; both spellings are found.
 *
 * @throws Error that names the first parameter which is missing or has another shape
 */
export function readWeights(
  parameters: Iterable<ParameterSpec>,
  checkpoint: Checkpoint,
  modelClass: NamesOf,
  missing: MissingWeights = 'error',
): Map<string, TensorData> {
  const weights = new Map<string, TensorData>()
  for (const { name, shape, read } of findWeights(parameters, checkpoint, modelClass, missing)) {
    weights.set(name, { dtype: 'float32', shape, data: read(new Float32Array(sizeOf(shape))) })
  }
  return weights
}

/**
 * What becomes of parameters that a checkpoint lacks: an error, or they are left out, to be given first values by who
 * trains them (`init`: a value head, a classifier, adapters).
 */
export type MissingWeights = 'error' | 'init'

/** Weights that are parts of files: read-only, and in memory only as far as they are touched. */
export interface MappedWeights {
  readonly weights: Map<string, TensorData | QuantizedWeight>
  /**
   * Deletes temporary files. To be called once sessions have the weights: they, and the arrays, keep what they map. Done
   * at the latest when the process exits; a process that is killed before leaves files in the system's temporary folder.
   */
  release(): void
}

/** A conversion reads about this many numbers at a time. */
const PIECE = 1 << 20

/**
 * The same for weights that will not change, without a copy in memory: what is stored as float32 is mapped where it
 * lies. The rest is converted piece by piece into temporary files, which are mapped.
 *
 * @param blocks - by parameter name: those to quantise
 */
export function mapWeights(
  parameters: Iterable<ParameterSpec>,
  checkpoint: Checkpoint,
  modelClass: NamesOf,
  blocks: ReadonlyMap<string, Quantizer> = new Map(),
): MappedWeights {
  const files = new TemporaryFiles()
  const sources = new Map<string, ArrayBuffer>()
  try {
    const parts = new Map<string, () => TensorData | QuantizedWeight>()
    for (const weight of findWeights(parameters, checkpoint, modelClass)) {
      const { name, shape, place } = weight
      const quantizer = blocks.get(name)
      if (quantizer) parts.set(name, writeBlocks(files, weight, quantizer))
      else if (place && place.offset % Float32Array.BYTES_PER_ELEMENT === 0 && sizeOf(shape) > 0) {
        const source = sources.get(place.path) ?? mapFile(place.path)
        sources.set(place.path, source)
        const data = new Float32Array(source, place.offset, sizeOf(shape))
        parts.set(name, () => ({ dtype: 'float32', shape, data }))
      } else {
        const data = files.part('floats', Float32Array)
        for (const piece of piecesOf(weight)) data.append(piece.data)
        parts.set(name, () => ({ dtype: 'float32', shape, data: data.mapped() }))
      }
    }
    files.map()
    return { weights: new Map([...parts].map(([name, part]) => [name, part()])), release: () => files.delete() }
  } catch (error) {
    files.delete()
    throw error
  }
}

/** Values, scales and zero points each go into a file of their own: neighbours can then be joined without a copy. */
function writeBlocks(files: TemporaryFiles, weight: StoredWeight, { byRows, quantize }: Quantizer) {
  const packed = files.part('packed', Uint8Array)
  const scales = files.part('scales', Float32Array)
  const zeroPoints = files.part('zero-points', Uint8Array)
  let first: QuantizedWeight | undefined
  for (const piece of piecesOf(weight, byRows ? PIECE : sizeOf(weight.shape))) {
    const blocks = quantize(piece)
    first ??= blocks
    packed.append(blocks.packed)
    scales.append(blocks.scales)
    if (blocks.zeroPoints) zeroPoints.append(blocks.zeroPoints)
  }
  if (!first) throw new Error(`internal: parameter ${weight.name} has no rows to quantise`)
  const { bits, blockSize, zeroPoints: hasZeroPoints, shape } = first
  const columns = shape[1]
  return (): QuantizedWeight => ({
    bits,
    blockSize,
    shape: [sizeOf(weight.shape) / columns, columns],
    packed: packed.mapped(),
    scales: scales.mapped(),
    zeroPoints: hasZeroPoints && zeroPoints.mapped(),
  })
}

/** A weight some rows at a time; each piece overwrites the one before. */
function* piecesOf({ shape, read }: StoredWeight, pieceSize = PIECE): Generator<TensorData & { data: Float32Array }> {
  const [rows, rest] = shape.length < 2 ? [1, [...shape]] : [shape[0], shape.slice(1)]
  const rowsAtOnce = Math.min(rows, Math.max(1, Math.floor(pieceSize / sizeOf(rest))))
  const scratch = new Float32Array(rowsAtOnce * sizeOf(rest))
  for (let row = 0; row < rows; row += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - row)
    const data = scratch.subarray(0, count * sizeOf(rest))
    yield { dtype: 'float32', shape: [count, ...rest], data: read(data, row) }
  }
}

type ArrayOver<Data> = {
  readonly BYTES_PER_ELEMENT: number
  new (buffer: ArrayBuffer, byteOffset: number, length: number): Data
}

/** Files that are written to their end and then mapped, in a temporary folder that does not outlive the process. */
class TemporaryFiles {
  #folder: string | undefined
  readonly #descriptors = new Map<string, { descriptor: number; byteLength: number }>()
  readonly #buffers = new Map<string, ArrayBuffer>()
  readonly #delete = (): void => this.delete()

  /** A stretch at the end of a file, to be appended to before the next one of that file is asked for. */
  part<Data>(file: string, over: ArrayOver<Data>): { append(data: ArrayBufferView): void; mapped(): Data } {
    const start = this.#descriptors.get(file)?.byteLength ?? 0
    let byteLength = 0
    return {
      append: (data) => {
        this.#append(file, new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        byteLength += data.byteLength
      },
      mapped: () => new over(this.#buffers.get(file) ?? new ArrayBuffer(0), start, byteLength / over.BYTES_PER_ELEMENT),
    }
  }

  map(): void {
    for (const [file, { descriptor }] of this.#descriptors) {
      closeSync(descriptor)
      this.#descriptors.delete(file)
      this.#buffers.set(file, mapFile(join(this.#folder as string, file)))
    }
  }

  delete(): void {
    atExit.delete(this.#delete)
    for (const { descriptor } of this.#descriptors.values()) closeSync(descriptor)
    this.#descriptors.clear()
    try {
      if (this.#folder) rmSync(this.#folder, { recursive: true, force: true })
    } catch (error) {
      // Windows deletes no file that is mapped.
      if (process.platform !== 'win32') throw error
      doAtExit(this.#delete)
    }
  }

  #append(file: string, bytes: Uint8Array): void {
    if (!this.#folder) {
      this.#folder = mkdtempSync(join(tmpdir(), 'jackdaw-weights-'))
      doAtExit(this.#delete)
    }
    let entry = this.#descriptors.get(file)
    if (!entry) {
      entry = { descriptor: openSync(join(this.#folder, file), 'wx', 0o600), byteLength: 0 }
      this.#descriptors.set(file, entry)
    }
    try {
      for (let done = 0; done < bytes.length; ) done += writeSync(entry.descriptor, bytes, done)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      throw new Error(`${this.#folder}: weights cannot be written there (${code}); TMPDIR names another place`, {
        cause: error,
      })
    }
    entry.byteLength += bytes.length
  }
}

/** What is still to be deleted when the process exits: one listener for however many models. */
const atExit = new Set<() => void>()

function doAtExit(work: () => void): void {
  if (atExit.size === 0) {
    process.off('exit', clear)
    process.once('exit', clear)
  }
  atExit.add(work)
}

const clear = (): void => {
  for (const work of [...atExit]) work()
}

interface StoredWeight {
  readonly name: string
  readonly shape: readonly number[]
  /** Where it lies as float32. */
  readonly place?: FilePlace
  read(into: Float32Array, firstRow?: number): Float32Array
}

/** Parameters that a checkpoint of a few tensors may lack where new ones are wanted. */
const MOST_NEW = 256

/**
 * What a trace of a checkpoint's model asks about each parameter: the trace ends at the first that is not there, however
 * many more the configuration calls for.
 *
 * @returns the name under which a parameter is stored; undefined for one that may be missing
 * @throws Error that names the parameter which is missing or has another shape
 */
export function finder(
  checkpoint: Pick<Checkpoint, 'names' | 'info'>,
  { baseModelPrefix, aliases }: NamesOf,
  missing: MissingWeights = 'error',
): (parameter: Pick<ParameterSpec, 'name' | 'shape'>) => string | undefined {
  const stored = new Set(checkpoint.names())
  // What is new is a head, or as much again as what is stored: not a billion layers.
  let mayLack = missing === 'init' ? stored.size + MOST_NEW : 0
  return ({ name, shape }) => {
    const short = name.startsWith(baseModelPrefix) ? name.slice(baseModelPrefix.length) : name
    const found = [name, short, ...(aliases?.(name) ?? [])].find((candidate) => stored.has(candidate))
    if (!found && mayLack-- > 0) return undefined
    if (!found) throw new Error(`the checkpoint has no parameter ${name}, which its config.json calls for`)
    const info = checkpoint.info(found)
    if (`${info.shape}` !== `${shape}`) {
      throw new Error(
        `parameter ${found} is [${info.shape.join(', ')}] in the checkpoint; its config.json makes it [${shape.join(', ')}]`,
      )
    }
    return found
  }
}

function* findWeights(
  parameters: Iterable<ParameterSpec>,
  checkpoint: Checkpoint,
  modelClass: NamesOf,
  missing: MissingWeights = 'error',
): Generator<StoredWeight> {
  const find = finder(checkpoint, modelClass, missing)
  for (const { name, shape } of parameters) {
    const found = find({ name, shape })
    if (found === undefined) continue
    const read = (into: Float32Array, firstRow?: number) => checkpoint.read(found, into, firstRow)
    yield { name, shape, place: checkpoint.place(found), read }
  }
}
