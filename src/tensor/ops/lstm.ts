import { type Dim, sameShape, showShape } from '../dim.ts'
import { applyMany, type Op, type Tensor } from '../graph.ts'
import { sigmoid, tanh } from './elementwise.ts'
import { at } from './index.ts'
import { linear, matmul } from './matmul.ts'
import { concat, full, split, stack } from './shape.ts'

/** Long short-term memory (Hochreiter and Schmidhuber, 1997), with PyTorch's gates and parameter layout. */

export interface LstmWeights {
  /** [4 * hidden, input]: rows for the input, forget, cell and output gates. */
  readonly wIh: Tensor
  /** [4 * hidden, hidden] */
  readonly wHh: Tensor
  /** [4 * hidden] */
  readonly bIh: Tensor
  /** [4 * hidden] */
  readonly bHh: Tensor
}

export interface LstmOptions {
  /** Read the sequence from its end; the outputs still stand in the order of the inputs. Default false. */
  readonly reverse?: boolean
  /** [batch, hidden] each; zeros where left out. */
  readonly initial?: { readonly h: Tensor; readonly c: Tensor }
}

export interface LstmResult {
  /** [batch, seq, hidden] */
  readonly outputs: Tensor
  /** [batch, hidden]: after the last step. */
  readonly h: Tensor
  /** [batch, hidden] */
  readonly c: Tensor
}

/**
 * One layer in one direction. A static length is unrolled and can be differentiated; a length known only when the graph
 * runs becomes one operator, for inference.
 *
 * @param x - [batch, seq, input]
 */
export function lstm(x: Tensor, weights: LstmWeights, { reverse = false, initial }: LstmOptions = {}): LstmResult {
  const hidden = checkShapes(x, weights, initial)
  const zeros = (): Tensor => full([x.shape[0], hidden], 0)
  const h = initial?.h ?? zeros()
  const c = initial?.c ?? zeros()
  const seq = x.shape[1]
  return typeof seq === 'number' ? unrolled(x, weights, h, c, reverse, seq) : fused(x, weights, h, c, reverse, hidden)
}

function checkShapes(x: Tensor, weights: LstmWeights, initial: LstmOptions['initial']): number {
  const features = x.shape[2]
  const hidden = weights.wHh.shape[1]
  if (x.rank !== 3 || typeof hidden !== 'number') {
    throw new RangeError(
      `lstm: needs x [batch, seq, input] and wHh [4 * hidden, hidden], got ${showShape(x.shape)} and ${showShape(weights.wHh.shape)}`,
    )
  }
  const expected: [string, Tensor, readonly Dim[]][] = [
    ['wIh', weights.wIh, [4 * hidden, features]],
    ['wHh', weights.wHh, [4 * hidden, hidden]],
    ['bIh', weights.bIh, [4 * hidden]],
    ['bHh', weights.bHh, [4 * hidden]],
  ]
  if (initial) expected.push(['h', initial.h, [x.shape[0], hidden]], ['c', initial.c, [x.shape[0], hidden]])
  for (const [name, tensor, shape] of expected) {
    if (!sameShape(tensor.shape, shape)) {
      throw new RangeError(`lstm: ${name} must be ${showShape(shape)}, got ${showShape(tensor.shape)}`)
    }
  }
  return hidden
}

/** One product for the inputs of all steps, then a step at a time. */
function unrolled(
  x: Tensor,
  { wIh, wHh, bIh, bHh }: LstmWeights,
  h: Tensor,
  c: Tensor,
  reverse: boolean,
  seq: number,
): LstmResult {
  if (seq === 0) throw new RangeError('lstm: needs at least one step, got a sequence of length 0')
  const projected = linear(x, wIh, bIh.add(bHh)) // [batch, seq, 4 * hidden]
  const outputs = new Array<Tensor>(seq)
  for (let step = 0; step < seq; step++) {
    const position = reverse ? seq - 1 - step : step
    const gates = at(projected, 1, position).add(matmul(h, wHh, { transposeB: true }))
    const [i, f, g, o] = split(gates, 4, -1)
    c = sigmoid(f)
      .mul(c)
      .add(sigmoid(i).mul(tanh(g)))
    h = sigmoid(o).mul(tanh(c))
    outputs[position] = h
  }
  return { outputs: stack(outputs, 1), h, c }
}

const lstmOp: Op<{ hidden: number; reverse: boolean }> = {
  name: 'lstm',
  infer: ([x], { hidden }) => {
    const [seq, batch] = x.shape
    return [
      { shape: [seq, 1, batch, hidden], dtype: 'float32' },
      { shape: [1, batch, hidden], dtype: 'float32' },
      { shape: [1, batch, hidden], dtype: 'float32' },
    ]
  },
  lower: (e, [x, w, r, b, h, c], { attributes: { hidden, reverse } }) =>
    e.many(
      'LSTM',
      [x, w, r, b, '', h, c],
      { hidden_size: hidden, direction: reverse ? 'reverse' : 'forward' },
      { outputs: 3 },
    ),
  grad: () => {
    throw new Error('lstm: the gradient needs a static length, and this one is known only when the graph runs')
  },
}

/** ONNX's operator: time first, gates in the order input, output, forget, cell. */
function fused(
  x: Tensor,
  { wIh, wHh, bIh, bHh }: LstmWeights,
  h: Tensor,
  c: Tensor,
  reverse: boolean,
  hidden: number,
): LstmResult {
  const reorder = (gates: Tensor): Tensor => {
    const [i, f, g, o] = split(gates, 4, 0)
    return concat([i, o, f, g], 0)
  }
  const biases = concat([reorder(bIh), reorder(bHh)], 0)
  const [outputs, lastH, lastC] = applyMany(
    lstmOp,
    [x.transpose([1, 0, 2]), reorder(wIh), reorder(wHh), biases, h, c].map((tensor, i) =>
      i === 0 ? tensor : tensor.expandDims(0),
    ),
    { hidden, reverse },
  )
  return { outputs: outputs.squeeze(1).transpose([1, 0, 2]), h: lastH.squeeze(0), c: lastC.squeeze(0) }
}
