import { encodePng } from '../../src/image/png.ts'

const bytes = (...parts: (string | number[])[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))))

/** The first bytes of pictures of 300 by 2 pixels, of every kind that is taken. */
export const samples = {
  png: encodePng({ width: 300, height: 2, channels: 1, data: new Uint8Array(600) }),
  gif: bytes('GIF89a', [0x2c, 1, 2, 0]),
  lossy: bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8 ', [0, 0, 0, 0, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x2c, 1, 2, 0]),
  lossless: bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8L', [0, 0, 0, 0, 0x2f, 0x2b, 0x41, 0, 0]),
  extended: bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8X', [10, 0, 0, 0, 0, 0, 0, 0, 0x2b, 1, 0, 1, 0, 0]),
  jpeg: bytes([0xff, 0xd8], [0xff, 0xe0, 0, 4, 9, 9], [0xff, 0xff, 0xc2, 0, 8, 8, 0, 2, 1, 0x2c, 3]),
}
