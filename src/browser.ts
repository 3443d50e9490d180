/**
 * jackdaw in a page, for bundlers: everything that needs no disk. Graphs run on WebAssembly, or on WebGPU where a
 * `provider` says so. A page that serves onnxruntime-web's files from a place of their own, or wants another number of
 * threads, calls `webBackend(provider, options)` first.
 */

import { setBackends } from './runtime/compiled.ts'
import { webBackend } from './runtime/ort-web.ts'

setBackends((provider = 'wasm') => {
  if (provider !== 'wasm' && provider !== 'webgpu') {
    throw new Error(`provider '${provider}' does not run in a browser; take wasm or webgpu`)
  }
  return webBackend(provider)
})

export * from './portable.ts'
export { type WebOptions, type WebProvider, webBackend } from './runtime/ort-web.ts'
