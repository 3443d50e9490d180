import type { TensorData } from '../tensor/data.ts'

/**
 * Rewrites of emitted ONNX nodes that ONNX Runtime does not make by itself and that decoding one token at a time feels:
 * each node costs a thread hand-over, and there are hundreds. All of them leave the numbers as they are.
 */

/** An ONNX attribute, as protobuf keeps it. */
export interface Attribute {
  readonly name: string
  readonly type: number
  readonly i?: number
  readonly f?: number
  readonly s?: Uint8Array
  readonly ints?: number[]
  readonly floats?: number[]
}

export interface EmittedNode {
  readonly opType: string
  readonly domain: string
  input: string[]
  output: string[]
  readonly attribute: Attribute[]
}

/** The initializers that a rewrite may read and add to. */
export interface Initializers {
  get(name: string): TensorData | undefined
  add(name: string, value: TensorData): void
}

/**
 * @param residuals - outputs of `Add` whose operands have one shape, of two or three dimensions
 */
export function fuse(
  nodes: readonly EmittedNode[],
  initializers: Initializers,
  residuals: ReadonlySet<string>,
): EmittedNode[] {
  return fuseSkipNormalization(packQueryKeyValue(mergeProducts(nodes, initializers)), residuals)
}

const attribute = (node: EmittedNode, name: string): number => node.attribute.find((a) => a.name === name)?.i ?? 0

/** How often each value is read. */
function readers(nodes: readonly EmittedNode[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const { input } of nodes) for (const name of input) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

/** The initializers that a quantised product reads: values, scales and, where it has them, zero points. */
function blocksOf(node: EmittedNode, initializers: Initializers): TensorData[] | undefined {
  const parts = node.input.slice(1).map((name) => initializers.get(name))
  return parts.every((part) => part !== undefined) ? parts : undefined
}

/** Quantised products of one input become one product with the weights stacked, cut apart afterwards. */
function mergeProducts(nodes: readonly EmittedNode[], initializers: Initializers): EmittedNode[] {
  const groups = new Map<string, { node: EmittedNode; parts: TensorData[] }[]>()
  for (const node of nodes) {
    const parts = node.opType === 'MatMulNBits' ? blocksOf(node, initializers) : undefined
    if (!parts) continue
    const key = [
      node.input[0],
      parts.length,
      ...['K', 'bits', 'block_size'].map((name) => attribute(node, name)),
    ].join()
    groups.set(key, [...(groups.get(key) ?? []), { node, parts }])
  }
  const replacements = new Map<EmittedNode, EmittedNode[]>()
  for (const group of groups.values()) {
    if (group.length < 2) continue
    const [{ node: first, parts: firstParts }] = group
    const sizes = group.map(({ node }) => attribute(node, 'N'))
    const rows = sizes.reduce((a, b) => a + b, 0)
    const name = group.map(({ node }) => node.input[1]).join('+')
    const names = firstParts.map(({ dtype, shape }, i) => {
      const part = i === 0 ? name : `${name}.${i}`
      const data = joined(group.map(({ parts }) => parts[i].data as Uint8Array | Float32Array))
      const rest = shape.slice(1)
      initializers.add(part, { dtype, shape: rest.length === 0 ? [data.length] : [rows, ...rest], data })
      return part
    })
    initializers.add(`${name}.sizes`, {
      dtype: 'int64',
      shape: [sizes.length],
      data: BigInt64Array.from(sizes, BigInt),
    })
    const whole = `${first.output[0]}.merged`
    const product: EmittedNode = {
      ...first,
      input: [first.input[0], ...names],
      output: [whole],
      attribute: first.attribute.map((a) => (a.name === 'N' ? { ...a, i: rows } : a)),
    }
    const cut: EmittedNode = {
      opType: 'Split',
      domain: '',
      input: [whole, `${name}.sizes`],
      output: group.map(({ node }) => node.output[0]),
      attribute: [{ name: 'axis', i: -1, type: 2 }],
    }
    replacements.set(first, [product, cut])
    for (const { node } of group.slice(1)) replacements.set(node, [])
  }
  return nodes.flatMap((node) => replacements.get(node) ?? [node])
}

function joined<A extends Uint8Array | Float32Array>(parts: readonly A[]): A {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const { buffer, byteOffset } = parts[0]
  const Whole = parts[0].constructor as new (source: ArrayBufferLike | number, at?: number, length?: number) => A
  const isNeighbour = (part: A, i: number): boolean =>
    i === 0 || (part.buffer === buffer && part.byteOffset === parts[i - 1].byteOffset + parts[i - 1].byteLength)
  if (parts.every(isNeighbour)) return new Whole(buffer, byteOffset, length)
  const whole = new Whole(length)
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.length
  }
  return whole
}

/** Attention takes query, key and value in one piece where they were one product: the cut between is left out. */
function packQueryKeyValue(nodes: readonly EmittedNode[]): EmittedNode[] {
  const uses = readers(nodes)
  const cuts = new Map(
    nodes.flatMap((node) => (node.opType === 'Split' && node.output.length === 3 ? [[node.output.join(), node]] : [])),
  )
  const dropped = new Set<EmittedNode>()
  const packed = nodes.map((node) => {
    if (node.opType !== 'GroupQueryAttention') return node
    const cut = cuts.get(node.input.slice(0, 3).join())
    if (!cut || cut.output.some((name) => uses.get(name) !== 1)) return node
    dropped.add(cut)
    return { ...node, input: [cut.input[0], '', '', ...node.input.slice(3)] }
  })
  return packed.filter((node) => !dropped.has(node))
}

/** A residual sum and the root-mean-square normalisation behind it become one pass over memory. */
function fuseSkipNormalization(nodes: readonly EmittedNode[], residuals: ReadonlySet<string>): EmittedNode[] {
  const uses = readers(nodes)
  const produced = new Set(nodes.flatMap(({ output }) => output))
  const sums = new Map(nodes.flatMap((node) => (node.opType === 'Add' ? [[node.output[0], node] as const] : [])))
  const replacements = new Map<EmittedNode, EmittedNode[]>()
  for (const node of nodes) {
    if (node.opType !== 'SimplifiedLayerNormalization') continue
    const [x, weight] = node.input
    const sum = residuals.has(x) ? sums.get(x) : undefined
    if (!sum || replacements.has(sum) || produced.has(weight) || node.output.slice(1).some((name) => uses.has(name)))
      continue
    replacements.set(sum, [
      {
        opType: 'SkipSimplifiedLayerNormalization',
        domain: 'com.microsoft',
        input: [...sum.input, weight],
        output: [node.output[0], '', '', x],
        attribute: node.attribute.filter(({ name }) => name === 'epsilon'),
      },
    ])
    replacements.set(node, [])
  }
  return nodes.flatMap((node) => replacements.get(node) ?? [node])
}
