import type { TensorData } from '../tensor/index.ts'

/**
 * The mean of several checkpoints of one run (Vaswani et al., 2017, arXiv 1706.03762, §6.1: the last five of the base
 * model, the last twenty of the big one).
 *
 * @throws RangeError where there is none, or they do not hold the same parameters
 */
export function averageWeights(checkpoints: Iterable<ReadonlyMap<string, TensorData>>): Map<string, TensorData> {
  const mean = new Map<string, { shape: readonly number[]; data: Float32Array<ArrayBuffer> }>()
  let count = 0
  for (const weights of checkpoints) {
    count++
    if (count > 1 && weights.size !== mean.size) throw new RangeError('averageWeights: the checkpoints differ')
    for (const [name, { shape, data }] of weights) {
      const so = mean.get(name)
      if (count === 1) mean.set(name, { shape, data: Float32Array.from(data as Float32Array) })
      else if (so?.data.length !== data.length)
        throw new RangeError(`averageWeights: the checkpoints differ in ${name}`)
      // A running mean: a sum of many would lose digits.
      else for (let i = 0; i < so.data.length; i++) so.data[i] += (Number(data[i]) - so.data[i]) / count
    }
  }
  if (count === 0) throw new RangeError('averageWeights: there are no checkpoints')
  return new Map([...mean].map(([name, { shape, data }]) => [name, { dtype: 'float32', shape, data }]))
}
