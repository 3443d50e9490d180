import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { sample, samplerFromConfig } from '../../src/generate/samplers.ts'
import { openPipeline } from '../../src/hub/diffusers.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { openSafetensors, readTensors } from '../../src/hub/safetensors.ts'
import { writeSafetensors } from '../../src/hub/safetensors-write.ts'
import { loadModel } from '../../src/load/load.ts'
import { loadPipeline } from '../../src/load/pipeline.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { type TensorData, tensorData } from '../../src/tensor/index.ts'
import { temporaryFolder } from '../hub/temporary.ts'
import { PARITY_TOLERANCE, relativeError } from '../parity/parity.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const FIXTURE = fileURLToPath(new URL('../parity/ddpm-pipeline', import.meta.url))
const root = temporaryFolder()
let count = 0

/** A folder with these texts as files. */
function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = join(root, `pipeline-${count++}`)
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true })
    writeFileSync(join(folder, name), text)
  }
  return folder
}

const DDPM = {
  _class_name: 'DDPMPipeline',
  unet: ['diffusers', 'UNet2DModel'],
  scheduler: ['diffusers', 'DDPMScheduler'],
}

describe('a pipeline that the reference implementation saved', () => {
  it('draws the reference implementation’s pictures from the same noise', async () => {
    const pipeline = await loadPipeline(FIXTURE)
    expect(pipeline.className).toBe('DDPMPipeline')
    expect([...pipeline.components.keys()].sort()).toEqual(['scheduler', 'unet'])
    const { model, weights } = await pipeline.network('unet')
    const recorded = readTensors(join(FIXTURE, 'tensors.safetensors'))
    const noises = Object.keys(recorded).map((_, i) => recorded[`noise.${i}`].data as Float32Array)
    const { shape } = recorded['noise.0']
    const traced = trace((scope, inputs) => ({ sample: model.forward(scope, inputs).sample }), {
      sample: float32(...shape),
      timestep: int32(shape[0]),
    })
    const run = await compile(traced, weights)
    const sampler = samplerFromConfig(pipeline.scheduler(), { steps: 6 })
    const pictures = await sample(run as Parameters<typeof sample>[0], sampler, {
      shape,
      noise: () => noises.shift() as Float32Array,
    })
    run.release()
    expect(noises).toEqual([])
    const brought: TensorData = {
      ...pictures,
      data: (pictures.data as Float32Array).map((x) => Math.min(Math.max(x / 2 + 0.5, 0), 1)),
    }
    const { images } = readTensors(join(FIXTURE, 'outputs.safetensors'))
    expect(relativeError(brought, images)).toBeLessThan(PARITY_TOLERANCE)
  })

  it('has networks that are models of their own, and says so where it is taken for one', async () => {
    expect((await loadModel(join(FIXTURE, 'unet'))).config._class_name).toBe('UNet2DModel')
    const sentence = `is a pipeline ("DDPMPipeline") of unet: name one of these networks, ${join(FIXTURE, 'unet')}`
    expect(() => openCheckpoint(FIXTURE)).toThrow(sentence)
    await expect(loadModel(FIXTURE)).rejects.toThrow(sentence)
    const pipeline = await loadPipeline(FIXTURE)
    await expect(pipeline.network('vae')).rejects.toThrow("has no network 'vae'; it has unet")
    await expect(pipeline.tokenizer()).rejects.toThrow("has no tokenizer 'tokenizer'; it has none")
    await expect(loadPipeline(join(FIXTURE, 'unet'))).rejects.toThrow('has no model_index.json, so it is no pipeline')
  })

  it('may be of the oldest kind, whose one network lies beside the index', async () => {
    const folder = join(root, 'oldest')
    cpSync(join(FIXTURE, 'unet'), folder, { recursive: true })
    cpSync(join(FIXTURE, 'scheduler'), folder, { recursive: true })
    cpSync(join(FIXTURE, 'model_index.json'), join(folder, 'model_index.json'))
    const pipeline = await loadPipeline(folder)
    expect(pipeline.components.get('unet')).toMatchObject({ kind: 'network', path: folder })
    expect(pipeline.scheduler()._class_name).toBe('DDPMScheduler')
    expect((await pipeline.network('unet')).weights.size).toBe((await loadModel(folder)).weights.size)
  })

  it('may call the parameters of attention as the first checkpoints did', async () => {
    const folder = join(root, 'former-names')
    mkdirSync(folder)
    cpSync(join(FIXTURE, 'unet', 'config.json'), join(folder, 'config.json'))
    const file = openSafetensors(join(FIXTURE, 'unet', 'diffusion_pytorch_model.safetensors'))
    const former = (name: string): string =>
      name
        .replace('.to_q.', '.query.')
        .replace('.to_k.', '.key.')
        .replace('.to_v.', '.value.')
        .replace('.to_out.0.', '.proj_attn.')
    const tensors = file
      .names()
      .map((name) => [former(name), tensorData('float32', file.info(name).shape, file.read(name))] as const)
    file.close()
    expect(tensors.some(([name]) => name.endsWith('attentions.0.proj_attn.bias'))).toBe(true)
    await writeSafetensors(join(folder, 'diffusion_pytorch_model.safetensors'), tensors)
    const [old, current] = [await loadModel(folder), await loadModel(join(FIXTURE, 'unet'))]
    expect(new Map([...old.weights].sort())).toEqual(new Map([...current.weights].sort()))
  })
})

