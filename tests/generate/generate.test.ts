import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder, writerOf } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { loadModel } from '../../src/load/load.ts'
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

/** All runs of a reference folder, answered by our decoding over a cache. */
async function answers(folder: string): Promise<number[][]> {
  const { input_ids: promptIds, runs } = readGeneration(folder)
  const { model, weights } = await loadModel(folder)
  const decoder = await CachedDecoder.create(writerOf(model), weights, { slots: 5 })
  const engine = new Engine(decoder)
  const prompt = decoder.promptOf(promptIds)
  const all: number[][] = []
  for (const run of runs) {
    const stopping = { maxNewTokens: run.max_new_tokens, stopTokenIds: [run.eos_token_id].flat() }
    const ids: number[] = [...decoder.restOf(prompt)]
    if (run.num_beams === 1) {
      for await (const event of engine.generate({ ...prompt, ...stopping, temperature: 0 })) {
        if (event.type === 'token') ids.push(event.id)
      }
    } else {
      const { num_beams: nBeams, length_penalty: lengthPenalty, early_stopping: earlyStopping } = run
      ids.push(...(await beamSearch(decoder, prompt, { ...stopping, nBeams, lengthPenalty, earlyStopping })))
    }
    all.push(ids)
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
