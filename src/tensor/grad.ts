import { sameShape, showShape } from './dim.ts'
import { constantValue, type OpNode, scalar, type Tensor } from './graph.ts'
import { rerunOf } from './ops/custom.ts'
import { addGradients } from './ops/index.ts'
import { broadcastTo, zerosLike } from './ops/shape.ts'

/**
 * Reverse-mode differentiation of a recorded graph. The result is more graph, so it compiles with the rest and can be
 * differentiated again.
 *
 * @param output - a scalar, unless `seed` gives the gradient to start from
 * @param wrt - tensors to differentiate by: inputs, parameters or anything between
 * @returns d output / d wrt, each in the shape of its tensor; zeros where the output does not depend on it
 */
export function grad(output: Tensor, wrt: readonly Tensor[], seed?: Tensor): Tensor[] {
  if (!seed && output.rank !== 0) {
    throw new RangeError(`grad: the output must be a scalar, got ${showShape(output.shape)}; sum it, or give a seed`)
  }
  if (seed && (seed.dtype !== 'float32' || !sameShape(seed.shape, output.shape))) {
    throw new RangeError(
      `grad: the seed must be float32 ${showShape(output.shape)} like the output, got ${seed.dtype} ${showShape(seed.shape)}`,
    )
  }
  if (wrt.some(constantValue)) throw new RangeError('grad: a constant has no gradient; make it an input')
  const reaches = reachability(wrt)
  const targets = new Set(wrt)
  const pending = new Map<OpNode, (Tensor | undefined)[]>()
  const results = new Map<Tensor, Tensor>()
  const queue = new DescendingQueue()

  const accumulate = (tensor: Tensor, gradient: Tensor): void => {
    if (!reaches(tensor.node) && !targets.has(tensor)) return
    let slots = pending.get(tensor.node)
    if (!slots) {
      slots = new Array<Tensor | undefined>(tensor.node.outputs.length).fill(undefined)
      pending.set(tensor.node, slots)
      queue.push(tensor.node)
    }
    const before = slots[tensor.index]
    slots[tensor.index] = before ? addGradients(before, gradient) : gradient
  }

  accumulate(output, seed ?? scalar(1))
  for (let node = queue.pop(); node; node = queue.pop()) {
    const outputGrads = pending.get(node) as (Tensor | undefined)[]
    pending.delete(node)
    for (const tensor of node.outputs) {
      const gradient = outputGrads[tensor.index]
      if (gradient && targets.has(tensor)) results.set(tensor, gradient)
    }
    if (!reaches(node)) continue
    const first = outputGrads.find((gradient) => gradient !== undefined)
    const again = first && rerunOf(node, first)
    if (again) {
      // The new nodes are younger than everything pending, so they are walked next, back to the block's inputs.
      again.forEach((tensor, i) => {
        const gradient = outputGrads[i]
        if (gradient) accumulate(tensor, gradient)
      })
      continue
    }
    const inputGrads = node.op.grad?.(node, outputGrads) ?? []
    node.inputs.forEach((tensor, i) => {
      const gradient = inputGrads[i]
      if (gradient) accumulate(tensor, gradient)
    })
  }
  return wrt.map((tensor) => {
    const gradient = results.get(tensor)
    return gradient ? broadcastTo(gradient, tensor.shape) : zerosLike(tensor)
  })
}

/** Whether something to differentiate by lies at or above a node's inputs. */
function reachability(wrt: readonly Tensor[]): (node: OpNode) => boolean {
  const targets = new Set(wrt.map((tensor) => tensor.node))
  const known = new Map<OpNode, boolean>()
  const oldest = Math.min(...wrt.map((tensor) => tensor.node.id))
  return (root) => {
    const stack = [root]
    while (stack.length > 0) {
      const node = stack[stack.length - 1]
      if (known.has(node)) {
        stack.pop()
        continue
      }
      if (node.id <= oldest) {
        known.set(node, false)
        continue
      }
      const parents = node.inputs.map((tensor) => tensor.node)
      if (parents.some((parent) => targets.has(parent) || known.get(parent) === true)) {
        known.set(node, true)
        continue
      }
      const unknown = parents.filter((parent) => !known.has(parent))
      if (unknown.length === 0) known.set(node, false)
      else stack.push(...unknown)
    }
    return known.get(root) as boolean
  }
}

/** Nodes by descending id, each once: a binary heap. */
class DescendingQueue {
  private readonly heap: OpNode[] = []

  push(node: OpNode): void {
    const { heap } = this
    heap.push(node)
    for (let i = heap.length - 1; i > 0; ) {
      const parent = (i - 1) >> 1
      if (heap[parent].id >= heap[i].id) break
      ;[heap[parent], heap[i]] = [heap[i], heap[parent]]
      i = parent
    }
  }

  pop(): OpNode | undefined {
    const { heap } = this
    const top = heap[0]
    const last = heap.pop()
    if (heap.length > 0 && last) {
      heap[0] = last
      for (let i = 0; ; ) {
        const left = 2 * i + 1
        const larger = left + 1 < heap.length && heap[left + 1].id > heap[left].id ? left + 1 : left
        if (larger >= heap.length || heap[larger].id <= heap[i].id) break
        ;[heap[larger], heap[i]] = [heap[i], heap[larger]]
        i = larger
      }
    }
    return top
  }
}
