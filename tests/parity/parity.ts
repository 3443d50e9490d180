import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { forward, gradients } from '../../src/load/run.ts'
import '../../src/runtime/node.ts'
import type { TensorData } from '../../src/tensor/data.ts'

/**
 * Tensors below this size count by it: of a gradient that is zero but for rounding (a key's bias, which a softmax does
 * not see) there is nothing to compare.
 */
const SMALLEST = 1e-3

/** The largest difference of any element, relative to the largest absolute value of the reference tensor. */
export function relativeError(actual: TensorData | undefined, expected: TensorData): number {
  if (!actual || `${actual.shape}` !== `${expected.shape}`) return Number.POSITIVE_INFINITY
  let [difference, largest] = [0, 0]
  for (let i = 0; i < expected.data.length; i++) {
    const reference = Number(expected.data[i])
    difference = Math.max(difference, Math.abs(Number(actual.data[i]) - reference))
    largest = Math.max(largest, Math.abs(reference))
    if (Number.isNaN(Number(actual.data[i]))) return Number.POSITIVE_INFINITY
  }
  return difference / Math.max(largest, SMALLEST)
}

/** Fp32 sums in another order differ by this much, relative to the largest value of a tensor. */
export const PARITY_TOLERANCE = 1e-4

/** Tensors of a reference folder on which the model disagrees: its outputs, then its parameters' gradients. */
export async function disagreements(folder: string): Promise<string[]> {
  const checkpoint = openCheckpoint(folder)
  const inputs = readTensors(`${folder}/inputs.safetensors`)
  const found: string[] = []
  const compare = (kind: string, actual: Record<string, TensorData>, expected: Record<string, TensorData>): void => {
    for (const [name, reference] of Object.entries(expected)) {
      const error = relativeError(actual[name], reference)
      if (!(error <= PARITY_TOLERANCE)) found.push(`${kind} ${name}: ${error}`)
    }
  }
  compare('output', await forward(checkpoint, inputs), readTensors(`${folder}/outputs.safetensors`))
  compare('gradient', await gradients(checkpoint, inputs), readTensors(`${folder}/grads.safetensors`))
  checkpoint.close()
  return found
}
