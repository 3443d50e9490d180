/** As Python, NumPy and TensorFlow round: halves to the even neighbour. `Math.round` takes them up. */
export function roundHalfToEven(x: number): number {
  const below = Math.floor(x)
  if (x - below !== 0.5) return Math.round(x)
  return below % 2 === 0 ? below : below + 1
}
