import { crc32, deflateSync } from 'node:zlib'
import type { TensorData } from '../tensor/data.ts'

/** PNG files of plain pixels: what a run shows of what it draws. */

export interface Pixels {
  readonly width: number
  readonly height: number
  /** Grey, or red, green and blue. */
  readonly channels: 1 | 3
  /** [height, width, channels] */
  readonly data: Uint8Array
}

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
const COLOUR_TYPE = { 1: 0, 3: 2 } as const

/** The bytes of a PNG file, eight bits a channel (ISO/IEC 15948). */
export function encodePng({ width, height, channels, data }: Pixels): Uint8Array {
  const header = new DataView(new ArrayBuffer(13))
  header.setUint32(0, width)
  header.setUint32(4, height)
  header.setUint8(8, 8)
  header.setUint8(9, COLOUR_TYPE[channels])
  // Every row begins with the filter it is stored under: 0, as it is.
  const stride = width * channels
  const rows = new Uint8Array(height * (stride + 1))
  for (let y = 0; y < height; y++) rows.set(data.subarray(y * stride, (y + 1) * stride), y * (stride + 1) + 1)
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', new Uint8Array(header.buffer)),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', new Uint8Array(0)),
  ])
}

/** Length, name, content, check sum. */
function chunk(name: string, content: Uint8Array): Uint8Array {
  const named = Buffer.concat([Buffer.from(name, 'latin1'), content])
  const bytes = Buffer.alloc(named.length + 8)
  bytes.writeUInt32BE(content.length, 0)
  bytes.set(named, 4)
  bytes.writeUInt32BE(crc32(named), named.length + 4)
  return bytes
}

/** Between pictures, in pixels. */
const GAP = 2

/**
 * Pictures side by side on white.
 *
 * @param pictures - [count, channels, height, width], −1 for black to 1 for white, one channel or three
 */
export function pictureGrid({ shape, data }: TensorData, { columns }: { columns?: number } = {}): Pixels {
  const [count, channels, height, width] = shape
  if (shape.length !== 4 || count < 1 || (channels !== 1 && channels !== 3)) {
    throw new RangeError(`pictures must be [count, 1 or 3, height, width], got [${shape.join(', ')}]`)
  }
  const across = Math.min(columns ?? Math.ceil(Math.sqrt(count)), count)
  const total = {
    width: across * (width + GAP) + GAP,
    height: Math.ceil(count / across) * (height + GAP) + GAP,
  }
  const pixels = new Uint8Array(total.width * total.height * channels).fill(255)
  for (let i = 0; i < count * channels * height * width; i++) {
    const x = i % width
    const y = Math.floor(i / width) % height
    const channel = Math.floor(i / (width * height)) % channels
    const picture = Math.floor(i / (width * height * channels))
    const left = GAP + (picture % across) * (width + GAP)
    const top = GAP + Math.floor(picture / across) * (height + GAP)
    const value = Math.round((Number(data[i]) + 1) * 127.5)
    pixels[((top + y) * total.width + left + x) * channels + channel] = Math.min(255, Math.max(0, value))
  }
  return { ...total, channels, data: pixels }
}
