import onnxProto from 'onnx-proto'
import type { DType, TensorData } from '../tensor/data.ts'
import { sizeOf } from '../tensor/data.ts'
import { type Dim, type Shape, type SymbolicDim, sameShape } from '../tensor/dim.ts'
import type { AttributeValue, EmitOptions, Emitter, QuantizedNames, QuantizedWeight } from '../tensor/emitter.ts'
import { constantValue, type InputAttributes, inputOp, type Op, type OpNode, type Tensor } from '../tensor/graph.ts'
import { ONNX_TYPES } from '../tensor/ops/shape.ts'
import { type Attribute, type EmittedNode, fuse } from './fuse.ts'

const { onnx } = onnxProto

/** A recorded computation: which leaves it reads and which tensors it answers with, by name. */
export interface Graph {
  readonly inputs: readonly Tensor[]
  readonly outputs: Readonly<Record<string, Tensor>>
  /** Leaves whose values are compiled in as constants: weights that serve. */
  readonly weights?: ReadonlyMap<Tensor, TensorData | QuantizedWeight>
}

/** An ONNX model whose large weights lie outside it. */
export interface LoweredGraph {
  readonly model: Uint8Array
  /** By name, for `SessionOptions.initializers`. */
  readonly initializers: ReadonlyMap<string, TensorData>
  /** Outputs that are called like an input, and what they are called in the model. */
  readonly renamed: ReadonlyMap<string, string>
}

/** ai.onnx opset 20 is the newest that every provider of ONNX Runtime 1.30 knows in full. */
const OPSETS = [
  { domain: '', version: 20 },
  { domain: 'com.microsoft', version: 1 },
  // Kernels of ONNX Runtime on CPUs. Named only where a backend said that it has them.
  { domain: 'com.microsoft.nchwc', version: 1 },
]
const IR_VERSION = 9

/**
 * Operators that must name all their outputs. Others may leave unused ones at the end out, and skip their work. Attention
 * over a cache that does not name the present forgets the past.
 */
const FIXED_OUTPUTS: ReadonlySet<string> = new Set(['Split', 'TopK', 'GroupQueryAttention'])

/** Ops that read quantised weights. */
const READ_BLOCKS: ReadonlySet<string> = new Set(['linear', 'gather'])

/** Marks the initializers that are parameters of the model, apart from constants such as shapes. */
export const PARAMETER = 'parameter'

/** Weights above this size are handed over beside the model, not copied into it. */
const INLINE_BYTES = 1024

/** Constants up to this size are compared, so that equal ones are written once. */
const SHARED_BYTES = 16384

export const isQuantized = (value: TensorData | QuantizedWeight): value is QuantizedWeight => 'packed' in value

export const inputName = (leaf: Tensor): string => (leaf.node.attributes as InputAttributes).name

export interface LowerOptions {
  /** Write all weights into the model. Default false. */
  inlineWeights?: boolean
  /** Channels that the blocked convolution of the backend takes at a time; 0 (the default) for a model that runs anywhere. */
  channelBlock?: number
  /** Whether the backend adds scattered updates one after the other. Default true: a CPU. */
  scattersInOrder?: boolean
}

/** Turns a recorded graph into an ONNX model. Equal nodes are written once, unused outputs not at all. */
export function lower(
  graph: Graph,
  { inlineWeights = false, channelBlock = 0, scattersInOrder = true }: LowerOptions = {},
): LoweredGraph {
  const emitter = new GraphEmitter(graph, inlineWeights, channelBlock, scattersInOrder)
  const names = new Map<Tensor, string>()
  for (const leaf of graph.inputs) names.set(leaf, inputName(leaf))
  for (const [leaf, value] of graph.weights ?? []) names.set(leaf, emitter.weight(leaf, value))

  for (const node of nodesInOrder(Object.values(graph.outputs), names)) {
    if (node.op === (inputOp as Op<unknown>)) {
      throw new Error(`internal: input '${inputName(node.outputs[0])}' is used but not among the graph's inputs`)
    }
    const inputs = node.inputs.map((tensor) => names.get(tensor) as string)
    const blocks = node.inputs.find((tensor) => emitter.quantized(tensor))
    if (blocks && !READ_BLOCKS.has(node.op.name)) {
      throw new Error(
        `weight '${names.get(blocks)}' is quantised, which ${node.op.name} cannot read: give it as floats`,
      )
    }
    const outputs = node.op.lower(emitter, inputs, node)
    if (node.op.name === 'add' && isResidual(node)) emitter.residuals.add(outputs[0])
    node.outputs.forEach((tensor, i) => {
      names.set(tensor, outputs[i])
    })
  }
  return emitter.finish(
    Object.entries(graph.outputs).map(([name, tensor]) => [name, names.get(tensor) as string, tensor]),
  )
}

