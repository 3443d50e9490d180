/**
 * A map from pairs of non-negative integers to an integer, in flat arrays (open addressing, linear probing): several
 * times faster and smaller than a `Map` of string keys for the merges of a BPE, the counts of its trainer and the
 * edges of a trie.
 */
export class PairTable {
  size = 0
  #mask: number
  #firsts: Int32Array
  #seconds: Int32Array
  #values: Int32Array

  constructor(expected = 16) {
    let capacity = 32
    while (capacity < expected * 2) capacity *= 2
    this.#mask = capacity - 1
    this.#firsts = new Int32Array(capacity).fill(-1)
    this.#seconds = new Int32Array(capacity)
    this.#values = new Int32Array(capacity)
  }

  /** The value of the pair, or -1. */
  get(first: number, second: number): number {
    const slot = this.#slot(first, second)
    return this.#firsts[slot] === -1 ? -1 : this.#values[slot]
  }

  set(first: number, second: number, value: number): void {
    const slot = this.#slot(first, second)
    if (this.#firsts[slot] === -1) {
      if (this.size * 2 > this.#mask) {
        this.#grow()
        this.set(first, second, value)
        return
      }
      this.#firsts[slot] = first
      this.#seconds[slot] = second
      this.size++
    }
    this.#values[slot] = value
  }

  #slot(first: number, second: number): number {
    let hash = Math.imul(first, 0x9e3779b1) ^ Math.imul(second + 0x7f4a7c15, 0x85ebca6b)
    hash ^= hash >>> 15
    hash = Math.imul(hash, 0x2c1b3c6d)
    let slot = (hash ^ (hash >>> 13)) & this.#mask
    while (this.#firsts[slot] !== -1 && (this.#firsts[slot] !== first || this.#seconds[slot] !== second)) {
      slot = (slot + 1) & this.#mask
    }
    return slot
  }

  #grow(): void {
    const larger = new PairTable(this.#mask + 1)
    for (let i = 0; i <= this.#mask; i++) {
      if (this.#firsts[i] !== -1) larger.set(this.#firsts[i], this.#seconds[i], this.#values[i])
    }
    this.#mask = larger.#mask
    this.#firsts = larger.#firsts
    this.#seconds = larger.#seconds
    this.#values = larger.#values
  }
}
