import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { EncoderDecoder, isEncoderDecoder } from '../../src/generate/encoder-decoder.ts'
import { generateTokens } from '../../src/generate/tokens.ts'
import { loadModel } from '../../src/models/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'

interface Run {
  num_beams: number
  length_penalty?: number
  early_stopping?: boolean | 'never'
  max_new_tokens: number
  eos_token_id: number | number[]
  output_ids: number[]
}

const readGeneration = (folder: string): { input_ids: number[]; runs: Run[] } =>
  JSON.parse(readFileSync(`${folder}/generation.json`, 'utf8'))

async function collect(tokens: AsyncIterable<number>): Promise<number[]> {
  const ids: number[] = []
  for await (const id of tokens) ids.push(id)
  return ids
}

/** All runs of a reference folder, answered by our decoding over a cache. */
async function answers(folder: string): Promise<number[][]> {
  const { input_ids: promptIds, runs } = readGeneration(folder)
  const { model, weights } = await loadModel(folder)
  const encoderDecoder = isEncoderDecoder(model) && (await EncoderDecoder.create(model, weights, { slots: 5 }))
  const decoder = encoderDecoder || (await CachedDecoder.create(model as CausalLm, weights, { slots: 5 }))
  const prefix = isEncoderDecoder(model) ? [model.decoderStartTokenId] : promptIds
  const all: number[][] = []
  for (const run of runs) {
    const stopping = { maxNewTokens: run.max_new_tokens, stopTokenIds: [run.eos_token_id].flat() }
    const greedy = { ...stopping, temperature: 0 }
    const beams = {
      ...stopping,
      nBeams: run.num_beams,
      lengthPenalty: run.length_penalty,
      earlyStopping: run.early_stopping,
    }
    const ids =
      decoder instanceof EncoderDecoder
        ? run.num_beams === 1
          ? await collect(decoder.generate(promptIds, greedy))
          : await decoder.beamSearch(promptIds, beams)
        : run.num_beams === 1
          ? await collect(generateTokens(decoder, promptIds, greedy))
          : await beamSearch(decoder, promptIds, beams)
    all.push([...prefix, ...ids])
  }
  decoder.release()
  return all
}

const fixtures = fileURLToPath(new URL('../parity/', import.meta.url))
const names = readdirSync(fixtures).filter((name) => existsSync(`${fixtures}${name}/generation.json`))

describe('greedy and beam search answer with the reference implementation’s tokens', () => {
  it.each(names)('%s', async (name) => {
    const expected = readGeneration(fixtures + name).runs.map(({ output_ids }) => output_ids)
    expect(await answers(fixtures + name)).toEqual(expected)
  })

  for (const name of ['gpt2', 'llama', 't5', 'flan-t5']) {
    const path = `parity/${name}/generation.json`
    it.skipIf(lacksShared(path))(`../shared/${path}`, async () => {
      const folder = sharedPath(`parity/${name}`)
      expect(await answers(folder)).toEqual(readGeneration(folder).runs.map(({ output_ids }) => output_ids))
    })
  }
})
