import { format } from 'node:util'
import onnxProto from 'onnx-proto'
import { linear } from '../../src/nn/layers.ts'
import { float32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import { lower } from '../../src/runtime/lower.ts'
import '../../src/runtime/node.ts'
import { grad, mean, relu, type Tensor, tensorData } from '../../src/tensor/index.ts'

/** The example of docs/architecture.md: its regions are shown there, and what they print. */
export async function workedExample(): Promise<Record<string, string>> {
  // #region trace
  const traced = trace(
    function squares(scope, { x }) {
      const hidden = relu(linear(scope.at('fc'), x, 2))
      return { loss: mean(hidden.mul(hidden)) }
    },
    { x: float32('batch', 3) },
  )
  // #endregion

  // #region grad
  const parameters = [...traced.parameters.values()].map(({ tensor }) => tensor) // fc.weight, fc.bias
  const [dWeight, dBias] = grad(traced.outputs.loss, parameters)
  // #endregion

  // #region lower
  const outputs = { ...traced.outputs, dWeight, dBias }
  const { model } = lower({ inputs: [traced.inputs.x, ...parameters], outputs })
  // #endregion

  // #region run
  const weights = new Map([
    ['fc.weight', tensorData('float32', [2, 3], [1, 0, 0, 0, 1, 0])],
    ['fc.bias', tensorData('float32', [2], [0, -5])],
  ])
  const run = await compile({ ...traced, outputs }, weights)
  const results = await run({ x: tensorData('float32', [1, 3], [1, 2, 3]) })
  for (const [name, { shape, data }] of Object.entries(results)) console.log(name, shape, data)
  // #endregion
  run.release()

  const forward = nodesBehind([traced.outputs.loss])
  return {
    trace: forward.join('\n'),
    grad: nodesBehind([dWeight, dBias])
      .filter((line) => !forward.includes(line))
      .join('\n'),
    lower: onnxNodes(model).join('\n'),
    run: Object.entries(results)
      .map(([name, { shape, data }]) => format(name, shape, data))
      .join('\n'),
  }
}

/** Every node that the tensors need, oldest first: `mul#5: float32 [batch, 2]  ← relu#4, relu#4`. */
function nodesBehind(tensors: readonly Tensor[]): string[] {
  const lines = new Map<number, string>()
  const name = ({ node }: Tensor): string => `${node.op.name}#${node.id}`
  const visit = (tensor: Tensor): void => {
    if (lines.has(tensor.node.id)) return
    const inputs = tensor.node.inputs.map(name).join(', ')
    lines.set(tensor.node.id, `${tensor}${inputs && `  ← ${inputs}`}`)
    for (const parent of tensor.node.inputs) visit(parent)
  }
  for (const tensor of tensors) visit(tensor)
  return [...lines].sort(([a], [b]) => a - b).map(([, line]) => line)
}

function onnxNodes(model: Uint8Array): string[] {
  const nodes = onnxProto.onnx.ModelProto.decode(model).graph?.node ?? []
  return nodes.map(({ output, opType, input }) => `${output?.join(', ')} = ${opType}(${input?.join(', ')})`)
}
