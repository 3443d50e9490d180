/** The browser backend: onnxruntime-web, on WebAssembly or WebGPU. The wasm half also runs under Node. */

import type { InferenceSession, Tensor } from 'onnxruntime-web'
import type { DType, TensorData } from '../tensor/data.ts'
import type { Backend, Binding, DeviceTensor, Feeds, RunOptions, Session, SessionOptions } from './backend.ts'
import { checkFeeds, checkNames, checkTensor, plainMessage } from './checks.ts'
import { type Holdable, holdAll, Native } from './native.ts'

export type WebProvider = 'wasm' | 'webgpu'

type Ort = typeof import('onnxruntime-web')

export interface WebOptions {
  /** Where onnxruntime-web's .wasm and .mjs files are served, with a closing slash. Default: beside the script. */
  wasmPaths?: string
  /** Threads, which need a cross-origin isolated page. Default: onnxruntime-web's choice. */
  threads?: number
}

const backends = new Map<WebProvider, Promise<Backend>>()

/**
 * ONNX Runtime in a page. One backend a provider; options count on the first call.
 *
 * @throws Error where `webgpu` is asked for and the browser has none.
 */
export function webBackend(provider: WebProvider = 'wasm', options: WebOptions = {}): Promise<Backend> {
  let backend = backends.get(provider)
  if (!backend) {
    backend = open(provider, options)
    backends.set(provider, backend)
    backend.catch(() => backends.delete(provider))
  }
  return backend
}

async function open(provider: WebProvider, { wasmPaths, threads }: WebOptions): Promise<Backend> {
  if (provider === 'webgpu' && !('gpu' in navigator)) {
    throw new Error('webBackend: this browser has no WebGPU; use wasm')
  }
  const ort: Ort = provider === 'webgpu' ? await import('onnxruntime-web/webgpu') : await import('onnxruntime-web')
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths
  if (threads !== undefined) ort.env.wasm.numThreads = threads
  ort.env.logLevel = 'fatal'
  return new WebBackend(provider, ort)
}

/** One call into the module at a time: its stack is suspended while WebGPU works, and cannot be entered again. */
class Queue {
  #last: Promise<unknown> = Promise.resolve()

  add<Result>(call: () => Promise<Result>): Promise<Result> {
    const next = this.#last.then(call)
    this.#last = next.catch(() => undefined)
    return next
  }
}

class WebBackend implements Backend {
  readonly provider: WebProvider
  readonly #ort: Ort
  readonly #queue = new Queue()

  constructor(provider: WebProvider, ort: Ort) {
    this.provider = provider
    this.#ort = ort
  }

  async createSession(model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const { initializers = new Map<string, TensorData>(), prepack = true } = options
    const externalData = [...initializers].map(([name, tensor]) => {
      checkTensor(name, tensor)
      return { path: name, data: bytesOf(tensor) }
    })
    const create = () =>
      this.#ort.InferenceSession.create(model, {
        executionProviders: [this.provider],
        graphOptimizationLevel: 'all',
        logSeverityLevel: 4,
        externalData,
        // Which outputs stay is chosen run by run, ORT wants it here: all stay, and the others are read back.
        preferredOutputLocation: this.provider === 'webgpu' ? 'gpu-buffer' : 'cpu',
        extra: { session: { disable_prepacking: prepack ? '0' : '1' } },
      })
    const session = await this.#queue.add(create).catch((error: unknown) => {
      throw new Error(`createSession: ${plainMessage(messageOf(error))}`, { cause: error })
    })
    return new WebSession(this.#ort, this.#queue, session)
  }
}

const bytesOf = ({ data }: TensorData) => new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength)

const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(/^.*ERROR_MESSAGE: "?/s, '').replace(/"$/, '')

const DTYPES: readonly string[] = ['float32', 'int32', 'int64', 'uint8', 'bool'] satisfies DType[]

function dtypeOf(name: string, { type }: Tensor): DType {
  if (!DTYPES.includes(type))
    throw new Error(`output '${name}' has element type ${type}, which no dtype here stands for`)
  return type as DType
}

const hostTensor = (ort: Ort, name: string, tensor: TensorData): Tensor => {
  checkTensor(name, tensor)
  return new ort.Tensor(tensor.dtype, tensor.data as Float32Array, tensor.shape)
}

class WebSession implements Session {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly #ort: Ort
  readonly #queue: Queue
  readonly #native: Native<InferenceSession>

  constructor(ort: Ort, queue: Queue, session: InferenceSession) {
    this.#ort = ort
    this.#queue = queue
    this.inputNames = session.inputNames
    this.outputNames = session.outputNames
    const free = (freed: InferenceSession) => void queue.add(() => freed.release())
    this.#native = new Native('the session', session, free).ownedBy(this)
  }

