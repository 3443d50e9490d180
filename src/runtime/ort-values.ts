/** The process's one ONNX Runtime environment, and numbers on their way into it and out of it. */

import { markAsUntransferable } from 'node:worker_threads'
import { bytesPerElement, type DType, newArray, sizeOf, type TensorData } from '../tensor/data.ts'
import { checkTensor } from './checks.ts'
import { Native } from './native.ts'
import { addressOf, ELEMENT_TYPE, type OrtApi, ortApi, type Pointer, viewOf } from './ort-api.ts'
import { defaultThreads } from './threads.ts'

/** ORT's log: fatal only. Whatever fails comes back as a status, and so as an Error, already. */
export const LOG_FATAL = 4
const ARENA_ALLOCATOR = 1
const DEVICE_ALLOCATOR = 0
const MEMORY_DEFAULT = 0

/** The name of each device's memory. */
const DEVICE_MEMORY = { webgpu: 'WebGPU_Buf', cuda: 'Cuda' } as const

export interface Environment {
  api: OrtApi
  env: Pointer
  threads: number
  cpuMemory: Pointer
  allocator: Pointer
}

let environment: Environment | undefined

export function openEnvironment(threads: number | undefined): Environment {
  if (environment) {
    if (threads !== undefined && threads !== environment.threads) {
      throw new Error(
        `nodeBackend: this process's thread pool already has ${environment.threads} threads and cannot be given ` +
          `${threads}; ask for them on the first call`,
      )
    }
    return environment
  }
  const api = ortApi()
  const count = threads ?? defaultThreads()
  const threading = api.createThreadingOptions()
  try {
    api.setGlobalIntraOpNumThreads(threading, count)
    api.setGlobalInterOpNumThreads(threading, 1)
    // Spinning workers make a token's many small products 1.4 times as fast; on a busy machine they are in the way.
    api.setGlobalSpinControl(threading, process.env.JACKDAW_SPIN === '0' ? 0 : 1)
    const env = api.createEnvWithGlobalThreadPools(LOG_FATAL, 'jackdaw', threading)
    api.disableTelemetryEvents(env)
    environment = {
      api,
      env,
      threads: count,
      cpuMemory: api.createCpuMemoryInfo(ARENA_ALLOCATOR, MEMORY_DEFAULT),
      allocator: api.defaultAllocator(),
    }
    return environment
  } finally {
    api.releaseThreadingOptions(threading)
  }
}

/** An OrtValue over the caller's array, which must stay referenced as long as ORT may use it. */
export function tensorValue({ api, cpuMemory }: Environment, name: string, tensor: TensorData): Pointer {
  const { dtype, shape, data } = tensor
  checkTensor(name, tensor)
  const dims = BigInt64Array.from(shape, BigInt)
  return api.createTensor(cpuMemory, addressOf(data), data.byteLength, dims, shape.length, ELEMENT_TYPE[dtype])
}

const DTYPE_OF = new Map(Object.entries(ELEMENT_TYPE).map(([dtype, code]) => [code, dtype as DType]))

export function describe({ api }: Environment, name: string, value: Pointer): { dtype: DType; shape: number[] } {
  const info = api.tensorTypeAndShape(value)
  try {
    const code = api.elementType(info)
    const dtype = DTYPE_OF.get(code)
    if (!dtype) throw new Error(`output '${name}' has ONNX element type ${code}, which no dtype here stands for`)
    const dims = new BigInt64Array(Number(api.dimensionsCount(info)))
    if (dims.length > 0) api.dimensions(info, addressOf(dims), dims.length)
    return { dtype, shape: Array.from(dims, Number) }
  } finally {
    api.releaseTensorTypeAndShape(info)
  }
}

/** The value's numbers copied into an array of their own. */
export function copyOut(environment: Environment, name: string, value: Pointer): TensorData {
  const { dtype, shape } = describe(environment, name, value)
  const data = newArray(dtype, sizeOf(shape))
  if (data.byteLength > 0) {
    const source = new Uint8Array(viewOf(environment.api.tensorData(value), data.byteLength))
    new Uint8Array(data.buffer).set(source)
  }
  return { dtype, shape, data }
}

/** The memory info of a device, made once. */
export function deviceMemory(api: OrtApi, provider: keyof typeof DEVICE_MEMORY): Pointer {
  let info = memoryInfos.get(provider)
  if (info === undefined) {
    info = api.createMemoryInfo(DEVICE_MEMORY[provider], DEVICE_ALLOCATOR, 0, MEMORY_DEFAULT)
    memoryInfos.set(provider, info)
  }
  return info
}

const memoryInfos = new Map<string, Pointer>()

/** Below this, copying an output is cheaper than keeping ORT's memory for it. */
const KEEP_BYTES = 1 << 16

const ARRAY = {
  float32: Float32Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const

/**
 * The value's numbers, the value itself handed over: copied where there are few, else an array over ORT's own memory
 * that is freed when the array's buffer is collected (48 MB: 2 ms; a fresh array and a copy, 40 ms).
 */
export function takeOut(environment: Environment, name: string, value: Pointer): TensorData {
  const { api } = environment
  let kept = false
  try {
    const { dtype, shape } = describe(environment, name, value)
    const byteLength = sizeOf(shape) * bytesPerElement(dtype)
    if (byteLength < KEEP_BYTES) return copyOut(environment, name, value)
    const buffer = viewOf(api.tensorData(value), byteLength)
    // Transferred to another thread, the memory would be freed here while it is read there.
    markAsUntransferable(buffer)
    new Native('the output', value, (pointer) => api.releaseValue(pointer)).ownedBy(buffer)
    kept = true
    return { dtype, shape, data: new ARRAY[dtype](buffer) }
  } finally {
    if (!kept) api.releaseValue(value)
  }
}
