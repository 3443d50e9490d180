/**
 * The chance that one of k programs is right, without bias from n of which c are (Chen et al., 2021, arXiv 2107.03374,
 * §2.1): 1 − C(n − c, k) / C(n, k), as a product that does not overflow.
 *
 * @param n - programs that were tried
 * @param c - of them, how many are right
 */
export function passAtK(n: number, c: number, k: number): number {
  if (!(k >= 1 && n >= k && c >= 0 && c <= n)) {
    throw new RangeError(`pass@${k} needs ${k} programs or more and 0 to all of them right, got ${c} of ${n}`)
  }
  if (n - c < k) return 1
  let allWrong = 1
  for (let i = n - c + 1; i <= n; i++) allWrong *= 1 - k / i
  return 1 - allWrong
}
