/** The Node backend: ONNX Runtime's C API, one environment and one thread pool for the whole process. */

import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { DType, TensorData } from '../tensor/data.ts'
import type { Backend, Binding, DeviceTensor, Feeds, RunOptions, Session, SessionOptions } from './backend.ts'
import { checkFeeds, checkNames } from './checks.ts'
import { placeWeights } from './external-data.ts'
import { identityModel } from './identity-model.ts'
import { letGoOfPages } from './mapped-file.ts'
import { type Holdable, holdAll, Native } from './native.ts'
import {
  addressOf,
  cString,
  ELEMENT_TYPE,
  type OrtApi,
  type Pointer,
  pointerArray,
  stringAt,
  viewOf,
} from './ort-api.ts'
import {
  copyOut,
  describe,
  deviceMemory,
  type Environment,
  LOG_FATAL,
  openEnvironment,
  takeOut,
  tensorValue,
} from './ort-values.ts'

const OPTIMISE_ALL = 99
const EXTERNAL_DATA_FOLDER = 'session.model_external_initializers_file_folder_path'

export type NodeProvider = 'cpu' | 'webgpu' | 'cuda'

const backends = new Map<NodeProvider, Backend>()

/**
 * ONNX Runtime in this process. One backend a provider; all share one thread pool, made at the first call.
 *
 * @param threads - threads of the pool, the calling one included. Default `JACKDAW_THREADS`, or the physical cores.
 * @throws Error where the platform has no library, the provider is not there, or the pool has another size already.
 */
export async function nodeBackend(
  provider: NodeProvider = 'cpu',
  { threads }: { threads?: number } = {},
): Promise<Backend> {
  const environment = openEnvironment(threads)
  let backend = backends.get(provider)
  if (!backend) {
    backend = new NodeBackend(provider, environment)
    backends.set(provider, backend)
  }
  return backend
}

/** What a native session needs as long as it lives. */
interface SessionState {
  pointer: Pointer
  /** Arrays of initializers: ORT reads them in place. */
  keep: unknown
}

class NodeBackend implements Backend {
  readonly provider: NodeProvider
  readonly #environment: Environment

  constructor(provider: NodeProvider, environment: Environment) {
    if (provider === 'cuda') requireCuda(environment.api.path)
    this.provider = provider
    this.#environment = environment
  }

