import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { beforeAll, describe, expect, it } from 'vitest'
import type { Backend, DeviceTensor } from '../../src/runtime/backend.ts'
import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { type TensorData, tensorData } from '../../src/tensor/data.ts'
import { trainingStep as step } from './graphs.ts'

// Chromium's software adapter, where the machine has no GPU.
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json'
if (existsSync(SWIFTSHADER)) process.env.VK_ICD_FILENAMES ??= SWIFTSHADER
process.env.XDG_RUNTIME_DIR ??= tmpdir()

const initializers = new Map([['rate', tensorData('float32', [1], [0.5])]])
const eye = tensorData('float32', [4, 4], [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1])
const ones = () => tensorData('float32', [4, 4], new Float32Array(16).fill(1))

let backend: Backend
let adapter = false
beforeAll(async () => {
  backend = await nodeBackend('webgpu')
  adapter = await backend.createSession(step, { initializers }).then(
    () => true,
    (error: Error) => {
      expect(error.message).toMatch(
        /^createSession: .*WebGPU adapter.*; install a driver for the GPU, or run on the cpu$/,
      )
      console.warn('skipped: this machine has no WebGPU adapter')
      return false
    },
  )
})

describe('webgpu', () => {
  it('keeps weights on the device between steps', async ({ skip }) => {
    if (!adapter) skip('no WebGPU adapter')
    const session = await backend.createSession(step, { initializers })
    let w: TensorData | DeviceTensor = ones()
    const losses: number[] = []
    for (let i = 0; i < 4; i++) {
      const results = await session.run({ w, x: eye }, { onDevice: ['next'] })
      if ('release' in w) w.release()
      w = results.next
      losses.push(Number((results.loss as TensorData).data[0]))
    }
    expect(losses).toEqual([1, 0.25, 0.0625, 0.015625])
    const device = w as DeviceTensor
    expect(device).toMatchObject({ dtype: 'float32', shape: [4, 4] })
    expect(await device.read()).toEqual(tensorData('float32', [4, 4], new Float32Array(16).fill(0.0625)))
    device.release()
    await expect(device.read()).rejects.toThrow('the device tensor was released')
  })

  it('binds host arrays as the CPU does', async ({ skip }) => {
    if (!adapter) skip('no WebGPU adapter')
    const session = await backend.createSession(step, { initializers })
    const [w, loss] = [ones(), tensorData('float32', [1, 1])]
    const binding = session.bind({ w, x: eye }, { next: w, loss })
    binding.runSync()
    await binding.run()
    expect(loss.data[0]).toBe(0.25)
    expect(w.data[5]).toBe(0.25)
  })

  it('refuses device tensors of another backend', async ({ skip }) => {
    if (!adapter) skip('no WebGPU adapter')
    const cpu = await (await nodeBackend('cpu')).createSession(step, { initializers })
    const { next } = await cpu.run({ w: ones(), x: eye }, { onDevice: ['next'] })
    const session = await backend.createSession(step, { initializers })
    await expect(session.run({ w: next, x: eye })).rejects.toThrow(
      "run: input 'w' is a device tensor of another backend",
    )
  })
})

describe('cuda', () => {
  it('says how to opt in where it is not installed', async ({ skip }) => {
    const backend = await nodeBackend('cuda').catch((error: Error) => error)
    if (!(backend instanceof Error)) skip('CUDA is installed')
    else
      expect(backend.message).toMatch(/providers_cuda.*is missing: install onnxruntime-node with .*JACKDAW_ORT_LIBRARY/)
  })
})