describe('the pipelines of ../shared', () => {
  it.skipIf(lacksShared('parity/pipelines'))(
    'are taken apart into networks, samplers’ settings and tokenizers',
    async () => {
      for (const name of readdirSync(sharedPath('parity/pipelines'))) {
        const pipeline = await loadPipeline(sharedPath(`parity/pipelines/${name}`))
        const kinds = Object.fromEntries([...pipeline.components].map(([part, { kind }]) => [part, kind]))
        expect(kinds).toMatchObject({
          unet: 'network',
          vae: 'network',
          text_encoder: 'network',
          scheduler: 'scheduler',
          tokenizer: 'tokenizer',
        })
        expect(kinds).not.toHaveProperty('safety_checker')
        expect(pipeline.settings.get('requires_safety_checker')).toBe(false)
        expect(pipeline.scheduler()._class_name).toMatch(/Scheduler$/)
        expect((await pipeline.tokenizer()).encode('a red cube').length).toBeGreaterThan(2)
        for (const { kind, path } of pipeline.components.values()) {
          if (kind !== 'network') continue
          const checkpoint = openCheckpoint(path)
          expect(checkpoint.names().length).toBeGreaterThan(10)
          checkpoint.close()
        }
        expect(() => openCheckpoint(pipeline.path)).toThrow(
          /is a pipeline \("StableDiffusion\w*"\) of .*: name one of these/,
        )
      }
    },
  )
})

describe('a damaged pipeline', () => {
  const opened =
    (index: unknown, files: Readonly<Record<string, string>> = {}) =>
    () =>
      openPipeline(
        folderOf({ 'model_index.json': typeof index === 'string' ? index : JSON.stringify(index), ...files }),
      )
  const PARTS = { 'unet/config.json': '{}', 'scheduler/scheduler_config.json': '{}' }

  it('says in one sentence what is wrong', () => {
    expect(opened(DDPM, PARTS)().components.size).toBe(2)
    expect(opened('[')).toThrow('is not JSON')
    expect(opened([])).toThrow('is not a JSON object')
    expect(opened({})).toThrow('has no "_class_name"')
    expect(opened({ _class_name: 'P', x: 3, y: [null, null] })).toThrow('names no parts')
    expect(opened(DDPM, { 'unet/config.json': '{}' })).toThrow(
      'names scheduler ("DDPMScheduler"), but scheduler/scheduler_config.json is not there',
    )
    for (const name of ['../unet', '/unet', 'a/b', '.', '..', '', 'a\\b', 'a\0', '-x']) {
      expect(opened({ ...DDPM, [name]: ['diffusers', 'UNet2DModel'] }, PARTS)).toThrow('cannot be the name of a part')
    }
    expect(opened('{"_class_name": "P", "__proto__": ["diffusers", "UNet2DModel"]}')).toThrow('names no parts')
  })

  it('never throws anything but a sentence, and never leads out of its folder', () => {
    const secret = folderOf({ 'config.json': '{}' })
    const name = fc.oneof(
      fc.string(),
      fc.constantFrom('unet', 'scheduler', '..', `../${secret.split('/').at(-1)}`, secret, '__proto__', 'constructor'),
    )
    const value = fc.oneof(
      fc.jsonValue(),
      fc.tuple(
        fc.oneof(fc.constantFrom('diffusers', null), fc.string()),
        fc.oneof(fc.constantFrom('UNet2DModel', 'DDPMScheduler', 'CLIPTokenizer', null), fc.string(), fc.jsonValue()),
      ),
    )
    const folder = folderOf(PARTS)
    fc.assert(
      fc.property(fc.dictionary(name, value), fc.boolean(), (index, isNamed) => {
        const json = JSON.stringify(isNamed ? { _class_name: 'P', ...index } : index)
        writeFileSync(join(folder, 'model_index.json'), json)
        try {
          for (const { path } of openPipeline(folder).components.values()) {
            expect([folder, join(folder, 'unet'), join(folder, 'scheduler')]).toContain(path)
          }
        } catch (error) {
          if ((error as Error).name === 'AssertionError') throw error
          expect(error).not.toBeInstanceOf(TypeError)
          expect((error as Error).message).toMatch(/^[^\n]{1,600}$/)
        }
      }),
      { numRuns: 500 },
    )
  })

  it('is refused whatever bytes its index has', () => {
    const bytes = readFileSync(join(FIXTURE, 'model_index.json'))
    const folder = folderOf(PARTS)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.uint8Array({ minLength: 1, maxLength: 6 }), (at, put) => {
        writeFileSync(
          join(folder, 'model_index.json'),
          Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + put.length)]),
        )
        try {
          openPipeline(folder)
        } catch (error) {
          expect(error).not.toBeInstanceOf(TypeError)
          expect((error as Error).message).toMatch(/^[^\n]{1,600}$/)
        }
      }),
    )
    rmSync(folder, { recursive: true })
    expect(existsSync(folder)).toBe(false)
  })
})
