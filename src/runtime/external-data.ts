import { parse, relative, sep } from 'node:path'
import onnxProto from 'onnx-proto'
import type { TensorData } from '../tensor/data.ts'
import { type Place, placeOf } from './mapped-file.ts'

const { onnx } = onnxProto

/** A model whose weights ONNX Runtime finds in files. */
export interface PlacedModel {
  readonly model: Uint8Array
  /** What the places are relative to. */
  readonly folder: string
  /** The weights that lie in no file. */
  readonly arrays: ReadonlyMap<string, TensorData>
  /** Weights that would stay mapped and resident although they are read only once, to be packed. */
  readonly readOnce: ReadonlyMap<string, TensorData>
}

/**
 * Says in a model where those of its weights lie that are parts of mapped files: ONNX Runtime then maps these parts by
 * itself, and unmaps what it has packed. Undefined where there are none.
 */
export function placeWeights(
  model: Uint8Array,
  initializers: ReadonlyMap<string, TensorData>,
): PlacedModel | undefined {
  const places = new Map<string, Place>()
  let folder: string | undefined
  for (const [name, { data }] of initializers) {
    const place = placeOf(data)
    if (!place) continue
    // Places must be relative and not lead out of the folder: the root, then. Windows has one for each drive.
    folder ??= parse(place.path).root
    if (parse(place.path).root === folder) places.set(name, place)
  }
  if (folder === undefined) return undefined
  const decoded = onnx.ModelProto.decode(model)
  for (const tensor of decoded.graph?.initializer ?? []) {
    const place = places.get(tensor.name ?? '')
    for (const entry of place ? (tensor.externalData ?? []) : []) {
      if (entry.key === 'location') entry.value = relative(folder, place!.path).replaceAll(sep, '/')
      if (entry.key === 'offset') entry.value = `${place!.offset}`
    }
  }
  // ONNX Runtime unmaps the values of a quantised product once they are packed; scales and zero points it keeps.
  const kept = (decoded.graph?.node ?? []).flatMap(({ opType, input }) =>
    opType === 'MatMulNBits' ? (input ?? []).slice(2) : [],
  )
  const select = (isWanted: (name: string) => boolean) => new Map([...initializers].filter(([name]) => isWanted(name)))
  const isKept = new Set(kept)
  return {
    model: onnx.ModelProto.encode(decoded).finish(),
    folder,
    arrays: select((name) => !places.has(name)),
    readOnce: select((name) => places.has(name) && isKept.has(name)),
  }
}
