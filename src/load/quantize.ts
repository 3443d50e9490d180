import type { ParameterSpec } from '../nn/scope.ts'
import type { OpNode, QuantizedWeight, Tensor, TensorData } from '../tensor/index.ts'

/** Weights in blocks of small integers, for inference. */

/** Rows are cut into blocks whose values share a scale; a row that is no multiple of this stays in floats. */
const BLOCK_SIZE = 32

/**
 * Where larger blocks cost no accuracy, the largest that fits first: fewer scales to read, and kernels that stop for one
 * less often. That is so for 8 bits, and for products in `q4s`, whose searched scales lose no more in blocks of 128
 * than the scale of the largest value in blocks of 32 (measured on SmolLM2).
 */
const BLOCK_SIZES = [128, 64, BLOCK_SIZE]

/** The last block of a product's row may reach past its end by up to this part of the row. */
const MOST_PADDING = 1 / 8

/**
 * `q8`: 8 bits. `q4`: 4 bits with a zero point a block; tables of embeddings keep 8 bits. `q4s`: 4 bits with zero in
 * the middle for all, in larger blocks: faster and coarser.
 */
export type Quantization = 'q8' | 'q4' | 'q4s'

/** How a weight is used decides how it may be stored: [out, in] rows for products, rows for look-ups. */
interface Use {
  /** Stored [in, out]: to be turned before it is cut into blocks along `in`. */
  readonly inFirst: boolean
  /** Rows are looked up: embeddings, which every token passes (and, tied, the head). */
  readonly isTable: boolean
}

/**
 * The parameters of a traced graph that may be quantised: matrices that are only multiplied with or looked up in.
 *
 * @param outputs - of the traced model
 */
function quantizable(outputs: readonly Tensor[], parameters: Iterable<ParameterSpec>): Map<string, Use> {
  const byNode = new Map([...parameters].map((spec) => [spec.tensor.node, spec]))
  const uses = new Map<string, Use | 'other'>()
  const seen = new Set<OpNode>()
  const stack = outputs.map((tensor) => tensor.node)
  while (stack.length > 0) {
    const node = stack.pop() as OpNode
    if (seen.has(node)) continue
    seen.add(node)
    node.inputs.forEach((tensor, position) => {
      stack.push(tensor.node)
      const spec = byNode.get(tensor.node)
      if (!spec) return
      const use = usage(node, position)
      const before = uses.get(spec.name)
      const clash = before && (before === 'other' || use === 'other' || before.inFirst !== use.inFirst)
      uses.set(
        spec.name,
        clash || use === 'other' ? 'other' : { ...use, isTable: use.isTable || (before as Use)?.isTable },
      )
    })
  }
  const result = new Map<string, Use>()
  for (const { name, shape } of byNode.values()) {
    const use = uses.get(name)
    if (!use || use === 'other' || shape.length !== 2) continue
    if (shape[use.inFirst ? 0 : 1] % BLOCK_SIZE === 0) result.set(name, use)
  }
  return result
}

function usage(node: OpNode, position: number): Use | 'other' {
  if (node.op.name === 'linear' && position === 1)
    return { inFirst: (node.attributes as { inFirst: boolean }).inFirst, isTable: false }
  const isLookup = node.op.name === 'gather' && position === 0 && (node.attributes as { axis: number }).axis === 0
  return isLookup ? { inFirst: false, isTable: true } : 'other'
}

export interface Quantizer {
  /** Whether a part of the rows gives the same part of the blocks, so that a matrix may come in pieces. */
  readonly byRows: boolean
  quantize(value: TensorData): QuantizedWeight
}

/**
 * What turns each quantisable parameter of a traced graph into blocks, by name.
 *
 * @param traced - the model's outputs and parameters
 */
export function quantizers(
  quantization: Quantization,
  traced: { outputs: readonly Tensor[]; parameters: Iterable<ParameterSpec> },
): Map<string, Quantizer> {
  const uses = quantizable(traced.outputs, traced.parameters)
  return new Map(
    [...uses].map(([name, { inFirst, isTable }]) => [
      name,
      {
        byRows: !inFirst,
        quantize: ({ data, shape }) => {
          const [rows, columns] = inFirst ? [shape[1], shape[0]] : shape
          const values = inFirst ? turned(data as Float32Array, columns, rows) : (data as Float32Array)
          const kind = isTable && quantization === 'q4' ? 'q8' : quantization
          const blockSize = kind === 'q4' || (kind === 'q4s' && isTable) ? BLOCK_SIZE : largestBlock(columns, isTable)
          return quantizeMatrix(values, [rows, columns], kind, blockSize)
        },
      },
    ]),
  )
}