const isResidual = ({ inputs: [a, b] }: OpNode): boolean =>
  (a.rank === 2 || a.rank === 3) && sameShape(a.shape, b.shape)

/** The nodes that the outputs need, inputs before users: ascending ids are such an order. */
function nodesInOrder(outputs: readonly Tensor[], known: ReadonlyMap<Tensor, string>): OpNode[] {
  const seen = new Set<OpNode>()
  const stack = outputs.filter((tensor) => !known.has(tensor)).map((tensor) => tensor.node)
  while (stack.length > 0) {
    const node = stack.pop() as OpNode
    if (seen.has(node)) continue
    seen.add(node)
    for (const tensor of node.inputs) if (!known.has(tensor)) stack.push(tensor.node)
  }
  return [...seen].sort((a, b) => a.id - b.id)
}

class GraphEmitter implements Emitter {
  private nodes: EmittedNode[] = []
  /** Sums of two tensors of one shape, which may be fused with what follows. */
  readonly residuals = new Set<string>()
  private readonly emitted = new Map<string, string[]>()
  private readonly constants = new Map<string, string>()
  private readonly initializers: { name: string; [field: string]: unknown }[] = []
  private readonly external = new Map<string, TensorData>()
  private readonly weightValues = new Map<string, TensorData>()
  private readonly quantizedWeights = new Map<Tensor, QuantizedNames>()
  private readonly defined = new Map<string, string>()
  /** In an ONNX model all names differ: an output that is called like an input goes by another there. */
  private readonly renamed = new Map<string, string>()
  /** Names of the caller's, which values of the emitter's own must not take. */
  private readonly taken: ReadonlySet<string>
  private nextName = 0

  constructor(
    private readonly graph: Graph,
    private readonly inlineWeights: boolean,
    private readonly channelBlock: number,
    readonly scattersInOrder: boolean,
  ) {
    const leaves = [...graph.inputs, ...(graph.weights?.keys() ?? [])].map(inputName)
    const seen = new Set<string>()
    const clash = leaves.find((name) => seen.size === seen.add(name).size)
    if (clash !== undefined) throw new Error(`'${clash}' names two inputs or weights: each needs its own name`)
    for (const name of Object.keys(graph.outputs)) {
      let free = name
      while (seen.has(free) || (free !== name && free in graph.outputs)) free = `out_${free}`
      if (free !== name) this.renamed.set(name, free)
      seen.add(free)
    }
    this.taken = seen
  }

  private fresh(prefix: string): string {
    for (;;) {
      const name = `${prefix}${this.nextName++}`
      if (!this.taken.has(name)) return name
    }
  }

