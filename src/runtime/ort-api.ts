/**
 * ONNX Runtime's C API, called through koffi on the library that the npm package onnxruntime-node ships.
 *
 * `OrtGetApiBase()->GetApi(version)` gives a table of function pointers. Its order is a stable ABI that only grows at
 * the end (onnxruntime_c_api.h, `struct OrtApi`), so a function is called by its place in the table.
 */

import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { DType } from '../tensor/data.ts'
import { plainMessage } from './checks.ts'
import koffi from './ffi.ts'

export type Pointer = bigint

/** The first version whose table has every function below. */
const API_VERSION = 23

/** Where each function stands in `struct OrtApi`. */
export const API_INDEX = {
  GetErrorMessage: 2,
  DisableTelemetryEvents: 6,
  CreateSessionFromArray: 8,
  Run: 9,
  CreateSessionOptions: 10,
  EnableProfiling: 14,
  DisableMemPattern: 17,
  SetSessionLogSeverityLevel: 22,
  SetSessionGraphOptimizationLevel: 23,
  SessionGetInputCount: 30,
  SessionGetOutputCount: 31,
  SessionGetInputName: 36,
  SessionGetOutputName: 37,
  CreateRunOptions: 39,
  RunOptionsSetTerminate: 46,
  CreateTensorWithDataAsOrtValue: 49,
  GetTensorMutableData: 51,
  GetTensorElementType: 60,
  GetDimensionsCount: 61,
  GetDimensions: 62,
  GetTensorTypeAndShape: 65,
  CreateMemoryInfo: 68,
  CreateCpuMemoryInfo: 69,
  AllocatorFree: 76,
  GetAllocatorWithDefaultOptions: 78,
  ReleaseStatus: 93,
  ReleaseSession: 95,
  ReleaseValue: 96,
  ReleaseRunOptions: 97,
  ReleaseTensorTypeAndShapeInfo: 99,
  ReleaseSessionOptions: 100,
  CreateEnvWithGlobalThreadPools: 119,
  DisablePerSessionThreads: 120,
  CreateThreadingOptions: 121,
  ReleaseThreadingOptions: 122,
  AddSessionConfigEntry: 130,
  RunWithBinding: 133,
  CreateIoBinding: 134,
  ReleaseIoBinding: 135,
  BindInput: 136,
  BindOutputToDevice: 138,
  GetBoundOutputValues: 140,
  SetGlobalIntraOpNumThreads: 147,
  SetGlobalInterOpNumThreads: 148,
  SetGlobalSpinControl: 149,
  AddInitializer: 150,
  SessionOptionsAppendExecutionProvider_CUDA_V2: 204,
  CreateCUDAProviderOptions: 205,
  ReleaseCUDAProviderOptions: 208,
  AddExternalInitializers: 210,
  SessionOptionsAppendExecutionProvider: 216,
} as const

type Name = keyof typeof API_INDEX

/** ONNXTensorElementDataType of each dtype. */
export const ELEMENT_TYPE: Readonly<Record<DType, number>> = { float32: 1, uint8: 2, int32: 6, int64: 7, bool: 9 }

const LIBRARY: Readonly<Record<string, string>> = {
  'linux-x64': 'libonnxruntime.so.1',
  'linux-arm64': 'libonnxruntime.so.1',
  'darwin-arm64': 'libonnxruntime.1.dylib',
  'win32-x64': 'onnxruntime.dll',
  'win32-arm64': 'onnxruntime.dll',
}

/**
 * The library's path: `JACKDAW_ORT_LIBRARY` where it is set (a build with CUDA, say), else the one in onnxruntime-node.
 *
 * @throws Error where onnxruntime-node ships no library for the platform, or the file is not there.
 */
export function libraryPath(platform: string = process.platform, arch: string = process.arch): string {
  const own = process.env.JACKDAW_ORT_LIBRARY
  if (own) {
    if (!existsSync(own)) throw new Error(`JACKDAW_ORT_LIBRARY names ${own}, which does not exist`)
    return own
  }
  const file = LIBRARY[`${platform}-${arch}`]
  if (!file) {
    throw new Error(
      `onnxruntime-node ships no library for ${platform} ${arch}: set JACKDAW_ORT_LIBRARY to an ONNX Runtime 1.23 ` +
        'or later built for it',
    )
  }
  const root = dirname(createRequire(import.meta.url).resolve('onnxruntime-node/package.json'))
  const path = join(root, 'bin', 'napi-v6', platform, arch, file)
  if (!existsSync(path)) throw new Error(`${path} is missing: reinstall onnxruntime-node`)
  return path
}

/** A C string; koffi passes its address, so it must stay referenced as long as ORT may read it. */
export const cString = (text: string): Buffer => Buffer.from(`${text}\0`)

/** The addresses of buffers, or pointers as they are, in an array that C reads as `void**`. */
export const pointerArray = (list: readonly (Pointer | ArrayBufferView)[]): BigUint64Array =>
  BigUint64Array.from(list, (item) => (typeof item === 'bigint' ? item : koffi.address(item)))

