import { readFileSync, statSync } from 'node:fs'
import { type Checkpoint, elementsToRead } from '../hub/checkpoint.ts'
import { writeAtomically } from '../hub/file.ts'
import { bfloatToFloat, halfToFloat } from '../hub/half.ts'
import { traceModel } from '../nn/model.ts'
import { toOnnx } from '../runtime/compile.ts'
import { onnxText, onnxWeights, withText } from '../runtime/onnx-weights.ts'
import { type LoadOptions, loadModel } from './load.ts'

/** Models as ONNX files: written whole, and read for their weights. */

/** Under this name the file says what model it is, so that a folder can be made of it again. */
const CONFIG = 'config.json'

/** Protobuf ends here, so no valid file is larger. */
const MAX_BYTES = 2 ** 31

/**
 * Writes a model as one ONNX file that ONNX Runtime and Netron open: its plainest run, dimensions named, weights inside
 * under their checkpoint names.
 *
 * @returns how many weights it holds
 * @throws Error where the file would be larger than protobuf's 2 GB
 */
export async function exportOnnx(reference: string, target: string, options: LoadOptions = {}): Promise<number> {
  const { model, weights, config } = await loadModel(reference, options)
  const traced = traceModel(model)
  const bytes = [...weights.values()].reduce(
    (sum, value) =>
      sum + ('packed' in value ? value.packed.byteLength + value.scales.byteLength : value.data.byteLength),
    0,
  )
  if (bytes > 2e9)
    throw new Error(
      `${target}: ${(bytes / 1e9).toFixed(1)} GB of weights do not fit an ONNX file, which ends at 2 GB; add --quantize q4`,
    )
  const graph = toOnnx(traced, weights)
  // Blocks are no weights that a folder could have.
  const file = options.quantize ? graph : withText(graph, CONFIG, JSON.stringify({ ...config, ...model.toConfig() }))
  await writeAtomically(target, (write) => write(file))
  return weights.size
}

/**
 * The weights inside an ONNX file, under their names there. Weights in other files beside it are not seen.
 *
 * @throws Error with one sentence where the file is not ONNX, or damaged
 */
export function openOnnx(path: string): Checkpoint {
  const { size } = statSync(path)
  if (size > MAX_BYTES) throw new Error(`${path}: has ${size} bytes; an ONNX file has at most ${MAX_BYTES}`)
  const bytes = readFileSync(path)
  const tensors = new Map(onnxWeights(bytes, path).map((weight) => [weight.name, weight]))
  const config = onnxText(bytes, CONFIG, path)
  const get = (name: string) => {
    const found = tensors.get(name)
    if (!found) throw new Error(`${path}: there is no weight '${name}'`)
    return found
  }
  return {
    config: config === undefined ? undefined : parsed(config, path),
    metadata: {},
    names: () => [...tensors.keys()],
    info: (name) => ({ type: get(name).type, shape: get(name).shape, byteLength: get(name).bytes.length }),
    read: (name, into, firstRow = 0) => {
      const { type, shape, bytes } = get(name)
      const { start, length } = elementsToRead(`${path}: '${name}'`, shape, into, firstRow)
      const values = floats(type, bytes).subarray(start, start + length)
      into?.set(values)
      return into ?? values
    },
    place: () => undefined,
    readRaw: (name) => new Uint8Array(get(name).bytes),
    close: () => tensors.clear(),
  }
}

function parsed(config: string, path: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(config)
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>
  } catch {}
  throw new Error(`${path}: what it has under ${CONFIG} is no JSON object`)
}

function floats(type: string, bytes: Uint8Array): Float32Array {
  const aligned = new Uint8Array(bytes).buffer
  const halves = () => new Uint16Array(aligned)
  const read = {
    F32: () => new Float32Array(aligned),
    F16: () => converted(halves(), halfToFloat),
    BF16: () => converted(halves(), bfloatToFloat),
    F64: () => Float32Array.from(new Float64Array(aligned)),
    I32: () => Float32Array.from(new Int32Array(aligned)),
    I64: () => Float32Array.from(new BigInt64Array(aligned), Number),
    U8: () => Float32Array.from(bytes),
    I8: () => Float32Array.from(new Int8Array(aligned)),
    BOOL: () => Float32Array.from(bytes),
  }[type]
  return (read as () => Float32Array)()
}

function converted(source: Uint16Array, convert: (source: Uint16Array, target: Float32Array) => void): Float32Array {
  const target = new Float32Array(source.length)
  convert(source, target)
  return target
}