  many(
    opType: string,
    inputs: readonly string[],
    attributes: Record<string, AttributeValue> = {},
    { domain = '', outputs = 1 }: EmitOptions = {},
  ): string[] {
    const key = `${domain}:${opType}(${inputs.join()})${JSON.stringify(attributes)}x${outputs}`
    const known = this.emitted.get(key)
    if (known) return known
    const output = Array.from({ length: outputs }, () => this.fresh('t'))
    const attribute = Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value))
    this.nodes.push({ opType, domain, input: [...inputs], output, attribute })
    this.emitted.set(key, output)
    return output
  }

  one(opType: string, inputs: readonly string[], attributes?: Record<string, AttributeValue>, domain?: string): string {
    return this.many(opType, inputs, attributes, { domain })[0]
  }

  constant(value: TensorData): string {
    const bytes = new Uint8Array(value.data.buffer, value.data.byteOffset, value.data.byteLength)
    const key = bytes.length <= SHARED_BYTES ? `${value.dtype}[${value.shape}]${bytes}` : undefined
    const known = key && this.constants.get(key)
    if (known) return known
    const name = this.fresh('c')
    this.addInitializer(name, value)
    if (key) this.constants.set(key, name)
    return name
  }

  float(value: number): string {
    return this.constant({ dtype: 'float32', shape: [], data: Float32Array.of(value) })
  }

  ints(values: readonly number[]): string {
    return this.constant({ dtype: 'int64', shape: [values.length], data: BigInt64Array.from(values, BigInt) })
  }

  shape(shape: Shape): string {
    if (shape.every((dim) => typeof dim === 'number')) return this.ints(shape as number[])
    return this.one(
      'Concat',
      shape.map((dim) => this.dimVector(dim)),
      { axis: 0 },
    )
  }

  dim(dim: Dim): string {
    return this.one('Reshape', [this.dimVector(dim), this.ints([])])
  }

  /** A dimension as an int64 vector of one element. */
  private dimVector(dim: Dim): string {
    if (typeof dim === 'number') return this.ints([dim])
    const terms = dim.terms.map(({ coefficient, factors }) => {
      if (factors.length === 0) return this.ints([coefficient])
      const product = factors.map((factor) => this.factor(dim, factor)).reduce((a, b) => this.one('Mul', [a, b]))
      return coefficient === 1 ? product : this.one('Mul', [product, this.ints([coefficient])])
    })
    return terms.reduce((a, b) => this.one('Add', [a, b]))
  }

  private factor(dim: SymbolicDim, factor: string): string {
    const quotient = dim.quotients.get(factor)
    if (quotient) {
      // Sizes are not negative, so ONNX's truncating division is a floor.
      return this.one('Div', [this.dimVector(quotient.numerator), this.ints([quotient.denominator])])
    }
    const defined = this.defined.get(factor)
    if (defined) return defined
    for (const leaf of this.graph.inputs) {
      const axis = leaf.shape.findIndex((d) => typeof d !== 'number' && `${d}` === factor)
      if (axis >= 0) return this.one('Shape', [inputName(leaf)], { start: axis, end: axis + 1 })
    }
    throw new Error(`dimension '${factor}' is in no input's shape, so it has no value when the graph runs`)
  }

  /** Declares a constant weight and returns its name. */
  weight(leaf: Tensor, value: TensorData | QuantizedWeight): string {
    const name = inputName(leaf)
    if (!isQuantized(value)) {
      this.addWeight(name, value)
      return name
    }
    const [rows, columns] = value.shape
    if (value.blockSize < 16 || !Number.isInteger(Math.log2(value.blockSize))) {
      throw new RangeError(
        `weight '${name}': blocks must have a power of two of values, 16 or more, got ${value.blockSize}`,
      )
    }
    const blocks = Math.ceil(columns / value.blockSize)
    const packed = `${name}.packed`
    const scales = `${name}.scales`
    const packedShape = [rows, blocks, (value.blockSize * value.bits) / 8]
    this.addWeight(packed, { dtype: 'uint8', shape: packedShape, data: value.packed })
    this.addWeight(scales, { dtype: 'float32', shape: [rows * blocks], data: value.scales })
    const zeroPoints = value.zeroPoints && `${name}.zeroPoints`
    if (value.zeroPoints) {
      const perRow = value.zeroPoints.length / rows
      this.addWeight(`${name}.zeroPoints`, { dtype: 'uint8', shape: [rows, perRow], data: value.zeroPoints })
    }
    this.quantizedWeights.set(leaf, { weight: value, packed, scales, zeroPoints })
    return name
  }

  weightAs(name: string, shape: readonly number[]): string {
    const view = `${name}[${shape}]`
    const value = this.weightValues.get(name)
    if (!value) throw new Error(`internal: '${name}' is not a compiled-in weight`)
    if (!this.weightValues.has(view)) this.addWeight(view, { ...value, shape })
    return view
  }

  define(dimension: string, value: string): void {
    this.defined.set(dimension, value)
  }

  quantized(tensor: Tensor): QuantizedNames | undefined {
    return this.quantizedWeights.get(tensor)
  }

  convolutionBlock(weight: Tensor): number {
    return this.graph.weights?.has(weight) || constantValue(weight) ? 0 : this.channelBlock
  }

  private addInitializer(name: string, { dtype, shape, data }: TensorData, docString?: string): void {
    const rawData = new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    this.initializers.push({ name, dataType: ONNX_TYPES[dtype], dims: [...shape], rawData, docString })
  }

  /** A weight stays outside the model (protobuf ends at 2 GB, and would copy it) unless it is tiny. */
  private addWeight(name: string, value: TensorData): void {
    const { dtype, shape, data } = value
    if (data.length !== sizeOf(shape)) {
      throw new RangeError(`weight '${name}' has ${data.length} elements, its shape [${shape}] needs ${sizeOf(shape)}`)
    }
    this.weightValues.set(name, value)
    if (this.inlineWeights || data.byteLength <= INLINE_BYTES) {
      this.addInitializer(name, value, PARAMETER)
      return
    }
    this.external.set(name, value)
    const entries = { location: name, offset: '0', length: `${data.byteLength}` }
    const externalData = Object.entries(entries).map(([key, v]) => ({ key, value: v }))
    const dataLocation = onnx.TensorProto.DataLocation.EXTERNAL
    this.initializers.push({ name, dataType: ONNX_TYPES[dtype], dims: [...shape], dataLocation, externalData })
  }

  finish(outputs: readonly (readonly [name: string, value: string, tensor: Tensor])[]): LoweredGraph {
    const weights = { get: (name: string) => this.weightValues.get(name), add: this.addWeight.bind(this) }
    this.nodes = fuse(this.nodes, weights, this.residuals)
    const produced = new Set(this.nodes.flatMap((node) => node.output))
    const renamed = new Map<string, string>()
    const named = outputs.map(([name, value, tensor]) => [this.renamed.get(name) ?? name, value, tensor] as const)
    for (const [name, value] of named) {
      // A value that is an input, a constant or two outputs at once needs a node of its own to carry the name.
      if (!produced.has(value) || renamed.has(value)) {
        this.nodes.push({ opType: 'Identity', domain: '', input: [value], output: [name], attribute: [] })
      } else renamed.set(value, name)
    }
    const rename = (name: string): string => renamed.get(name) ?? name
    const used = new Set(this.nodes.flatMap((node) => node.input))
    for (const node of this.nodes) {
      if (FIXED_OUTPUTS.has(node.opType)) continue
      const last = node.output.findLastIndex((name) => used.has(name) || renamed.has(name) || this.taken.has(name))
      node.output = node.output.slice(0, Math.max(last, 0) + 1)
    }
    const initializer = this.initializers.filter(({ name }) => used.has(name))
    const externals = new Map([...this.external].filter(([name]) => used.has(name)))
    const model = onnx.ModelProto.encode({
      irVersion: IR_VERSION,
      producerName: 'jackdaw',
      opsetImport: OPSETS.filter(({ domain }) => domain === '' || this.nodes.some((node) => node.domain === domain)),
      graph: {
        name: 'jackdaw',
        node: this.nodes.map((node) => ({ ...node, input: node.input.map(rename), output: node.output.map(rename) })),
        initializer,
        input: this.graph.inputs.map((leaf) => valueInfo(inputName(leaf), leaf.shape, leaf.dtype)),
        output: named.map(([name, , tensor]) => valueInfo(name, tensor.shape, tensor.dtype)),
      },
    } as onnxProto.onnx.IModelProto).finish()
    return { model, initializers: externals, renamed: this.renamed }
  }
}

function encodeAttribute(name: string, value: AttributeValue): Attribute {
  if (typeof value === 'number') return { name, i: value, type: 2 }
  if (typeof value === 'string') return { name, s: new TextEncoder().encode(value), type: 3 }
  if (Array.isArray(value)) return { name, ints: [...value], type: 7 }
  if ('float' in value) return { name, f: value.float, type: 1 }
  return { name, floats: [...(value as { floats: readonly number[] }).floats], type: 6 }
}

function valueInfo(name: string, shape: Shape, dtype: DType): object {
  const dim = shape.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: `${size}` }))
  return { name, type: { tensorType: { elemType: ONNX_TYPES[dtype], shape: { dim } } } }
}
