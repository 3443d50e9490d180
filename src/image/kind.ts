export interface ImageKind {
  mediaType: 'image/png' | 'image/jpeg' | 'image/gif' | 'image/webp'
  /** Pixels. */
  width: number
  height: number
}

/**
 * What kind of picture the bytes of a file are, and how large, by what they begin with: a name or a header may claim
 * anything. Formats that can hold a script (SVG) are none of them.
 *
 * @returns undefined where they are no whole header of a picture
 */
export function imageKind(bytes: Uint8Array): ImageKind | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const text = (at: number, length: number) => String.fromCharCode(...bytes.subarray(at, at + length))
  try {
    if (text(0, 8) === '\x89PNG\r\n\x1a\n' && text(12, 4) === 'IHDR') {
      return sized('image/png', view.getUint32(16), view.getUint32(20))
    }
    if (text(0, 6) === 'GIF87a' || text(0, 6) === 'GIF89a') {
      return sized('image/gif', view.getUint16(6, true), view.getUint16(8, true))
    }
    if (text(0, 4) === 'RIFF' && text(8, 4) === 'WEBP') return webp(view, text(12, 4))
    if (bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff) return jpeg(view)
  } catch (error) {
    // A header that ends too early is none.
    if (!(error instanceof RangeError)) throw error
  }
  return undefined
}

const sized = (mediaType: ImageKind['mediaType'], width: number, height: number): ImageKind | undefined =>
  width > 0 && height > 0 ? { mediaType, width, height } : undefined

function webp(view: DataView, chunk: string): ImageKind | undefined {
  // Canvas, lossless, lossy: each keeps the size in a way of its own (RFC 9649).
  if (chunk === 'VP8X') {
    const uint24 = (at: number) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16)
    return sized('image/webp', uint24(24) + 1, uint24(27) + 1)
  }
  if (chunk === 'VP8L') {
    const bits = view.getUint32(21, true)
    return sized('image/webp', (bits & 0x3fff) + 1, ((bits >>> 14) & 0x3fff) + 1)
  }
  if (chunk === 'VP8 ') return sized('image/webp', view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff)
  return undefined
}

/** The frame's header comes somewhere after other segments, each with its length. */
function jpeg(view: DataView): ImageKind | undefined {
  for (let at = 2; view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1)
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)
    if (isFrame) return sized('image/jpeg', view.getUint16(at + 7), view.getUint16(at + 5))
    // Fill bytes may stand before a marker.
    if (marker === 0xff) at++
    else {
      const length = view.getUint16(at + 2)
      if (length < 2) return undefined
      at += 2 + length
    }
  }
  return undefined
}
