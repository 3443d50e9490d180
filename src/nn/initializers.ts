/** How a parameter gets its first values: `draw` gives standard normal numbers, one after the other. */
export type Initializer = (
  values: Float32Array,
  shape: readonly number[],
  draw: { normal(): number; uniform(): number },
) => void

export const constantInit =
  (value: number): Initializer =>
  (values) => {
    values.fill(value)
  }

export const zeros = constantInit(0)
export const ones = constantInit(1)

export const normal =
  (std: number, mean = 0): Initializer =>
  (values, _shape, { normal }) => {
    for (let i = 0; i < values.length; i++) values[i] = mean + std * normal()
  }

/** Evenly from [−bound, bound). */
export const uniform =
  (bound: number): Initializer =>
  (values, _shape, { uniform }) => {
    for (let i = 0; i < values.length; i++) values[i] = bound * (2 * uniform() - 1)
  }

/** N(0, 2 / fanOut) for a convolution [out, in, height, width] (He et al., 2015, arXiv 1502.01852). */
export const kaimingFanOut: Initializer = (values, shape, draw) => {
  const fanOut = shape[0] * shape.slice(2).reduce((a, b) => a * b, 1)
  normal(Math.sqrt(2 / fanOut))(values, shape, draw)
}

/** U(−1/√fanIn, 1/√fanIn): what PyTorch gives linear layers and convolutions, [out, in, ...]. */
export const fanInUniform: Initializer = (values, shape, draw) => {
  const fanIn = shape.slice(1).reduce((a, b) => a * b, 1)
  uniform(1 / Math.sqrt(fanIn))(values, shape, draw)
}
