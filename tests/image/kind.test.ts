import fc from 'fast-check'
import { expect, it } from 'vitest'
import { imageKind } from '../../src/image/kind.ts'
import { samples } from './samples.ts'

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
