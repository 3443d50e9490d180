/** Fills arrays with random numbers. */
export interface RandomFill {
  /** Standard normal. */
  normal(values: Float32Array): void
  /** In [0, 1). */
  uniform(values: Float32Array): void
}

/** Gives a parameter its first values. */
export type Initializer = (values: Float32Array, shape: readonly number[], random: RandomFill) => void

export const constantInit =
  (value: number): Initializer =>
  (values) => {
    values.fill(value)
  }

export const zeros = constantInit(0)
export const ones = constantInit(1)

export const normal =
  (std: number, mean = 0): Initializer =>
  (values, _shape, random) => {
    random.normal(values)
    for (let i = 0; i < values.length; i++) values[i] = mean + std * values[i]
  }

/** Evenly from [−bound, bound). */
export const uniform =
  (bound: number): Initializer =>
  (values, _shape, random) => {
    random.uniform(values)
    for (let i = 0; i < values.length; i++) values[i] = bound * (2 * values[i] - 1)
  }

/** N(0, 2 / fanOut) for a convolution [out, in, height, width] (He et al., 2015, arXiv 1502.01852). */
export const kaimingFanOut: Initializer = (values, shape, random) => {
  const fanOut = shape[0] * shape.slice(2).reduce((a, b) => a * b, 1)
  normal(Math.sqrt(2 / fanOut))(values, shape, random)
}

/** N(0, 1 / fanIn), for weights [out, in]. */
export const fanInNormal: Initializer = (values, shape, random) =>
  normal(1 / Math.sqrt(shape[1]))(values, shape, random)

/** U(−1/√fanIn, 1/√fanIn): what PyTorch gives linear layers and convolutions, [out, in, ...]. */
export const fanInUniform: Initializer = (values, shape, random) => {
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1)
  uniform(1 / Math.sqrt(fanIn))(values, shape, random)
}

/** Uniform with variance 1 / mean(fanIn, fanOut) (Glorot and Bengio, 2010), for weights [out, in, ...]. */
export const fanAverageUniform: Initializer = (values, shape, random) => {
  const space = shape.slice(2).reduce((a, b) => a * b, 1)
  uniform(Math.sqrt(6 / ((shape[0] + shape[1]) * space)))(values, shape, random)
}

/**
 * Rows or columns at right angles to each other, whichever are fewer, each of length `gain` (Saxe et al., 2013, arXiv
 * 1312.6120), for weights [out, in]: normal numbers, orthogonalised one after the other (Gram and Schmidt).
 */
export const orthogonal =
  (gain = 1): Initializer =>
  (values, shape, random) => {
    random.normal(values)
    const [rows, columns] = shape
    const [count, length] = rows <= columns ? [rows, columns] : [columns, rows]
    // Where each vector's elements lie.
    const [start, stride] = rows <= columns ? [columns, 1] : [1, columns]
    const vectors = Array.from({ length: count }, (_, i) =>
      Float64Array.from({ length }, (_, j) => values[i * start + j * stride]),
    )
    vectors.forEach((vector, i) => {
      // Twice, for what rounding leaves.
      for (const earlier of [...vectors.slice(0, i), ...vectors.slice(0, i)]) {
        const along = vector.reduce((sum, x, j) => sum + x * earlier[j], 0)
        for (let j = 0; j < length; j++) vector[j] -= along * earlier[j]
      }
      const norm = Math.hypot(...vector)
      for (let j = 0; j < length; j++) vector[j] /= norm
      for (let j = 0; j < length; j++) values[i * start + j * stride] = gain * vector[j]
    })
  }
