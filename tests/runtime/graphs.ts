/** Small ONNX graphs, written out by hand. */

import onnxProto from 'onnx-proto'
import { ELEMENT_TYPE } from '../../src/runtime/ort-api.ts'
import { type DType, type TensorData, tensorData } from '../../src/tensor/data.ts'

const { onnx } = onnxProto

export interface ValueSpec {
  name: string
  dtype?: DType
  /** Numbers, or names of dimensions known only at the run. */
  shape: readonly (number | string)[]
}

export interface NodeSpec {
  op: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes?: Readonly<Record<string, number | readonly number[] | { float: number }>>
  domain?: string
}

export interface GraphSpec {
  nodes: readonly NodeSpec[]
  inputs: readonly ValueSpec[]
  outputs: readonly ValueSpec[]
  /** Written into the model. */
  constants?: Readonly<Record<string, TensorData>>
  /** Declared with external data, to be given when the session is created. */
  external?: Readonly<Record<string, TensorData>>
}

const valueInfo = ({ name, dtype = 'float32', shape }: ValueSpec) => ({
  name,
  type: {
    tensorType: {
      elemType: ELEMENT_TYPE[dtype],
      shape: { dim: shape.map((dim) => (typeof dim === 'number' ? { dimValue: dim } : { dimParam: dim })) },
    },
  },
})

const attribute = ([name, value]: [string, number | readonly number[] | { float: number }]) => {
  if (typeof value === 'number') return { name, i: value, type: 2 }
  return 'float' in value ? { name, f: value.float, type: 1 } : { name, ints: [...value], type: 7 }
}

export function encodeGraph({ nodes, inputs, outputs, constants = {}, external = {} }: GraphSpec): Uint8Array {
  const inline = Object.entries(constants).map(([name, { dtype, shape, data }]) => ({
    name,
    dataType: ELEMENT_TYPE[dtype],
    dims: [...shape],
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }))
  const outside = Object.entries(external).map(([name, { dtype, shape, data }]) => ({
    name,
    dataType: ELEMENT_TYPE[dtype],
    dims: [...shape],
    dataLocation: 1,
    externalData: [
      { key: 'location', value: name },
      { key: 'offset', value: '0' },
      { key: 'length', value: String(data.byteLength) },
    ],
  }))
  return onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [
      { domain: '', version: 17 },
      { domain: 'com.microsoft', version: 1 },
    ],
    graph: {
      name: 'graph',
      node: nodes.map(({ op, attributes = {}, domain = '', ...node }) => ({
        opType: op,
        domain,
        input: [...node.inputs],
        output: [...node.outputs],
        attribute: Object.entries(attributes).map(attribute),
      })),
      initializer: [...inline, ...outside],
      input: inputs.map(valueInfo),
      output: outputs.map(valueInfo),
    },
  }).finish()
}

/** One step of w ← w − ½ mean-square gradient of w x, and the loss before it. */
export const trainingStep = encodeGraph({
  nodes: [
    { op: 'MatMul', inputs: ['w', 'x'], outputs: ['h'] },
    { op: 'Mul', inputs: ['h', 'rate'], outputs: ['g'] },
    { op: 'Sub', inputs: ['w', 'g'], outputs: ['next'] },
    { op: 'Mul', inputs: ['h', 'h'], outputs: ['squares'] },
    { op: 'ReduceMean', inputs: ['squares'], outputs: ['loss'] },
  ],
  inputs: [
    { name: 'w', shape: [4, 4] },
    { name: 'x', shape: [4, 4] },
  ],
  outputs: [
    { name: 'next', shape: [4, 4] },
    { name: 'loss', shape: [1, 1] },
  ],
  external: { rate: tensorData('float32', [1], [0.5]) },
})
