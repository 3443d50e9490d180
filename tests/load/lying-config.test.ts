import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { CachedDecoder, isWriter } from '../../src/generate/decoder.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { loadModel } from '../../src/load/load.ts'
import { forward } from '../../src/load/run.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'

const PARITY = fileURLToPath(new URL('../parity/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-lying-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** One of every architecture. */
const MODELS = [
  'llama',
  'llama-rope-yarn',
  'mistral',
  'qwen2-windows',
  'qwen3',
  'gemma3-pattern',
  'gpt1',
  'gpt2',
  'gpt-neo',
  'codegen',
  't5-gated',
  'resnet-paper',
  'unet-no-middle',
]
const LIES = [1e9, 2 ** 31, 2 ** 53, 1e300, -1, 0]

type Json = Record<string, unknown>

/** The folder of a model with another config.json. */
function lying(model: string, config: Json): string {
  const target = join(folder, `${model}-${Math.random().toString(36).slice(2)}`)
  mkdirSync(target)
  const weights = config._class_name === undefined ? 'model.safetensors' : 'diffusion_pytorch_model.safetensors'
  symlinkSync(join(PARITY, model, weights), join(target, weights))
  writeFileSync(join(target, 'config.json'), JSON.stringify(config))
  return target
}

const configOf = (model: string): Json => JSON.parse(readFileSync(join(PARITY, model, 'config.json'), 'utf8'))

/** Every config that has one number changed, those in lists and objects among them. */
function* lies(value: unknown, lie: number, path: string[] = []): Generator<{ path: string; value: unknown }> {
  if (typeof value === 'number') yield { path: path.join('.'), value: lie }
  else if (Array.isArray(value)) {
    for (const [i, item] of value.entries()) {
      for (const inner of lies(item, lie, [...path, `${i}`])) yield { ...inner, value: value.with(i, inner.value) }
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      for (const inner of lies(item, lie, [...path, key])) yield { ...inner, value: { ...value, [key]: inner.value } }
    }
  }
}

describe('a config.json that lies about its sizes', () => {
  it.each(MODELS)('costs one sentence at most, and neither time nor memory: %s', async (model) => {
    for (const lie of LIES) {
      for (const { path, value } of lies(configOf(model), lie)) {
        const [start, before] = [performance.now(), process.memoryUsage().rss]
        const failure = await loadModel(lying(model, value as Json)).then(
          () => undefined,
          (error: unknown) => error,
        )
        const about = `${path}: ${lie}`
        expect(performance.now() - start, about).toBeLessThan(2000)
        expect(process.memoryUsage().rss - before, about).toBeLessThan(300e6)
        if (failure === undefined) continue
        expect(failure, about).toBeInstanceOf(Error)
        expect((failure as Error).message, about).not.toMatch(/\n|internal|undefined|is not a function|Maximum call/)
      }
    }
  })

  it('is answered with the parameter that the file lacks', async () => {
    const load = (change: Json) => loadModel(lying('llama', { ...configOf('llama'), ...change }))
    await expect(load({ num_hidden_layers: 1e9 })).rejects.toThrow(
      'the checkpoint has no parameter model.layers.2.input_layernorm.weight, which its config.json calls for',
    )
    await expect(load({ vocab_size: 1e9 })).rejects.toThrow(
      'parameter model.embed_tokens.weight is [47, 16] in the checkpoint; its config.json makes it [1000000000, 16]',
    )
  })

  it('is answered so where only the decoder has too many layers', async () => {
    for (const num_decoder_layers of LIES.slice(0, 4)) {
      await expect(loadModel(lying('t5', { ...configOf('t5'), num_decoder_layers }))).rejects.toThrow(
        /^(the checkpoint has no parameter decoder\.|config\.json is not a T5 configuration: num_decoder_layers)/,
      )
    }
  })

  it('may have a damaged generation_config.json beside it, which is a sentence, too', async () => {
    const path = lying('llama', configOf('llama'))
    for (const [text, message] of [
      ['{', 'generation_config.json: is not JSON'],
      ['null', 'generation_config.json: is not a JSON object'],
    ]) {
      writeFileSync(join(path, 'generation_config.json'), text)
      await expect(loadModel(path)).rejects.toThrow(message)
    }
  })

  it('may name any number of positions: tables are as long as what is computed', async () => {
    const path = lying('llama', { ...configOf('llama'), max_position_embeddings: 1e9 })
    const { model, weights } = await loadModel(path)
    if (!isWriter(model)) throw new Error('no writer')
    const before = process.memoryUsage().rss
    const decoder = await CachedDecoder.create(model, weights, { capacity: 32 })
    const logits = Float32Array.from(await decoder.prefill(0, [1, 2, 3], 0))
    decoder.release()
    const open = (path: string) => forwardOf(path, [1, 2, 3])
    const honest = await open(join(PARITY, 'llama'))
    expect(await open(path)).toEqual(honest)
    for (const [i, value] of logits.entries()) expect(value).toBeCloseTo(honest[i], 5)
    // Without a capacity, no more than any real model's.
    const longest = await CachedDecoder.create(model, weights)
    expect(longest.capacity).toBe(131_072)
    longest.release()
    expect(process.memoryUsage().rss - before).toBeLessThan(500e6)
  })
})

/** Logits after the last of the tokens. */
async function forwardOf(path: string, ids: readonly number[]): Promise<number[]> {
  const checkpoint = openCheckpoint(path)
  try {
    const { logits } = await forward(checkpoint, { input_ids: tensorData('int32', [1, ids.length], [...ids]) })
    return Array.from(logits.data as Float32Array).slice(-logits.shape[2])
  } finally {
    checkpoint.close()
  }
}