/** The start of an array's memory. An empty array has none, and ORT wants an address all the same. */
export const addressOf = (array: ArrayBufferView): Pointer => koffi.address(array.byteLength > 0 ? array : PLACEHOLDER)

const PLACEHOLDER = new Float64Array(8)

/** An array buffer over `byteLength` bytes of native memory; the memory must outlive it. */
export const viewOf = (pointer: Pointer, byteLength: number): ArrayBuffer => koffi.view(pointer, byteLength)

/** The C string at `pointer`. */
export const stringAt = (pointer: Pointer): string => koffi.decode.string(pointer)

type Native = ((...args: unknown[]) => unknown) & { async(...args: unknown[]): void }

function load() {
  const path = libraryPath()
  // ONNX Runtime 1.30 would report sessions to its maker. On Windows a call ends that (`openEnvironment`), elsewhere this.
  process.env.ORT_DISABLE_TELEMETRY ??= '1'
  const library = koffi.load(path)
  const base: Pointer = library.func('void* OrtGetApiBase()')()
  const getApi: Pointer = koffi.decode(base, 'void*', 1)[0]
  const api: Pointer | null = koffi.call(getApi, koffi.proto('void*', ['uint32_t']), API_VERSION)
  if (!api) throw new Error(`${path} is older than ONNX Runtime 1.${API_VERSION}`)
  const table: Pointer[] = koffi.decode(api, 'void*', Math.max(...Object.values(API_INDEX)) + 1)

  const native = (name: Name, result: string, args: string): Native =>
    koffi.decode(table[API_INDEX[name]], koffi.proto(result, args === '' ? [] : args.split(', ')))

  const messageOf = native('GetErrorMessage', 'const char*', 'void*')
  const releaseStatus = native('ReleaseStatus', 'void', 'void*')
  const check = (status: unknown): void => {
    if (!status) return
    const message = messageOf(status) as string
    releaseStatus(status)
    throw new Error(plainMessage(message))
  }
  /** A function that returns a status and writes nothing. */
  const call = <Args extends unknown[]>(name: Name, args: string) => {
    const f = native(name, 'void*', args)
    return (...values: Args): void => check(f(...values))
  }
  /**
   * The same on a thread of libuv's pool, the event loop left free. `keep` is what the arguments have the addresses of:
   * nothing else need refer to it until the call is over.
   */
  const callAsync = <Args extends unknown[]>(name: Name, args: string) => {
    const f = native(name, 'void*', args)
    return (keep: readonly unknown[], ...values: Args): Promise<void> =>
      new Promise((resolve, reject) => {
        f.async(...values, (error: unknown, status: unknown) => {
          void keep
          try {
            if (error) throw error
            check(status)
            resolve()
          } catch (reason) {
            reject(reason)
          }
        })
      })
  }
  /** A function that returns a status and writes one result through its last argument. */
  const get = <Result, Args extends unknown[]>(name: Name, args: string, result = 'void**') => {
    const f = native(name, 'void*', `${args}${args && ', '}_Out_ ${result}`)
    return (...values: Args): Result => {
      const out = [null]
      check(f(...values, out))
      return out[0] as Result
    }
  }
  const free = (name: Name) => native(name, 'void', 'void*') as unknown as (pointer: Pointer) => void

  const RUN = 'void*, void*, void*, void*, size_t, void*, size_t, void*'
  type RunArgs = [
    session: Pointer,
    runOptions: Pointer | null,
    inputNames: Pointer,
    inputs: Pointer,
    inputCount: number,
    outputNames: Pointer,
    outputCount: number,
    outputs: Pointer,
  ]
  /** ORTCHAR_T*: paths are wide on Windows. */
  const PATH = process.platform === 'win32' ? 'const char16_t*' : 'const char*'
  const CREATE_SESSION = 'void*, void*, size_t, void*, void*'
  return {
    /** Collected, koffi would unmap the library and the next call would crash. */
    library,
    path,
    createThreadingOptions: get<Pointer, []>('CreateThreadingOptions', ''),
    releaseThreadingOptions: free('ReleaseThreadingOptions'),
    setGlobalIntraOpNumThreads: call<[Pointer, number]>('SetGlobalIntraOpNumThreads', 'void*, int'),
    setGlobalInterOpNumThreads: call<[Pointer, number]>('SetGlobalInterOpNumThreads', 'void*, int'),
    setGlobalSpinControl: call<[Pointer, number]>('SetGlobalSpinControl', 'void*, int'),
    createEnvWithGlobalThreadPools: get<Pointer, [logLevel: number, logId: string, threading: Pointer]>(
      'CreateEnvWithGlobalThreadPools',
      'int, const char*, void*',
    ),
    disableTelemetryEvents: call<[env: Pointer]>('DisableTelemetryEvents', 'void*'),
    createSessionOptions: get<Pointer, []>('CreateSessionOptions', ''),
    releaseSessionOptions: free('ReleaseSessionOptions'),
    disableMemPattern: call<[Pointer]>('DisableMemPattern', 'void*'),
    enableProfiling: call<[Pointer, string]>('EnableProfiling', `void*, ${PATH}`),
    disablePerSessionThreads: call<[Pointer]>('DisablePerSessionThreads', 'void*'),
    setSessionGraphOptimizationLevel: call<[Pointer, number]>('SetSessionGraphOptimizationLevel', 'void*, int'),
    setSessionLogSeverityLevel: call<[Pointer, number]>('SetSessionLogSeverityLevel', 'void*, int'),
    addSessionConfigEntry: call<[Pointer, string, string]>('AddSessionConfigEntry', 'void*, const char*, const char*'),
    appendExecutionProvider: call<[Pointer, string, null, null, 0]>(
      'SessionOptionsAppendExecutionProvider',
      'void*, const char*, void*, void*, size_t',
    ),
    createCudaProviderOptions: get<Pointer, []>('CreateCUDAProviderOptions', ''),
    releaseCudaProviderOptions: free('ReleaseCUDAProviderOptions'),
    appendCudaProvider: call<[Pointer, Pointer]>('SessionOptionsAppendExecutionProvider_CUDA_V2', 'void*, void*'),
    addExternalInitializers: call<[options: Pointer, names: Pointer, values: Pointer, count: number]>(
      'AddExternalInitializers',
      'void*, void*, void*, size_t',
    ),
    addInitializer: call<[options: Pointer, name: string, value: Pointer]>(
      'AddInitializer',
      'void*, const char*, void*',
    ),
    createSession: callAsync<[env: Pointer, model: Pointer, byteLength: number, options: Pointer, out: Pointer]>(
      'CreateSessionFromArray',
      CREATE_SESSION,
    ),
    releaseSession: free('ReleaseSession'),
    inputCount: get<number, [Pointer]>('SessionGetInputCount', 'void*', 'size_t*'),
    outputCount: get<number, [Pointer]>('SessionGetOutputCount', 'void*', 'size_t*'),
    inputName: get<Pointer, [Pointer, number, Pointer]>('SessionGetInputName', 'void*, size_t, void*'),
    outputName: get<Pointer, [Pointer, number, Pointer]>('SessionGetOutputName', 'void*, size_t, void*'),
    defaultAllocator: get<Pointer, []>('GetAllocatorWithDefaultOptions', ''),
    allocatorFree: call<[allocator: Pointer, memory: Pointer]>('AllocatorFree', 'void*, void*'),
    createCpuMemoryInfo: get<Pointer, [allocatorType: number, memType: number]>('CreateCpuMemoryInfo', 'int, int'),
    createMemoryInfo: get<Pointer, [name: string, allocatorType: number, id: number, memType: number]>(
      'CreateMemoryInfo',
      'const char*, int, int, int',
    ),
    createTensor: get<
      Pointer,
      [info: Pointer, data: Pointer, byteLength: number, shape: BigInt64Array, rank: number, elementType: number]
    >('CreateTensorWithDataAsOrtValue', 'void*, void*, size_t, const int64_t*, size_t, int'),
    releaseValue: free('ReleaseValue'),
    tensorData: get<Pointer, [Pointer]>('GetTensorMutableData', 'void*'),
    tensorTypeAndShape: get<Pointer, [Pointer]>('GetTensorTypeAndShape', 'void*'),
    releaseTensorTypeAndShape: free('ReleaseTensorTypeAndShapeInfo'),
    elementType: get<number, [Pointer]>('GetTensorElementType', 'void*', 'int*'),
    dimensionsCount: get<number, [Pointer]>('GetDimensionsCount', 'void*', 'size_t*'),
    dimensions: call<[info: Pointer, out: Pointer, rank: number]>('GetDimensions', 'void*, void*, size_t'),
    createRunOptions: get<Pointer, []>('CreateRunOptions', ''),
    releaseRunOptions: free('ReleaseRunOptions'),
    terminate: call<[runOptions: Pointer]>('RunOptionsSetTerminate', 'void*'),
    run: callAsync<RunArgs>('Run', RUN),
    runSync: call<RunArgs>('Run', RUN),
    createIoBinding: get<Pointer, [session: Pointer]>('CreateIoBinding', 'void*'),
    releaseIoBinding: free('ReleaseIoBinding'),
    bindInput: call<[binding: Pointer, name: string, value: Pointer]>('BindInput', 'void*, const char*, void*'),
    bindOutputToDevice: call<[binding: Pointer, name: string, info: Pointer]>(
      'BindOutputToDevice',
      'void*, const char*, void*',
    ),
    runWithBinding: callAsync<[session: Pointer, runOptions: Pointer | null, binding: Pointer]>(
      'RunWithBinding',
      'void*, void*, void*',
    ),
    /** Writes the address of an array of values and its length; the array is freed with `allocatorFree`. */
    boundOutputValues: call<[binding: Pointer, allocator: Pointer, values: Pointer, count: Pointer]>(
      'GetBoundOutputValues',
      'void*, void*, void*, void*',
    ),
  }
}

export type OrtApi = ReturnType<typeof load>

let loaded: OrtApi | undefined

/** The API of this process's one ONNX Runtime. */
export const ortApi = (): OrtApi => (loaded ??= load())
