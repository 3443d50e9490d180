import type { TensorData } from '../tensor/data.ts'

/** Where a graph runs. `cpu`, `webgpu` and `cuda` in Node; `wasm` and `webgpu` in a browser. */
export type Provider = 'cpu' | 'webgpu' | 'cuda' | 'wasm'

/** A tensor that stays on the device between runs; `read` copies it out. On the CPU it is plain memory. */
export interface DeviceTensor {
  readonly dtype: TensorData['dtype']
  readonly shape: readonly number[]
  read(): Promise<TensorData>
  /** Frees the device memory now; otherwise it is freed when the object is collected. */
  release(): void
}

export type Feeds = Readonly<Record<string, TensorData | DeviceTensor>>

export interface RunOptions {
  /** Cancels a run in flight; the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/** A call whose argument arrays are built once. Inputs are read, and outputs written, in place. */
export interface Binding {
  run(options?: RunOptions): Promise<void>
  /** Whether `runSync` works here: not in a browser. */
  readonly canBlock: boolean
  /** Blocks the event loop: for short graphs, where a thread switch would cost more. Node only. */
  runSync(): void
  release(): void
}

export interface Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  /**
   * One run. Outputs named in `onDevice` come back as device tensors, the others as host arrays that own their memory.
   * `outputs` names the outputs to compute; all of them where it is left out.
   */
  run(
    feeds: Feeds,
    options?: RunOptions & { outputs?: readonly string[]; onDevice?: readonly string[] },
  ): Promise<Record<string, TensorData | DeviceTensor>>
  /**
   * Binds arrays to inputs and outputs for many runs. The same array may be an input and an output (a KV cache).
   * Every array stays referenced by the binding as long as the binding lives.
   */
  bind(inputs: Readonly<Record<string, TensorData>>, outputs: Readonly<Record<string, TensorData>>): Binding
  /** Frees the session now; otherwise it is freed when the object is collected. */
  release(): void
}

export interface SessionOptions {
  /**
   * Values of initializers that the model declares with external data: weights given as constants. Each declares its
   * own name as the `location`, and `offset` 0.
   * The arrays are used where they lie and stay referenced by the session, unless `copyInitializers` is set.
   */
  initializers?: ReadonlyMap<string, TensorData>
  /**
   * Copy the initializers into the session, so that their arrays can be dropped once it is created. Default false: they
   * are read in place. Weights that kernels pack are copies either way, so where most are packed (serving) `true` saves
   * the memory of the originals. Node only; in a browser the weights always are copied.
   */
  copyInitializers?: boolean
  /** Copy constant weights into the layout that the kernels like best. Default true. */
  prepack?: boolean
  /**
   * Plan where tensors lie from the first run on, and allocate all of it at once: up to a twentieth faster, and up to
   * twice the memory. Default true. Node only.
   */
  memoryPattern?: boolean
}

export interface Backend {
  readonly provider: Provider
  createSession(model: Uint8Array, options?: SessionOptions): Promise<Session>
}
