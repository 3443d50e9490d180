import type { Shape } from '../../dim.ts'
import { type Emitter, MICROSOFT } from '../../emitter.ts'
import type { Tensor } from '../../graph.ts'

/**
 * Convolutions with fewer multiplications (Winograd, 1980; Lavin and Gray, 2015, arXiv 1509.09308), made of matrix
 * products alone.
 *
 * Along one axis, a tile of outputs is Aᵀ((G w) ⊙ (B x)): each of the three maps is a small constant matrix. So a
 * convolution is a map of the picture, one product over channels for each of the tile's multiplications, and a map of
 * the result; and since all of it is linear in picture and kernel, the two gradients are the same maps transposed. What
 * the three have in common (the picture mapped, the kernel mapped, the gradient mapped) is emitted once.
 */

/** Where the kernel's taps fall along one axis. */
export interface Axis {
  readonly size: number
  readonly outSize: number
  readonly kernel: number
  readonly stride: number
  /** Zeros before the first element. */
  readonly before: number
}

/** Rows are a tile's multiplications, and for `input` and `output` those of every tile: row = multiplication · tiles + tile. */
export interface AxisMaps {
  readonly multiplications: number
  readonly tiles: number
  /** [multiplications * tiles, size] */
  readonly input: Matrix
  /** [multiplications * tiles, outSize] */
  readonly output: Matrix
  /** [multiplications, kernel] */
  readonly kernel: Matrix
}

type Matrix = readonly (readonly number[])[]

/**
 * Where polynomials are evaluated. With these five a tile of 4 × 4 outputs has rounding errors of 2·10⁻⁶ of the result's
 * root mean square, 4 times those of a plain sum; with 2 for ½ they were 3·10⁻⁶ (Barabasz et al., 2018, arXiv 1803.10986).
 */
const POINTS = [0, 1, -1, 0.5, -2]

/** The coefficients of Π (z − root), constant first. */
function polynomial(roots: readonly number[]): number[] {
  let p = [1]
  for (const root of roots) p = Array.from({ length: p.length + 1 }, (_, i) => (p[i - 1] ?? 0) - root * (p[i] ?? 0))
  return p
}

/** Toom and Cook's scheme: `outputs` results of a kernel of `taps` in outputs + taps − 1 multiplications. */
function tileMaps(outputs: number, taps: number): { input: Matrix; kernel: Matrix; output: Matrix } {
  const identity = Array.from({ length: outputs }, (_, i) => Array.from({ length: outputs }, (_, j) => +(i === j)))
  if (taps === 1) return { input: identity, output: identity, kernel: identity.map(() => [1]) }
  const span = outputs + taps - 1
  const points = POINTS.slice(0, span - 1)
  const others = points.map((p) => points.filter((q) => q !== p))
  const padded = (row: readonly number[]): number[] => Array.from({ length: span }, (_, i) => row[i] ?? 0)
  const powers = (p: number, count: number): number[] => Array.from({ length: count }, (_, i) => p ** i)
  const last = (count: number): number[] => Array.from({ length: count }, (_, i) => +(i === count - 1))
  return {
    input: [...others.map((roots) => padded(polynomial(roots))), polynomial(points)],
    output: [...points.map((p) => powers(p, outputs)), last(outputs)],
    kernel: [
      ...points.map((p, i) => {
        const scale = others[i].reduce((product, q) => product * (p - q), 1)
        return powers(p, taps).map((power) => power / scale)
      }),
      last(taps),
    ],
  }
}

interface Places {
  readonly tiles: number
  /** The place of a tile's first value, the distance to its next one, and the distance of tiles. */
  readonly first: number
  readonly step: number
  readonly apart: number
}

/** A row for every tile: `values` at their places among zeros. What falls outside is left out. */
const rowsOf = (values: readonly number[], length: number, { tiles, first, step, apart }: Places): number[][] =>
  Array.from({ length: tiles }, (_, tile) => {
    const row = new Array<number>(length).fill(0)
    for (const [i, value] of values.entries()) {
      const at = first + tile * apart + i * step
      if (at >= 0 && at < length) row[at] = value
    }
    return row
  })

/** A stride of s cuts the kernel into s kernels, each over every s-th element. */
function axisMaps({ size, outSize, kernel, stride, before }: Axis, outputs: number): AxisMaps {
  const tiles = Math.ceil(outSize / outputs)
  const phases = Array.from({ length: Math.min(stride, kernel) }, (_, phase) => ({
    phase,
    maps: tileMaps(outputs, Math.ceil((kernel - phase) / stride)),
  }))
  const rows = phases.flatMap(({ phase, maps }) =>
    maps.input.map((input, i) => ({ phase, input, output: maps.output[i], kernel: maps.kernel[i] })),
  )
  return {
    multiplications: rows.length,
    tiles,
    input: rows.flatMap(({ phase, input }) =>
      rowsOf(input, size, { tiles, first: phase - before, step: stride, apart: outputs * stride }),
    ),
    output: rows.flatMap(({ output }) => rowsOf(output, outSize, { tiles, first: 0, step: 1, apart: outputs })),
    kernel: rows.flatMap((row) => rowsOf(row.kernel, kernel, { tiles: 1, first: row.phase, step: stride, apart: 0 })),
  }
}

