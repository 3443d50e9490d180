import { crc32, inflateSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { encodePng, pictureGrid } from '../../src/image/png.ts'

/** Chunks of a PNG file by name, each check sum verified. */
function chunksOf(bytes: Uint8Array): Map<string, Buffer> {
  const file = Buffer.from(bytes)
  expect(file.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n')
  const chunks = new Map<string, Buffer>()
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at)
    const named = file.subarray(at + 4, at + 8 + length)
    expect(file.readUInt32BE(at + 8 + length)).toBe(crc32(named))
    chunks.set(named.subarray(0, 4).toString('latin1'), named.subarray(4))
    at += length + 12
  }
  return chunks
}

describe('a PNG file', () => {
  it.each([1, 3] as const)('holds its pixels row by row, %s channels', (channels) => {
    const [width, height] = [5, 3]
    const data = Uint8Array.from({ length: width * height * channels }, (_, i) => (i * 37) % 256)
    const chunks = chunksOf(encodePng({ width, height, channels, data }))
    expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND'])
    expect([...(chunks.get('IHDR') as Buffer)]).toEqual([0, 0, 0, 5, 0, 0, 0, 3, 8, channels === 1 ? 0 : 2, 0, 0, 0])
    const rows = inflateSync(chunks.get('IDAT') as Buffer)
    const stride = width * channels
    for (let y = 0; y < height; y++) {
      expect([...rows.subarray(y * (stride + 1), (y + 1) * (stride + 1))]).toEqual([
        0,
        ...data.subarray(y * stride, (y + 1) * stride),
      ])
    }
  })
})

describe('a grid of pictures', () => {
  it('puts them side by side on white, -1 black and 1 white', () => {
    const data = Float32Array.of(-1, 1, 0, 9, /* the second: */ -9, 0.5, -1, -1, /* the third: */ 0, 0, 0, 0)
    const grid = pictureGrid({ dtype: 'float32', shape: [3, 1, 2, 2], data }, { columns: 2 })
    const rows = Array.from({ length: grid.height }, (_, y) => [
      ...grid.data.subarray(y * grid.width, (y + 1) * grid.width),
    ])
    const w = 255
    expect(rows).toEqual([
      [w, w, w, w, w, w, w, w, w, w],
      [w, w, w, w, w, w, w, w, w, w],
      [w, w, 0, w, w, w, 0, 191, w, w],
      [w, w, 128, w, w, w, 0, 0, w, w],
      [w, w, w, w, w, w, w, w, w, w],
      [w, w, w, w, w, w, w, w, w, w],
      [w, w, 128, 128, w, w, w, w, w, w],
      [w, w, 128, 128, w, w, w, w, w, w],
      [w, w, w, w, w, w, w, w, w, w],
      [w, w, w, w, w, w, w, w, w, w],
    ])
  })

  it('keeps colours', () => {
    const data = Float32Array.of(-1, 1, 0) // one pixel: red −1, green 1, blue 0
    const { width, channels, data: pixels } = pictureGrid({ dtype: 'float32', shape: [1, 3, 1, 1], data })
    expect([...pixels.subarray((2 * width + 2) * channels, (2 * width + 3) * channels)]).toEqual([0, 255, 128])
  })

  it('refuses what is no stack of pictures', () => {
    const data = new Float32Array(8)
    expect(() => pictureGrid({ dtype: 'float32', shape: [1, 2, 2, 2], data })).toThrow(
      'pictures must be [count, 1 or 3, height, width], got [1, 2, 2, 2]',
    )
  })
})
