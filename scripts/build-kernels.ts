/**
 * Compiles src/runtime/kernels.wat. A test holds src/runtime/kernels.wasm.ts to the result, and writes it anew with
 * `npx vitest run tests/runtime/kernels.test.ts -u`.
 */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import loadWabt from 'wabt'

const SOURCE = fileURLToPath(new URL('../src/runtime/kernels.wat', import.meta.url))

/** The text of kernels.wasm.ts that belongs to kernels.wat. */
export async function compileKernels(): Promise<string> {
  const wabt = await loadWabt()
  const module = wabt.parseWat('kernels.wat', readFileSync(SOURCE, 'utf8'), {
    simd: true,
    bulk_memory: true,
    multi_value: true,
  })
  module.validate()
  const { buffer } = module.toBinary({})
  module.destroy()
  const lines = Buffer.from(buffer)
    .toString('base64')
    .replace(/.{1,110}/g, "  '$&' +\n")
    .replace(/ \+\n$/, '')
  return `/** Compiled from kernels.wat by scripts/build-kernels.ts. */\nexport const KERNELS_BASE64 =\n${lines}\n`
}