/** Every row of `a` times every row of `b`, in the order b's multiplications, a's multiplications, a's tiles, b's tiles. */
function kronecker(a: Matrix, b: Matrix, aTiles: number, bTiles: number): Matrix {
  const rows: number[][] = []
  for (let j = 0; j < b.length / bTiles; j++) {
    for (let i = 0; i < a.length / aTiles; i++) {
      for (let k = 0; k < aTiles; k++) {
        for (let l = 0; l < bTiles; l++) {
          const [left, right] = [a[i * aTiles + k], b[j * bTiles + l]]
          rows.push(left.flatMap((x) => right.map((y) => x * y)))
        }
      }
    }
  }
  return rows
}

/** Planes up to this size are mapped by one matrix; larger ones along one axis after the other. */
const SMALL_PLANE = 64

/** Fewer rows to a product do not pay for mapping the kernel, and fewer than these not for tiles of 4 × 4. */
const [FEWEST_ROWS, FEWEST_ROWS_OF_LARGE_TILES] = [32, 128]

/** A map's cost grows with the square of the axis. Longer ones were not measured. */
const LONGEST_AXIS = 64

/** The part of the plain sums' multiplications that maps and products may have. Measured. */
const LARGEST_PART = 0.65

/** On smaller planes ONNX Runtime's convolutions are so slow that any saving is one. */
const SMALLEST_PLANE = 32

export interface ConvShape {
  readonly batch: number
  readonly channels: number
  readonly out: number
  readonly height: Axis
  readonly width: Axis
}

/** Where the kernel's taps fall. [vertical, horizontal] throughout. */
export interface ConvAttributes {
  readonly strides: readonly [number, number]
  readonly dilations: readonly [number, number]
  /** [top, left, bottom, right], ONNX's order. */
  readonly pads: readonly [number, number, number, number]
  readonly kernel: readonly [number, number]
  readonly groups: number
}

/**
 * The scheme of a convolution of `xShape` to `yShape`, where there is one that pays: for kernels of 3 × 3 on a CPU that
 * is not asked for the same weight at every run.
 *
 * @param operand - the weight, or for the gradient by it the picture: no scheme where that is compiled in
 */
export function fastConv(
  e: Emitter,
  operand: Tensor,
  xShape: Shape,
  yShape: Shape,
  { kernel, strides, dilations, pads, groups }: ConvAttributes,
): FastConv | undefined {
  const [stride] = strides
  const square = `${[kernel, strides, dilations]}` === `${[3, 3, stride, stride, 1, 1]}`
  if (e.convolutionBlock(operand) === 0 || !square || stride > 2 || groups > 1) return undefined
  const sizes = [...xShape, ...yShape]
  if (!sizes.every((dim) => typeof dim === 'number')) return undefined
  const [batch, channels, height, width, , out, outHeight, outWidth] = sizes
  if (Math.max(height, width) > LONGEST_AXIS) return undefined
  const axis = (size: number, outSize: number, before: number): Axis => ({
    size,
    outSize,
    before,
    kernel: 3,
    stride,
  })
  const shape = {
    batch,
    channels,
    out,
    height: axis(height, outHeight, pads[0]),
    width: axis(width, outWidth, pads[1]),
  }
  const schemes = [4, 2].map((outputs) => new FastConv(e, shape, outputs))
  const scheme = schemes.find(({ rowsOfProduct }, i) => rowsOfProduct >= [FEWEST_ROWS_OF_LARGE_TILES, FEWEST_ROWS][i])
  const plain = 3 * 9 * channels * out * outHeight * outWidth
  const part = outHeight * outWidth < SMALLEST_PLANE ? 1 : LARGEST_PART
  return scheme && scheme.multiplications <= part * plain ? scheme : undefined
}

/** A convolution's scheme: its maps along both axes. */
export class FastConv {
  private readonly rows: AxisMaps
  private readonly columns: AxisMaps
  private readonly dense: boolean

  constructor(
    private readonly e: Emitter,
    private readonly shape: ConvShape,
    /** Rows and columns of a tile. */
    outputs: number,
  ) {
    this.rows = axisMaps(shape.height, outputs)
    this.columns = axisMaps(shape.width, outputs)
    this.dense = shape.height.size * shape.width.size <= SMALL_PLANE
  }

  get rowsOfProduct(): number {
    return this.rows.tiles * this.columns.tiles * this.shape.batch
  }

  /** A picture's share of the convolution's multiplications and of both gradients'. */
  get multiplications(): number {
    const { channels, out, height, width } = this.shape
    const [rows, columns] = [this.rows.input.length, this.columns.input.length]
    const map = (h: number, w: number) => (this.dense ? rows * columns * h * w : columns * w * h + columns * rows * h)
    const maps = channels * map(height.size, width.size) + out * map(height.outSize, width.outSize)
    return 3 * rows * columns * channels * out + 2 * maps
  }

