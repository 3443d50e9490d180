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
