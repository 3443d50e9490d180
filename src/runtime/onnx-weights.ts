import onnxProto from 'onnx-proto'
import { PARAMETER } from './lower.ts'

const { onnx } = onnxProto

/** A weight inside an ONNX model, its bytes as stored. */
export interface OnnxWeight {
  readonly name: string
  /** `F32`, `F16`, `I64`, … */
  readonly type: string
  readonly shape: readonly number[]
  readonly bytes: Uint8Array
}

/** Element types by ONNX's numbers: the name here and the bytes an element takes. */
const TYPES: Readonly<Record<number, readonly [name: string, bytes: number]>> = {
  1: ['F32', 4],
  2: ['U8', 1],
  3: ['I8', 1],
  6: ['I32', 4],
  7: ['I64', 8],
  9: ['BOOL', 1],
  10: ['F16', 2],
  11: ['F64', 8],
  16: ['BF16', 2],
}

/**
 * The weights that lie in an ONNX model itself. In files of our own only parameters count, in others every constant.
 *
 * @param name - what errors call the model
 * @throws Error with one sentence where the bytes are not ONNX, or damaged
 */
export function onnxWeights(model: Uint8Array, name: string): OnnxWeight[] {
  const all = decode(model, name).graph?.initializer ?? []
  const marked = all.filter(({ docString }) => docString === PARAMETER)
  const weights: OnnxWeight[] = []
  for (const tensor of marked.length > 0 ? marked : all) {
    const [type, width] = TYPES[tensor.dataType ?? 0] ?? []
    const shape = (tensor.dims ?? []).map(Number)
    const bytes = tensor.rawData ?? new Uint8Array()
    if (!type || !width) {
      throw new Error(
        `${name}: weight '${shown(tensor.name)}' has element type ${tensor.dataType}, which is not known here`,
      )
    }
    // Small integers may be written as numbers; they are shapes and axes, not weights.
    if (bytes.length === 0) continue
    if (shape.some((size) => size < 0) || bytes.length !== shape.reduce((a, b) => a * b, width)) {
      throw new Error(
        `${name}: weight '${shown(tensor.name)}' of [${shape.slice(0, 8).join(', ')}] has ${bytes.length} bytes`,
      )
    }
    weights.push({ name: tensor.name ?? '', type, shape, bytes })
  }
  return weights
}

/** The model with a text under a name, beside its graph: in protobuf's format, what is appended is added. */
export function withText(model: Uint8Array, key: string, value: string): Uint8Array {
  const added = onnx.ModelProto.encode({ metadataProps: [{ key, value }] } as onnxProto.onnx.IModelProto).finish()
  const all = new Uint8Array(model.length + added.length)
  all.set(model)
  all.set(added, model.length)
  return all
}

/**
 * The text under a name, where the model has one.
 *
 * @param name - what errors call the model
 */
export const onnxText = (model: Uint8Array, key: string, name: string): string | undefined =>
  decode(model, name).metadataProps?.find((entry) => entry.key === key)?.value ?? undefined

/** A name out of the file, short and on one line. */
const shown = (name: string | null | undefined): string => (name ?? '').slice(0, 80).replace(/\p{C}/gu, '?')

function decode(model: Uint8Array, name: string): onnxProto.onnx.ModelProto {
  try {
    return onnx.ModelProto.decode(model)
  } catch (cause) {
    throw new Error(`${name}: is not an ONNX file, or is damaged`, { cause })
  }
}