  /** @returns [batch, out, outHeight, outWidth] of x [batch, channels, height, width] and weight [out, channels, ...kernel] */
  convolve(x: string, weight: string): string {
    const { e, shape } = this
    const products = e.one('FusedMatMul', [this.picture(x), this.kernel(weight)], { transB: 1 }, MICROSOFT)
    return this.unmap(products, 'output', [shape.batch, shape.out, shape.height.outSize, shape.width.outSize])
  }

  /** The gradient by the picture. */
  transpose(dy: string, weight: string): string {
    const { e, shape } = this
    const products = e.one('MatMul', [this.gradient(dy), this.kernel(weight)])
    return this.unmap(products, 'input', [shape.batch, shape.channels, shape.height.size, shape.width.size])
  }

  /** The gradient by the kernel. */
  correlate(x: string, dy: string): string {
    const { e, shape, rows, columns } = this
    const products = e.one('FusedMatMul', [this.gradient(dy), this.picture(x)], { transA: 1 }, MICROSOFT)
    const flat = this.reshape(products, [rows.multiplications * columns.multiplications, shape.out * shape.channels])
    const taps = e.one('Gemm', [flat, this.kernelMap()], { transA: 1 })
    return this.reshape(taps, [shape.out, shape.channels, shape.height.kernel, shape.width.kernel])
  }

  private picture(x: string): string {
    return this.map(x, 'input', this.shape.channels)
  }

  private gradient(dy: string): string {
    return this.map(dy, 'output', this.shape.out)
  }

  private kernel(weight: string): string {
    const { e, shape, rows, columns } = this
    const { out, channels, height, width } = shape
    const taps = this.reshape(weight, [out * channels, height.kernel * width.kernel])
    const mapped = e.one('Gemm', [this.kernelMap(), taps], { transB: 1 })
    return this.reshape(mapped, [rows.multiplications * columns.multiplications, out, channels])
  }

  /** [multiplications, kernelHeight * kernelWidth], the columns' multiplications first. */
  private kernelMap(): string {
    const { rows, columns } = this
    const matrix: number[][] = []
    for (const column of columns.kernel) {
      for (const row of rows.kernel) matrix.push(row.flatMap((r) => column.map((c) => r * c)))
    }
    return this.matrix(matrix)
  }

  /** [batch, channels, ...plane] → [multiplications, tiles * batch, channels] */
  private map(x: string, side: 'input' | 'output', channels: number): string {
    const { e, rows, columns, shape } = this
    const { batch, height, width } = shape
    const [h, w] = side === 'input' ? [height.size, width.size] : [height.outSize, width.outSize]
    const mapped = [rows.multiplications * columns.multiplications, rows.tiles * columns.tiles * batch, channels]
    if (this.dense) {
      const planes = this.reshape(x, [batch * channels, h * w])
      return this.reshape(e.one('Gemm', [this.planeMap(side), planes], { transB: 1 }), mapped)
    }
    const lines = this.reshape(x, [batch * channels * h, w])
    const across = e.one('Gemm', [this.matrix(columns[side]), lines], { transB: 1 })
    const planes = this.reshape(across, [columns.multiplications, columns.tiles * batch * channels, h])
    return this.reshape(e.one('FusedMatMul', [this.matrix(rows[side]), planes], { transB: 1 }, MICROSOFT), mapped)
  }

  /** The transpose of `map`. */
  private unmap(products: string, side: 'input' | 'output', shape: readonly number[]): string {
    const { e, rows, columns } = this
    const [batch, channels, h] = shape
    if (this.dense) {
      const flat = this.reshape(products, [rows[side].length * columns[side].length, batch * channels])
      return this.reshape(e.one('Gemm', [flat, this.planeMap(side)], { transA: 1 }), shape)
    }
    const planes = [columns.multiplications, rows[side].length, columns.tiles * batch * channels]
    const down = [this.reshape(products, planes), this.matrix(rows[side])]
    const across = e.one('FusedMatMul', down, { transA: 1 }, MICROSOFT)
    const lines = this.reshape(across, [columns[side].length, batch * channels * h])
    return this.reshape(e.one('Gemm', [lines, this.matrix(columns[side])], { transA: 1 }), shape)
  }

  /** Both axes' maps at once. */
  private planeMap(side: 'input' | 'output'): string {
    const { rows, columns } = this
    return this.matrix(kronecker(rows[side], columns[side], rows.tiles, columns.tiles))
  }

  private matrix(rows: Matrix): string {
    const data = Float32Array.from(rows.flat())
    return this.e.constant({ dtype: 'float32', shape: [rows.length, rows[0].length], data })
  }

  private reshape(x: string, shape: readonly number[]): string {
    return this.e.one('Reshape', [x, this.e.ints(shape)])
  }
}