/** [columns, rows] → [rows, columns] */
function turned(data: Float32Array, columns: number, rows: number): Float32Array {
  const result = new Float32Array(data.length)
  for (let c = 0; c < columns; c++) for (let r = 0; r < rows; r++) result[r * columns + c] = data[c * rows + r]
  return result
}

/** The largest block that pads a row little, or not at all: rows of tables are looked up in whole blocks. */
const largestBlock = (columns: number, isTable: boolean): number =>
  BLOCK_SIZES.find((size) => Math.ceil(columns / size) * size <= columns * (isTable ? 1 : 1 + MOST_PADDING)) ??
  BLOCK_SIZE

/**
 * Cuts a matrix into blocks along its last axis. The last block of a row is filled up with zeros.
 *
 * @param data - [rows, columns]
 * @param blockSize - a power of two, 16 or more
 */
export function quantizeMatrix(
  data: Float32Array,
  shape: readonly [number, number],
  quantization: Quantization,
  blockSize = BLOCK_SIZE,
): QuantizedWeight {
  const [rows, columns] = shape
  const bits = quantization === 'q8' ? 8 : 4
  const top = 2 ** bits - 1
  const perRow = Math.ceil(columns / blockSize)
  const scales = new Float32Array(rows * perRow)
  const packed = new Uint8Array((rows * perRow * blockSize * bits) / 8)
  const zeroPoints = quantization === 'q4' ? new Uint8Array(rows * Math.ceil(perRow / 2)) : undefined
  const padded = new Float32Array(blockSize)
  for (let row = 0, block = 0, out = 0; row < rows; row++) {
    for (let column = 0; column < perRow; column++, block++) {
      const start = row * columns + column * blockSize
      const values = data.subarray(start, Math.min(start + blockSize, (row + 1) * columns))
      padded.fill(0, values.length).set(values)
      const { scale, zero } = BLOCK_SCALE[quantization](padded)
      const inverse = scale === 0 ? 0 : 1 / scale
      scales[block] = scale
      if (zeroPoints) zeroPoints[row * Math.ceil(perRow / 2) + (column >> 1)] |= zero << (4 * (column & 1))
      for (let i = 0; i < blockSize; i += 8 / bits) {
        const first = level(padded[i] * inverse, zero, top)
        packed[out++] = bits === 8 ? first : first | (level(padded[i + 1] * inverse, zero, top) << 4)
      }
    }
  }
  return { bits, blockSize, shape, packed, scales, zeroPoints }
}

/** A block's values stand for (level − zero) · scale. */
interface BlockScale {
  readonly scale: number
  readonly zero: number
}

const BLOCK_SCALE: Readonly<Record<Quantization, (values: Float32Array) => BlockScale>> = {
  q8: (values) => ({ scale: extreme(values) / -128, zero: 128 }),

  q4(values) {
    let [low, high] = [0, 0]
    for (const value of values) {
      if (value < low) low = value
      else if (value > high) high = value
    }
    const zero = Math.min(Math.max(Math.round((-15 * low) / (high - low)) || 0, 0), 15)
    return { scale: (high - low) / 15, zero }
  },

  q4s: (values) => ({ scale: searchedScale(values), zero: 8 }),
}

/** The value of largest size: it gets the lowest level, so that no step of the range is lost. */
function extreme(values: Float32Array): number {
  let result = 0
  for (let i = 0; i < values.length; i++) if (Math.abs(values[i]) > Math.abs(result)) result = values[i]
  return result
}

/** Levels that the extreme value may be put at: at −8 it is exact; beyond, it is cut off and the others are finer. */
const EXTREME_LEVELS = [7.2, 7.6, 8, 8.4, 8.8]

/**
 * The scale of a block of levels −8 … 7 whose squared error is least, each value's error weighed by its own square:
 * unweighted, the error of the many small values drops and the model's grows.
 */
function searchedScale(values: Float32Array): number {
  const largest = extreme(values)
  if (largest === 0) return 0
  let [scale, best] = [0, -1]
  for (const at of EXTREME_LEVELS) {
    const inverse = -at / largest
    let [product, square] = [0, 0]
    for (let i = 0; i < values.length; i++) {
      const value = values[i]
      const q = level(value * inverse, 8, 15) - 8
      const weighed = value * value * q
      product += weighed * value
      square += weighed * q
    }
    // With these levels the best scale is product / square; it leaves an error of Σ x⁴ − product² / square.
    if (square > 0 && product * product > best * square) {
      best = (product * product) / square
      scale = product / square
    }
  }
  return scale
}

/** The nearest of the levels 0 … top, where `zero` stands for zero. */
function level(scaled: number, zero: number, top: number): number {
  // Truncated, which processors do at once: below zero it ends at the same level as rounded down.
  const nearest = (scaled + zero + 0.5) | 0
  return nearest < 0 ? 0 : nearest > top ? top : nearest
}
