/** Damage to files and requests, from one seed: the same seed and number give the same case. */

export class Dice {
  private state: number

  constructor(seed: number, index: number) {
    this.state = (Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35)) >>> 0
    for (let i = 0; i < 4; i++) this.bits()
  }

  /** Mulberry32. */
  private bits(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }

  /** 0 to n − 1. */
  below(n: number): number {
    return Math.floor((this.bits() / 2 ** 32) * n)
  }

  oneOf<T>(items: readonly T[]): T {
    return items[this.below(items.length)]
  }

  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0
  }
}

const BYTES = [0, 1, 2, 0x0a, 0x22, 0x2c, 0x2d, 0x39, 0x5b, 0x5c, 0x5d, 0x7b, 0x7d, 0x7f, 0x80, 0xff]
const WORDS = [
  '0',
  '-1',
  '1e9',
  '1e309',
  '4294967296',
  '9007199254740993',
  'null',
  'true',
  '""',
  '[]',
  '{}',
  '"\\ud800"',
]

/** One to four changes: bytes set, put in, taken out, doubled, cut off; numbers written over; a part of another file. */
export function mutateBytes(dice: Dice, original: Uint8Array, other: Uint8Array): Buffer {
  let bytes = Buffer.from(original)
  // Headers lie at the beginning, and there are the lengths.
  const place = () => dice.below(dice.chance(3) ? bytes.length + 1 : Math.min(bytes.length, 2048) + 1)
  for (let left = 1 + dice.below(4); left > 0; left--) {
    const at = place()
    const replace = (count: number, ...middle: Uint8Array[]) => {
      bytes = Buffer.concat([bytes.subarray(0, at), ...middle, bytes.subarray(Math.min(bytes.length, at + count))])
    }
    switch (dice.below(8)) {
      case 0:
        if (at < bytes.length) bytes[at] ^= 1 << dice.below(8)
        break
      case 1:
        if (at < bytes.length) bytes[at] = dice.chance(2) ? dice.below(256) : dice.oneOf(BYTES)
        break
      case 2:
        replace(0, Buffer.from(Array.from({ length: 1 + dice.below(20) }, () => dice.below(256))))
        break
      case 3:
        replace(1 + dice.below(60))
        break
      case 4:
        replace(0, bytes.subarray(at, at + 1 + dice.below(200)))
        break
      case 5:
        if (dice.chance(4)) bytes = bytes.subarray(0, at)
        else replace(0, Buffer.from(dice.oneOf(WORDS)))
        break
      case 6: {
        const width = dice.oneOf([4, 8])
        if (at + width > bytes.length) break
        const value = dice.oneOf([
          0n,
          1n,
          0x7fffffffn,
          0x80000000n,
          0xffffffffn,
          2n ** 32n,
          2n ** 53n,
          2n ** 63n,
          2n ** 64n - 1n,
        ])
        if (width === 8) bytes.writeBigUInt64LE(value, at)
        else bytes.writeUInt32LE(Number(value & 0xffffffffn), at)
        break
      }
      default: {
        const from = dice.below(other.length + 1)
        replace(dice.below(100), other.subarray(from, from + dice.below(300)))
      }
    }
  }
  return bytes
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

const NUMBERS = [0, -1, 1, 2, 0.5, 1e9, 2 ** 24, 2 ** 31, 2 ** 32, 2 ** 53, 1e300, -1e300, 5e-324]
const TEXTS = [
  '',
  ' ',
  'a',
  '\ud800',
  '\u0000',
  '__proto__',
  'constructor',
  '▁',
  'é',
  '日本',
  '(a|aa)+$',
  '(?!',
  '[',
  '{{',
  '%}',
  '\\s+$',
  '.*.*.*x',
]

function anything(dice: Dice): Json {
  switch (dice.below(8)) {
    case 0:
      return null
    case 1:
      return dice.chance(2)
    case 2:
    case 3:
      return dice.oneOf(NUMBERS)
    case 4:
      return dice.oneOf(TEXTS)
    case 5:
      return dice.oneOf(['a', 'ab', '\n', '😀', '<0x0A>']).repeat(10 ** dice.below(5))
    case 6:
      return Array.from({ length: dice.oneOf([0, 1, 3, 2000]) }, () => dice.oneOf<Json>([0, 'a', null, [], {}]))
    default: {
      let deep: Json = 0
      for (let i = dice.oneOf([1, 5, 1000]); i > 0; i--) deep = dice.chance(2) ? [deep] : { type: 'Sequence', a: deep }
      return deep
    }
  }
}

/** One to four changes of a document: values put in others' place, taken out, doubled, moved, strings and numbers bent. */
export function mutateJson(dice: Dice, original: unknown): unknown {
  const root = { value: structuredClone(original) as Json }
  for (let left = 1 + dice.below(4); left > 0; left--) {
    const places: [Record<string, Json> | Json[], string][] = []
    const visit = (parent: Record<string, Json> | Json[], key: string, depth: number) => {
      // Of a thousand entries of a vocabulary as many are looked at as of what stands around it.
      if (places.length > 400 && !dice.chance(8)) return
      places.push([parent, key])
      const value = (parent as Record<string, Json>)[key]
      if (typeof value !== 'object' || value === null || depth > 12) return
      for (const inner of Object.keys(value)) visit(value as Record<string, Json>, inner, depth + 1)
    }
    visit(root, 'value', 0)
    const [parent, key] = dice.oneOf(places)
    const holder = parent as Record<string, Json>
    const value = holder[key]
    switch (dice.below(8)) {
      case 0:
        if (Array.isArray(parent)) parent.splice(Number(key), 1)
        else if (holder !== root) delete holder[key]
        break
      case 1: {
        const [from, name] = dice.oneOf(places)
        holder[key] = structuredClone((from as Record<string, Json>)[name]) ?? null
        break
      }
      case 2:
        if (Array.isArray(parent)) parent.splice(Number(key), 0, structuredClone(value))
        else holder[dice.oneOf(TEXTS)] = structuredClone(value) ?? null
        break
      case 3:
        if (typeof value === 'number') holder[key] = dice.oneOf([value + 1, value - 1, -value, value * 1000, value / 3])
        else if (typeof value === 'string') {
          const at = dice.below(value.length + 1)
          holder[key] = value.slice(0, at) + dice.oneOf(TEXTS) + value.slice(at + dice.below(3))
        } else holder[key] = anything(dice)
        break
      default:
        holder[key] = anything(dice)
    }
  }
  return root.value
}
