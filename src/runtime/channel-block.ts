import { symbol } from '../tensor/dim.ts'
import { apply, input, type Op } from '../tensor/graph.ts'
import { tensorData } from '../tensor/index.ts'
import type { Backend } from './backend.ts'
import { lower } from './lower.ts'

/** Puts channels in blocks, the last one filled up: the result tells how large they are. */
const reorderOp: Op<null> = {
  name: 'reorder',
  infer: ([x]) => [{ shape: [1, symbol('channels'), 1, 1], dtype: x.dtype }],
  lower: (e, inputs) => [e.one('ReorderInput', [...inputs], {}, 'com.microsoft.nchwc')],
}

/** Fewer channels a block are no gain. ReorderInput takes no fewer than 4. */
const SMALLEST_BLOCK = 8

const known = new WeakMap<Backend, Promise<number>>()

/**
 * How many channels the backend's blocked convolution takes at a time: 16 with AVX-512, 8 with AVX2, 0 where there is
 * none, and ordinary convolutions are used.
 */
export function channelBlock(backend: Backend): Promise<number> {
  if (backend.provider !== 'cpu') return Promise.resolve(0)
  let block = known.get(backend)
  if (!block) {
    block = probe(backend)
    known.set(backend, block)
  }
  return block
}

async function probe(backend: Backend): Promise<number> {
  const x = input('x', [1, 4, 1, 1])
  const { model } = lower({ inputs: [x], outputs: { y: apply(reorderOp, [x], null) } })
  try {
    const session = await backend.createSession(model)
    const { y } = await session.run({ x: tensorData('float32', [1, 4, 1, 1]) })
    session.release()
    return y.shape[1] >= SMALLEST_BLOCK ? y.shape[1] : 0
  } catch {
    // A library built without these kernels refuses the graph.
    return 0
  }
}
