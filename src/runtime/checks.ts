/** What every backend says about wrong arguments, and how it words ONNX Runtime's own errors. */

import { bytesPerElement, sizeOf, type TensorData } from '../tensor/data.ts'

/** @throws Error where an input of the graph is missing, or a feed is none of its inputs. */
export function checkFeeds(feeds: Readonly<Record<string, unknown>>, inputNames: readonly string[]): void {
  for (const name of inputNames) {
    if (!feeds[name]) throw new Error(`run: input '${name}' is missing; the graph takes ${inputNames.join(', ')}`)
  }
  checkNames('input', Object.keys(feeds), inputNames)
}

/** @throws Error where a name is not among the known ones. */
export function checkNames(kind: 'input' | 'output', names: readonly string[], known: readonly string[]): void {
  for (const name of names) {
    if (!known.includes(name)) throw new Error(`run: there is no ${kind} '${name}'; there is ${known.join(', ')}`)
  }
}

/** @throws Error where the array does not fit the tensor's shape or dtype. */
export function checkTensor(name: string, { dtype, shape, data }: TensorData): void {
  if (data.length !== sizeOf(shape)) {
    throw new Error(`'${name}': shape [${shape}] needs ${sizeOf(shape)} elements, the array has ${data.length}`)
  }
  if (data.BYTES_PER_ELEMENT !== bytesPerElement(dtype)) {
    throw new Error(`'${name}': dtype ${dtype} cannot lie in a ${data.constructor.name}`)
  }
}

/** What is left of ORT's message when its own source paths, status codes and line breaks are gone: one sentence. */
export function plainMessage(message: string): string {
  const run = /^Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: (.*)$/s.exec(
    message,
  )
  const text = (run ? `${run[1]} node '${run[2]}': ${run[3]}` : message)
    .replace(
      /(?:\/|[A-Za-z]:\\)\S*\.(?:cc|h|cpp):\d+ (?:.*? (?:was false|failed)\. |[^()]*\([^)]*\) (?:const )?)?/gs,
      '',
    )
    .replace(/\s+/g, ' ')
    .trim()
  return text || 'ONNX Runtime failed without a message'
}