  async createSession(model: Uint8Array, options: SessionOptions = {}): Promise<Session> {
    const { api, env } = this.#environment
    const { initializers: weights = new Map<string, TensorData>(), copyInitializers = false } = options
    const placed = placeWeights(model, weights)
    const { model: bytes, arrays, readOnce } = placed ?? { model, arrays: weights, readOnce: new Map() }
    const settings = api.createSessionOptions()
    const values: Pointer[] = []
    const valuesOf = (tensors: ReadonlyMap<string, TensorData>): Pointer[] => {
      const made = [...tensors].map(([name, tensor]) => tensorValue(this.#environment, name, tensor))
      values.push(...made)
      return made
    }
    const addInPlace = (tensors: ReadonlyMap<string, TensorData>, ofTensors: readonly Pointer[]): void => {
      for (const [i, name] of [...tensors.keys()].entries()) api.addInitializer(settings, name, ofTensors[i])
    }
    const out = new BigUint64Array(1)
    try {
      this.#configure(settings, options)
      if (placed) api.addSessionConfigEntry(settings, EXTERNAL_DATA_FOLDER, placed.folder)
      if (this.provider === 'cpu') addInPlace(readOnce, valuesOf(readOnce))
      const [names, arrayValues] = [[...arrays.keys()].map(cString), valuesOf(arrays)]
      const [nameArray, valueArray] = [pointerArray(names), pointerArray(arrayValues)]
      if (names.length > 0) {
        // AddExternalInitializers stands in for the file and copies; AddInitializer alone would look for the file, but
        // after it replaces the copy by the array itself.
        api.addExternalInitializers(settings, addressOf(nameArray), addressOf(valueArray), names.length)
        if (!copyInitializers) addInPlace(arrays, arrayValues)
      }
      const keep = [bytes, weights, names, out]
      await api.createSession(keep, env, addressOf(bytes), bytes.byteLength, settings, addressOf(out))
    } catch (error) {
      const { message } = error as Error
      const advice = message.includes('WebGPU adapter') ? '; install a driver for the GPU, or run on the cpu' : ''
      throw new Error(`createSession: ${message}${advice}`, { cause: error })
    } finally {
      for (const value of values) api.releaseValue(value)
      api.releaseSessionOptions(settings)
    }
    for (const { data } of readOnce.values()) letGoOfPages(data)
    const keep = [...(copyInitializers ? [] : arrays.values()), ...readOnce.values()].map(({ data }) => data)
    return new NodeSession(this.provider, this.#environment, { pointer: out[0], keep })
  }

  #configure(settings: Pointer, { prepack = true, memoryPattern = true }: SessionOptions): void {
    const { api } = this.#environment
    api.disablePerSessionThreads(settings)
    api.setSessionGraphOptimizationLevel(settings, OPTIMISE_ALL)
    api.setSessionLogSeverityLevel(settings, LOG_FATAL)
    // A trace of every node that runs, written to PREFIX_<time>.json when the session is released.
    if (process.env.JACKDAW_PROFILE) api.enableProfiling(settings, process.env.JACKDAW_PROFILE)
    if (!memoryPattern) api.disableMemPattern(settings)
    if (!prepack) api.addSessionConfigEntry(settings, 'session.disable_prepacking', '1')
    if (this.provider === 'webgpu') api.appendExecutionProvider(settings, 'WebGPU', null, null, 0)
    if (this.provider === 'cuda') {
      const cuda = api.createCudaProviderOptions()
      try {
        api.appendCudaProvider(settings, cuda)
      } finally {
        api.releaseCudaProviderOptions(cuda)
      }
    }
  }
}

function requireCuda(library: string): void {
  const file = process.platform === 'win32' ? 'onnxruntime_providers_cuda.dll' : 'libonnxruntime_providers_cuda.so'
  const path = join(dirname(library), file)
  if (existsSync(path)) return
  throw new Error(
    `${path} is missing: install onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12 in the environment ` +
      '(Linux x64), or set JACKDAW_ORT_LIBRARY to the onnxruntime library of a CUDA build',
  )
}

class NodeSession implements Session {
  readonly provider: NodeProvider
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly #environment: Environment
  readonly #native: Native<SessionState>
  readonly #names: ReadonlyMap<string, Buffer>

  constructor(provider: NodeProvider, environment: Environment, state: SessionState) {
    const { api, allocator } = environment
    this.provider = provider
    this.#environment = environment
    this.#native = new Native('the session', state, ({ pointer }) => api.releaseSession(pointer)).ownedBy(this)
    const names = (count: number, get: (session: Pointer, index: number, allocator: Pointer) => Pointer) =>
      Array.from({ length: count }, (_, index) => {
        const text = get(state.pointer, index, allocator)
        const name = stringAt(text)
        api.allocatorFree(allocator, text)
        return name
      })
    this.inputNames = names(Number(api.inputCount(state.pointer)), api.inputName)
    this.outputNames = names(Number(api.outputCount(state.pointer)), api.outputName)
    this.#names = new Map([...this.inputNames, ...this.outputNames].map((name) => [name, cString(name)]))
  }

  async run(
    feeds: Feeds,
    options: RunOptions & { outputs?: readonly string[]; onDevice?: readonly string[] } = {},
  ): Promise<Record<string, TensorData | DeviceTensor>> {
    const { signal, outputs = this.outputNames, onDevice = [] } = options
    checkFeeds(feeds, this.inputNames)
    checkNames('output', outputs, this.outputNames)
    checkNames('output', onDevice, outputs)
    const { api } = this.#environment
    return this.#native.use(async ({ pointer }) => {
      const made: Pointer[] = []
      const held: Holdable[] = []
      const inputs = this.inputNames.map((name) => {
        const feed = feeds[name]
        if (feed instanceof NodeDeviceTensor && feed.provider === this.provider) {
          held.push(feed.native)
          return feed.value(name)
        }
        if (!('data' in feed)) throw new Error(`run: input '${name}' is a device tensor of another backend`)
        made.push(tensorValue(this.#environment, name, feed))
        return made[made.length - 1]
      })
      const call = async (runOptions: Pointer | null): Promise<Pointer[]> => {
        if (onDevice.length > 0 && this.provider !== 'cpu') {
          return this.#runOnDevice(pointer, runOptions, feeds, inputs, outputs, new Set(onDevice))
        }
        const [inputNames, outputNames] = [this.#cNames(this.inputNames), this.#cNames(outputs)]
        const [inputValues, outputValues] = [pointerArray(inputs), new BigUint64Array(outputs.length)]
        const [i, o] = [addressOf(inputValues), addressOf(outputValues)]
        const [iNames, oNames] = [addressOf(inputNames), addressOf(outputNames)]
        const keep = [feeds, inputNames, outputNames, inputValues, outputValues]
        await api.run(keep, pointer, runOptions, iNames, i, inputs.length, oNames, outputs.length, o)
        return [...outputValues]
      }
      try {
        const values = await holdAll(held, () => cancellable(api, signal, call))
        const results = this.#collect(outputs, values, new Set(onDevice))
        signal?.throwIfAborted()
        return results
      } finally {
        for (const value of made) api.releaseValue(value)
      }
    })
  }

  bind(inputs: Readonly<Record<string, TensorData>>, outputs: Readonly<Record<string, TensorData>>): Binding {
    void this.#native.state // throws after a release
    checkFeeds(inputs, this.inputNames)
    const outputNames = Object.keys(outputs)
    checkNames('output', outputNames, this.outputNames)
    const tensors = [...this.inputNames.map((name) => inputs[name]), ...outputNames.map((name) => outputs[name])]
    const names = [...this.inputNames, ...outputNames]
    const { api } = this.#environment
    const values: Pointer[] = []
    try {
      for (const [i, tensor] of tensors.entries()) values.push(tensorValue(this.#environment, names[i], tensor))
    } catch (error) {
      for (const value of values) api.releaseValue(value)
      throw error
    }
    const count = this.inputNames.length
    const arrays = {
      inputNames: this.#cNames(this.inputNames),
      inputs: pointerArray(values.slice(0, count)),
      outputNames: this.#cNames(outputNames),
      outputs: pointerArray(values.slice(count)),
    }
    return new NodeBinding(api, this, this.#native, {
      values,
      keep: [arrays, this.#names, tensors],
      args: [
        addressOf(arrays.inputNames),
        addressOf(arrays.inputs),
        count,
        addressOf(arrays.outputNames),
        outputNames.length,
        addressOf(arrays.outputs),
      ],
    })
  }

  release(): void {
    this.#native.release()
  }

  #cNames(names: readonly string[]): BigUint64Array {
    return pointerArray(names.map((name) => this.#names.get(name)!))
  }

  async #runOnDevice(
    session: Pointer,
    runOptions: Pointer | null,
    feeds: Feeds,
    inputs: readonly Pointer[],
    outputs: readonly string[],
    onDevice: ReadonlySet<string>,
  ): Promise<Pointer[]> {
    const { api, allocator, cpuMemory } = this.#environment
    const binding = api.createIoBinding(session)
    try {
      for (const [i, name] of this.inputNames.entries()) api.bindInput(binding, name, inputs[i])
      for (const name of outputs) {
        api.bindOutputToDevice(binding, name, onDevice.has(name) ? this.#deviceMemory() : cpuMemory)
      }
      await api.runWithBinding([feeds], session, runOptions, binding)
      const [list, count] = [new BigUint64Array(1), new BigUint64Array(1)]
      api.boundOutputValues(binding, allocator, addressOf(list), addressOf(count))
      const values = [...new BigUint64Array(viewOf(list[0], outputs.length * 8))]
      api.allocatorFree(allocator, list[0])
      return values
    } finally {
      api.releaseIoBinding(binding)
    }
  }

  #deviceMemory(): Pointer {
    return deviceMemory(this.#environment.api, this.provider as 'webgpu' | 'cuda')
  }

  #collect(
    names: readonly string[],
    values: readonly Pointer[],
    onDevice: ReadonlySet<string>,
  ): Record<string, TensorData | DeviceTensor> {
    const { api } = this.#environment
    const results: Record<string, TensorData | DeviceTensor> = {}
    const pending = [...values]
    try {
      for (const name of names) {
        const value = pending[0]
        if (onDevice.has(name)) {
          const { dtype, shape } = describe(this.#environment, name, value)
          results[name] = new NodeDeviceTensor(this.provider, this.#environment, value, dtype, shape)
          pending.shift()
        } else {
          pending.shift()
          results[name] = takeOut(this.#environment, name, value)
        }
      }
      return results
    } finally {
      for (const value of pending) api.releaseValue(value)
    }
  }
}

/** Runs with options that `signal` can terminate; rejects with the signal's reason. */
async function cancellable<Result>(
  api: OrtApi,
  signal: AbortSignal | undefined,
  call: (runOptions: Pointer | null) => Promise<Result>,
): Promise<Result> {
  if (!signal) return call(null)
  signal.throwIfAborted()
  const runOptions = api.createRunOptions()
  const abort = () => api.terminate(runOptions)
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await call(runOptions)
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  } finally {
    signal.removeEventListener('abort', abort)
    api.releaseRunOptions(runOptions)
  }
}

class NodeDeviceTensor implements DeviceTensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly provider: NodeProvider
  readonly #environment: Environment
  /** Held by runs that take the tensor as an input. */
  readonly native: Native<Pointer>

  constructor(
    provider: NodeProvider,
    environment: Environment,
    value: Pointer,
    dtype: DType,
    shape: readonly number[],
  ) {
    this.dtype = dtype
    this.shape = shape
    this.provider = provider
    this.#environment = environment
    const { api } = environment
    this.native = new Native('the device tensor', value, (pointer) => api.releaseValue(pointer)).ownedBy(this)
  }

  /** The OrtValue, for the input called `name`. */
  value(name: string): Pointer {
    try {
      return this.native.state
    } catch (error) {
      throw new Error(`run: input '${name}': ${(error as Error).message}`)
    }
  }

  read(): Promise<TensorData> {
    return this.native.use(async (value) => {
      if (this.provider === 'cpu') return copyOut(this.#environment, 'device tensor', value)
      const session = await copySession(this.provider, this.dtype)
      return (await session.run({ x: this })).y as TensorData
    })
  }

  release(): void {
    this.native.release()
  }
}

const copySessions = new Map<string, Promise<Session>>()

/** A session whose output on the host is its input on the device: ORT has no copy that every provider supports. */
function copySession(provider: NodeProvider, dtype: DType): Promise<Session> {
  const key = `${provider} ${dtype}`
  let session = copySessions.get(key)
  if (!session) {
    session = nodeBackend(provider).then((backend) => backend.createSession(identityModel(ELEMENT_TYPE[dtype])))
    copySessions.set(key, session)
  }
  return session
}

interface BindingState {
  values: Pointer[]
  /** Everything that `args` has the address of. */
  keep: unknown
  args: [
    inputNames: Pointer,
    inputs: Pointer,
    inputCount: number,
    outputNames: Pointer,
    outputCount: number,
    outputs: Pointer,
  ]
}

class NodeBinding implements Binding {
  readonly canBlock = true
  readonly #api: OrtApi
  /** Collected, the session would be freed under the binding. */
  readonly session: Session
  readonly #session: Native<SessionState>
  readonly #native: Native<BindingState>

  constructor(api: OrtApi, session: Session, native: Native<SessionState>, state: BindingState) {
    this.#api = api
    this.session = session
    this.#session = native
    this.#native = new Native('the binding', state, ({ values }) => {
      for (const value of values) api.releaseValue(value)
    }).ownedBy(this)
  }

  run({ signal }: RunOptions = {}): Promise<void> {
    return this.#session
      .use(({ pointer }) =>
        this.#native.use(({ args, keep }) =>
          cancellable(this.#api, signal, (runOptions) => this.#api.run([keep], pointer, runOptions, ...args)),
        ),
      )
      .then(() => signal?.throwIfAborted())
  }

  runSync(): void {
    this.#api.runSync(this.#session.state.pointer, null, ...this.#native.state.args)
  }

  release(): void {
    this.#native.release()
  }
}