  async run(
    feeds: Feeds,
    options: RunOptions & { outputs?: readonly string[]; onDevice?: readonly string[] } = {},
  ): Promise<Record<string, TensorData | DeviceTensor>> {
    const { signal, outputs = this.outputNames, onDevice = [] } = options
    checkFeeds(feeds, this.inputNames)
    checkNames('output', outputs, this.outputNames)
    checkNames('output', onDevice, outputs)
    const inputs: Record<string, Tensor> = {}
    const held: Holdable[] = []
    for (const [name, feed] of Object.entries(feeds)) {
      if (feed instanceof WebDeviceTensor) {
        held.push(feed.native)
        inputs[name] = feed.tensor(name)
      } else if ('data' in feed) inputs[name] = hostTensor(this.#ort, name, feed)
      else throw new Error(`run: input '${name}' is a device tensor of another backend`)
    }
    const tensors = await holdAll(held, () => this.#call(inputs, outputs, signal))
    const results: Record<string, TensorData | DeviceTensor> = {}
    for (const name of outputs) {
      const device = new WebDeviceTensor(this.#queue, tensors[name], dtypeOf(name, tensors[name]))
      results[name] = onDevice.includes(name) ? device : await device.take()
    }
    signal?.throwIfAborted()
    return results
  }

  bind(inputs: Readonly<Record<string, TensorData>>, outputs: Readonly<Record<string, TensorData>>): Binding {
    void this.#native.state // throws after a release
    checkFeeds(inputs, this.inputNames)
    const names = Object.keys(outputs)
    checkNames('output', names, this.outputNames)
    for (const name of names) checkTensor(name, outputs[name])
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([name, tensor]) => [name, hostTensor(this.#ort, name, tensor)]),
    )
    return new WebBinding(async (signal) => {
      const tensors = await this.#call(feeds, names, signal)
      for (const name of names) {
        const { data, shape } = await new WebDeviceTensor(this.#queue, tensors[name], outputs[name].dtype).take()
        if (String(shape) !== String(outputs[name].shape)) {
          throw new Error(`run: output '${name}' has shape [${shape}], its array [${outputs[name].shape}]`)
        }
        // Both are arrays of one dtype, which TypeScript cannot see.
        ;(outputs[name].data as Float32Array).set(data as Float32Array)
      }
    })
  }

  release(): void {
    this.#native.release()
  }

  /** A run in flight is not interrupted: its result is dropped. */
  #call(inputs: Record<string, Tensor>, outputs: readonly string[], signal?: AbortSignal) {
    return this.#native.use((session) =>
      this.#queue.add(async () => {
        signal?.throwIfAborted()
        const tensors = await session.run(inputs, outputs).catch((error: unknown) => {
          throw new Error(plainMessage(messageOf(error)), { cause: error })
        })
        if (signal?.aborted) for (const tensor of Object.values(tensors)) tensor.dispose()
        signal?.throwIfAborted()
        return tensors
      }),
    )
  }
}

class WebDeviceTensor implements DeviceTensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly #queue: Queue
  /** Held by runs that take the tensor as an input. */
  readonly native: Native<Tensor>

  constructor(queue: Queue, tensor: Tensor, dtype: DType) {
    this.dtype = dtype
    this.shape = tensor.dims
    this.#queue = queue
    this.native = new Native('the device tensor', tensor, (freed) => freed.dispose()).ownedBy(this)
  }

  tensor(name: string): Tensor {
    try {
      return this.native.state
    } catch (error) {
      throw new Error(`run: input '${name}': ${(error as Error).message}`)
    }
  }

  async read(): Promise<TensorData> {
    const { dtype, shape } = this
    const data = await this.native.use((tensor) =>
      // A tensor on the host hands out its own array: a copy keeps later reads independent of what is done to it.
      tensor.location === 'cpu' ? Promise.resolve(tensor.data.slice()) : this.#queue.add(() => tensor.getData()),
    )
    return { dtype, shape, data: data as TensorData['data'] }
  }

  /** Reads, and frees the device's memory. */
  async take(): Promise<TensorData> {
    const { dtype, shape } = this
    const { state } = this.native
    if (state.location === 'cpu') return { dtype, shape, data: state.data as TensorData['data'] }
    const result = await this.read()
    this.release()
    return result
  }

  release(): void {
    this.native.release()
  }
}

class WebBinding implements Binding {
  readonly canBlock = false
  #call: ((signal?: AbortSignal) => Promise<void>) | undefined

  constructor(call: (signal?: AbortSignal) => Promise<void>) {
    this.#call = call
  }

  async run({ signal }: RunOptions = {}): Promise<void> {
    if (!this.#call) throw new Error('the binding was released and can no longer be used')
    return this.#call(signal)
  }

  runSync(): void {
    throw new Error('runSync: a browser cannot block; use run')
  }

  release(): void {
    this.#call = undefined
  }
}
