/** What a stored model is, whatever the file: named tensors, read one at a time. */

export interface TensorInfo {
  /** As the file calls it: `F32`, `F16`, `BF16`, `I64`, `Q4_0`, … */
  readonly type: string
  /** Row-major: the last dimension is contiguous. */
  readonly shape: readonly number[]
  /** As stored. */
  readonly byteLength: number
}

/** Opening one reads headers only; tensors are read from the disk when they are asked for. */
export interface Checkpoint {
  /** `config.json`, or what a GGUF file's metadata say in its words; undefined for bare tensors. */
  readonly config: Record<string, unknown> | undefined
  /** What the file says about itself beside its tensors. */
  readonly metadata: Record<string, unknown>
  names(): string[]
  /** @throws Error where there is no tensor of that name. */
  info(name: string): TensorInfo
  /**
   * The tensor as float32, converted or dequantised, in memory of its own, or in `into` where that is given.
   *
   * @throws Error where there is no tensor of that name, its type is unknown, or `into` has another length.
   */
  read(name: string, into?: Float32Array): Float32Array
  /** The tensor's bytes as stored, in memory of their own. */
  readRaw(name: string): Uint8Array<ArrayBuffer>
  /** Gives the files back. Reading afterwards throws. */
  close(): void
}

/** A tensor on its way into a file. `bytes` is called once, when its turn comes. */
export interface TensorSource {
  readonly name: string
  /** A type of the target format. */
  readonly type: string
  readonly shape: readonly number[]
  bytes(): Uint8Array
}
