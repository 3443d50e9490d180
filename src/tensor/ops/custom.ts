import { apply, applyMany, type Op, type OpNode, type Tensor } from '../graph.ts'

/** Nodes that compute nothing and change how gradients flow. */

interface CustomAttributes {
  readonly vjp: (dy: Tensor) => (Tensor | undefined)[]
}

const customOp: Op<CustomAttributes> = {
  name: 'customGradient',
  infer: ([y]) => [{ shape: y.shape, dtype: y.dtype }],
  lower: (_e, [y]) => [y],
  grad: ({ attributes }, [dy]) => (dy ? [undefined, ...attributes.vjp(dy)] : []),
}

/**
 * `y` with a gradient of one's own: `vjp` answers with the gradients of `inputs`, in place of what differentiating the
 * ops between would give. For derivatives that are cheaper, or safer, than the textbook's.
 */
export const customGradient = (
  y: Tensor,
  inputs: readonly Tensor[],
  vjp: (dy: Tensor) => (Tensor | undefined)[],
): Tensor => apply(customOp as Op<CustomAttributes>, [y, ...inputs], { vjp })

/** The value, with no gradient through it. */
export const stopGradient = (x: Tensor): Tensor => customGradient(x, [], () => [])

interface RecomputeAttributes {
  readonly rerun: (inputs: readonly Tensor[]) => readonly Tensor[]
  readonly outputs: number
}

const recomputeOp: Op<RecomputeAttributes> = {
  name: 'recompute',
  infer: (tensors, { outputs }) => tensors.slice(0, outputs).map(({ shape, dtype }) => ({ shape, dtype })),
  lower: (_e, names, { attributes }) => names.slice(0, attributes.outputs),
}

/**
 * Gradient checkpointing (Chen et al., 2016, arXiv 1604.06174): the block's activations are not kept for the backward
 * pass but computed again there, from its inputs.
 */
export function recompute(block: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  const outputs = [block(...inputs)]
  return applyMany(recomputeOp, [...outputs, ...inputs], { rerun: (again) => [block(...again)], outputs: 1 })[0]
}

/**
 * The outputs of a recomputed block computed once more, where `node` is one. The inputs are made to depend on the
 * incoming gradient: otherwise ONNX Runtime would merge the second computation with the first and keep everything.
 */
export function rerunOf(node: OpNode, dy: Tensor): readonly Tensor[] | undefined {
  if (node.op !== (recomputeOp as Op<unknown>)) return undefined
  const { rerun, outputs } = node.attributes as RecomputeAttributes
  return rerun(node.inputs.slice(outputs).map((x) => (x.dtype === 'float32' ? apply(tieOp, [x, dy], null) : x)))
}

const tieOp: Op<null> = {
  name: 'tie',
  infer: ([x]) => [{ shape: x.shape, dtype: x.dtype }],
  lower: (e, [x, token]) => {
    const first = e.one('Gather', [e.one('Reshape', [token, e.ints([-1])]), e.ints([0])], { axis: 0 })
    return [e.one('Add', [x, e.one('Mul', [first, e.float(0)])])]
  },
  grad: (_node, [dy]) => [dy, undefined],
}
