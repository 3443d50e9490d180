import type { TensorData } from '../tensor/index.ts'

/** Keys and values of one attention layer for one sequence: [nKvHeads, length, headDim], keys turned by their positions. */
export interface CacheLayer {
  readonly key: TensorData
  readonly value: TensorData
}

/** One layer's keys, or values, of all slots: [slots, heads, capacity, headDim]. */
interface Store {
  /** Of the graph's input. */
  readonly name: string
  readonly heads: number
  readonly headDim: number
  readonly data: Float32Array
}

/** Keys and values of several sequences, each in a slot of its own. Layers may differ in heads and in their width. */
export class CacheSlots {
  /** Keys of layer 0, values of layer 0, keys of layer 1, … */
  private readonly stores: readonly Store[]

  /** @param layers - what the graph reads: of layer 0 its keys, then its values, and so on */
  constructor(
    layers: readonly { readonly name: string; readonly heads: number; readonly headDim: number }[],
    readonly slots: number,
    readonly capacity: number,
  ) {
    // Zero pages are given by the system when they are first written, so room for long contexts costs nothing unused.
    const data = (heads: number, headDim: number) => new Float32Array(slots * heads * capacity * headDim)
    try {
      this.stores = layers.map((layer) => ({ ...layer, data: data(layer.heads, layer.headDim) }))
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new Error(
        `there is no memory for the keys and values of ${slots} × ${capacity} tokens; ask for fewer slots or a shorter context`,
      )
    }
  }

  /** The arrays of `batch` slots from the first on, in place, by their names in the graph. */
  inputs(firstSlot = 0, batch = this.slots): Record<string, TensorData> {
    const views = this.stores.map(({ name, heads, headDim, data }): [string, TensorData] => {
      const slot = heads * this.capacity * headDim
      const view = data.subarray(firstSlot * slot, (firstSlot + batch) * slot)
      return [name, { dtype: 'float32', shape: [batch, heads, this.capacity, headDim], data: view }]
    })
    return Object.fromEntries(views)
  }

  /** An empty cache of the same layers, for one sequence of this length. */
  alike(length: number): CacheSlots {
    return new CacheSlots(this.stores, 1, length)
  }

  /**
   * Writes keys and values over the beginning of a slot, as if tokens had made them.
   *
   * @returns how many positions they take
   */
  write(slot: number, layers: readonly CacheLayer[]): number {
    const given = layers.flatMap(({ key, value }) => [key, value])
    if (given.length !== this.stores.length) {
      throw new RangeError(`the cache has ${this.stores.length / 2} layers, got ${layers.length}`)
    }
    const length = given[0].shape[given[0].shape.length - 2]
    const rows = this.rows(slot, length)
    for (const [i, { heads, headDim }] of this.stores.entries()) {
      const [width, positions, theirHeads] = [...given[i].shape].reverse()
      if (theirHeads !== heads || positions !== length || width > headDim || length > this.capacity) {
        throw new RangeError(
          `the cache holds [${heads}, up to ${this.capacity}, ${headDim}] in layer ${i >> 1}, got [${given[i].shape}]`,
        )
      }
      const data = given[i].data as Float32Array
      for (const [head, row] of rows.splice(0, heads).entries()) {
        for (let position = 0; position < length; position++) {
          const from = (head * length + position) * width
          row.set(data.subarray(from, from + width), position * headDim)
        }
      }
    }
    return length
  }

  /** A copy of the first `length` positions of a slot, as wide as the cache keeps them. */
  read(slot: number, length: number): CacheLayer[] {
    const rows = this.rows(slot, length)
    const copies = this.stores.map(({ heads, headDim }): TensorData => {
      const data = new Float32Array(heads * length * headDim)
      for (const [head, row] of rows.splice(0, heads).entries()) data.set(row, head * row.length)
      return { dtype: 'float32', shape: [heads, length, headDim], data }
    })
    return Array.from({ length: copies.length / 2 }, (_, i) => ({ key: copies[2 * i], value: copies[2 * i + 1] }))
  }

  /** Copies the first `length` positions from one slot to another. */
  copy(from: number, to: number, length: number): void {
    const rows = this.rows(from, length)
    for (const [i, row] of this.rows(to, length).entries()) row.set(rows[i])
  }

  /** Exchanges two slots, of which the first `length` positions matter. */
  swap(a: number, b: number, length: number): void {
    const rows = this.rows(a, length)
    for (const [i, row] of this.rows(b, length).entries()) {
      const held = row.slice()
      row.set(rows[i])
      rows[i].set(held)
    }
  }

  /** Puts sequences in a new order: slot i continues what slot `order[i]` held. */
  reorder(order: readonly number[], length: number): void {
    const before = order.map((slot) => this.rows(slot, length))
    const after = order.map((_, slot) => this.rows(slot, length))
    for (let i = 0; i < before[0].length; i++) {
      const held = before.map((rows) => rows[i].slice())
      for (const [slot, row] of held.entries()) after[slot][i].set(row)
    }
  }

  /** The first `length` positions of a slot, in place: a view for every head of every layer's keys and values. */
  private rows(slot: number, length: number): Float32Array[] {
    return this.stores.flatMap(({ heads, headDim, data }) =>
      Array.from({ length: heads }, (_, head) => {
        const start = (slot * heads + head) * this.capacity * headDim
        return data.subarray(start, start + length * headDim)
      }),
    )
  }
}
