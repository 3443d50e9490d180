import fc from 'fast-check'
import { expect, it } from 'vitest'
import { imageKind } from '../../src/image/kind.ts'
import { encodePng } from '../../src/image/png.ts'

const bytes = (...parts: (string | number[])[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))))

const samples = {
  png: encodePng({ width: 300, height: 2, channels: 1, data: new Uint8Array(600) }),
  gif: bytes('GIF89a', [0x2c, 1, 2, 0]),
  lossy: bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8 ', [0, 0, 0, 0, 0, 0, 0, 0x9d, 0x01, 0x2a, 0x2c, 1, 2, 0]),
  lossless: bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8L', [0, 0, 0, 0, 0x2f, 0x2b, 0x41, 0, 0]),
  extended: bytes('RIFF', [0, 0, 0, 0], 'WEBPVP8X', [10, 0, 0, 0, 0, 0, 0, 0, 0x2b, 1, 0, 1, 0, 0]),
  jpeg: bytes([0xff, 0xd8], [0xff, 0xe0, 0, 4, 9, 9], [0xff, 0xff, 0xc2, 0, 8, 8, 0, 2, 1, 0x2c, 3]),
}

it('knows pictures and their sizes by their headers', () => {
  const types = { png: 'png', gif: 'gif', lossy: 'webp', lossless: 'webp', extended: 'webp', jpeg: 'jpeg' }
  for (const [name, type] of Object.entries(types)) {
    const found = imageKind(samples[name as keyof typeof samples])
    expect(found, name).toEqual({ mediaType: `image/${type}`, width: 300, height: 2 })
  }
})

it('takes nothing that holds scripts, whatever it is called', () => {
  for (const text of [
    '<svg xmlns="http://www.w3.org/2000/svg"/>',
    '<!doctype html><script>1</script>',
    '%PDF-1.7',
    '',
  ]) {
    expect(imageKind(Buffer.from(text))).toBeUndefined()
  }
})

it('never throws, whatever is cut or changed, and tells sizes above 0 only', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(samples)),
      fc.nat(40),
      fc.uint8Array({ maxLength: 12 }),
      (sample, at, put) => {
        const changed = Uint8Array.from(sample)
        changed.set(put.subarray(0, Math.max(0, sample.length - at)), Math.min(at, sample.length))
        for (const tried of [changed, sample.subarray(0, at), put]) {
          const kind = imageKind(tried)
          if (kind) expect(Math.min(kind.width, kind.height)).toBeGreaterThan(0)
        }
      },
    ),
  )
})
