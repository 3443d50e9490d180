import type { ParameterSpec } from '../nn/scope.ts'
import type { OpNode, QuantizedWeight, Tensor, TensorData } from '../tensor/index.ts'

/** Weights in blocks of small integers, for inference. */

/** Values that share a scale. */
const BLOCK_SIZE = 32

/**
 * `q8`: 8 bits. `q4`: 4 bits with a zero point a block. `q4_0`: 4 bits with zero in the middle, faster and coarser.
 * Tables of embeddings keep 8 bits in each.
 */
export type Quantization = 'q8' | 'q4' | 'q4_0'

/** How a weight is used decides how it may be stored: [out, in] rows for products, rows for look-ups. */
interface Use {
  /** Stored [in, out]: to be turned before it is cut into blocks along `in`. */
  readonly inFirst: boolean
  /** Rows are looked up: embeddings, which every token passes (and, tied, the head). They keep 8 bits. */
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

/**
 * What turns each quantisable parameter of a traced graph into blocks, by name.
 *
 * @param traced - the model's outputs and parameters
 */
export function quantizers(
  quantization: Quantization,
  traced: { outputs: readonly Tensor[]; parameters: Iterable<ParameterSpec> },
): Map<string, (value: TensorData) => QuantizedWeight> {
  const uses = quantizable(traced.outputs, traced.parameters)
  return new Map(
    [...uses].map(([name, { inFirst, isTable }]) => [
      name,
      ({ data, shape }: TensorData) => {
        const [rows, columns] = inFirst ? [shape[1], shape[0]] : shape
        const values = inFirst ? turned(data as Float32Array, columns, rows) : (data as Float32Array)
        return quantizeMatrix(values, [rows, columns], isTable ? 'q8' : quantization)
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

/**
 * Cuts a matrix into blocks along its last axis.
 *
 * @param data - [rows, columns]
 */
export function quantizeMatrix(
  data: Float32Array,
  shape: readonly [number, number],
  quantization: Quantization,
): QuantizedWeight {
  const bits = quantization === 'q8' ? 8 : 4
  const half = 2 ** (bits - 1)
  const blocks = data.length / BLOCK_SIZE
  const scales = new Float32Array(blocks)
  const packed = new Uint8Array((data.length * bits) / 8)
  const perRow = shape[1] / BLOCK_SIZE
  const zeroPoints = quantization === 'q4' ? new Uint8Array(shape[0] * Math.ceil(perRow / 2)) : undefined
  for (let block = 0, at = 0, out = 0; block < blocks; block++) {
    const range = blockRange(data, at)
    const zero = zeroPoints
      ? Math.min(Math.max(Math.round((-15 * range.low) / (range.high - range.low)) || 0, 0), 15)
      : half
    // Symmetric blocks give the value of largest size the lowest level, so that no step of the range is lost.
    const scale = zeroPoints
      ? (range.high - range.low) / 15
      : -(range.high > -range.low ? range.high : range.low) / half
    const inverse = scale === 0 ? 0 : 1 / scale
    scales[block] = scale
    if (zeroPoints) {
      const column = block % perRow
      zeroPoints[Math.floor(block / perRow) * Math.ceil(perRow / 2) + (column >> 1)] |= zero << (4 * (column & 1))
    }
    for (let i = 0; i < BLOCK_SIZE; i += 8 / bits) {
      const first = level(data[at + i] * inverse, zero, 2 * half - 1)
      packed[out++] = bits === 8 ? first : first | (level(data[at + i + 1] * inverse, zero, 15) << 4)
    }
    at += BLOCK_SIZE
  }
  return { bits, blockSize: BLOCK_SIZE, shape, packed, scales, zeroPoints }
}

/** The least and the largest value of a block, and zero. */
function blockRange(data: Float32Array, at: number): { low: number; high: number } {
  let [low, high] = [0, 0]
  for (let i = at; i < at + BLOCK_SIZE; i++) {
    if (data[i] < low) low = data[i]
    else if (data[i] > high) high = data[i]
  }
  return { low, high }
}

/** The nearest of the levels 0 … top, where `zero` stands for zero. */
function level(scaled: number, zero: number, top: number): number {
  return Math.min(Math.max(Math.floor(scaled + zero + 0.5), 0), top)
}
