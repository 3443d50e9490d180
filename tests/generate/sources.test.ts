import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder, type Prompt, writerOf } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { loadModel } from '../../src/load/load.ts'
import '../../src/runtime/node.ts'
import { PARITY_TOLERANCE } from '../parity/parity.ts'

/** A model with an encoder (T5), many sources at a time. */

const SOURCES = [[9, 41, 3, 17, 30, 8, 22, 5], [7], [12, 33, 4, 40, 6, 6, 18, 25, 31, 2, 19], [20, 21]]

let decoder: CachedDecoder

beforeAll(async () => {
  const { model, weights } = await loadModel(fileURLToPath(new URL('../parity/t5', import.meta.url)))
  decoder = await CachedDecoder.create(writerOf(model), weights, { slots: SOURCES.length, capacity: 30 })
})
afterAll(() => decoder.release())

async function answer(engine: Engine, prompt: Prompt, options = {}) {
  const ids: number[] = []
  for await (const event of engine.generate({ ...prompt, maxNewTokens: 12, temperature: 0, ...options })) {
    if (event.type === 'token') ids.push(event.id)
    else if (event.type === 'end') return { ids, promptTokens: event.promptTokens, cachedTokens: event.cachedTokens }
  }
  throw new Error('the answer has no end')
}

describe('several sources in one batch', () => {
  it('give each sequence the logits that it has alone, whatever stands beside it', async () => {
    const answers = [3, 14, 15, 9, 2]
    const alone: Float32Array[][] = []
    for (const sourceIds of SOURCES) {
      await decoder.open(0, { sourceIds })
      const rows = [(await decoder.prefill(0, [0], 0)).slice()]
      for (const [i, id] of answers.entries()) rows.push((await decoder.decode([id], [i + 1])).slice())
      alone.push(rows)
    }
    for (const [slot, sourceIds] of SOURCES.entries()) {
      await decoder.open(slot, { sourceIds })
      await decoder.prefill(slot, [0], 0)
    }
    for (const [i, id] of answers.entries()) {
      const logits = await decoder.decode(
        SOURCES.map(() => id),
        SOURCES.map(() => i + 1),
      )
      for (const slot of SOURCES.keys()) {
        const row = logits.subarray(slot * decoder.vocabSize, (slot + 1) * decoder.vocabSize)
        const expected = alone[slot][i + 1]
        const largest = Math.max(...expected.map(Math.abs))
        for (const [j, value] of row.entries()) {
          expect(Math.abs(value - expected[j]) / largest).toBeLessThan(PARITY_TOLERANCE)
        }
      }
    }
  })

  it('are answered in a crowd as alone, and a source that is asked again is not read again', async () => {
    const alone = []
    for (const sourceIds of SOURCES) alone.push((await answer(new Engine(decoder), { sourceIds })).ids)
    const engine = new Engine(decoder)
    const asked = [...SOURCES, ...SOURCES.slice(1), SOURCES[0], SOURCES[0]]
    const together = await Promise.all(asked.map((sourceIds) => answer(engine, { sourceIds })))
    for (const [i, sourceIds] of asked.entries()) {
      expect(together[i].ids).toEqual(alone[SOURCES.indexOf(sourceIds)])
      expect(together[i].promptTokens).toBe(sourceIds.length)
    }
    expect((await answer(engine, { sourceIds: [...SOURCES[0]] })).cachedTokens).toBe(SOURCES[0].length)
  })

  it('may be answered from a beginning that is given', async () => {
    const [sourceIds] = SOURCES
    const whole = await answer(new Engine(decoder), { sourceIds })
    const promptIds = [0, ...whole.ids.slice(0, 4)]
    expect((await answer(new Engine(decoder), { sourceIds, promptIds }, { maxNewTokens: 8 })).ids).toEqual(
      whole.ids.slice(4),
    )
  })

  it('are searched by beams, of any source, after others were answered', async () => {
    const options = { nBeams: 3, maxNewTokens: 6, stopTokenIds: [1] }
    const first = await beamSearch(decoder, { sourceIds: SOURCES[2] }, options)
    await answer(new Engine(decoder), { sourceIds: SOURCES[1] })
    expect(await beamSearch(decoder, { sourceIds: SOURCES[2] }, options)).toEqual(first)
  })

  it('are needed: a model with an encoder says so, and reads nothing in both directions but them', async () => {
    const engine = new Engine(decoder)
    await expect(answer(engine, { promptIds: [1] })).rejects.toThrow('the model answers a text: give sourceIds')
    await expect(answer(engine, { sourceIds: [] })).rejects.toThrow('the prompt has no tokens')
    await expect(answer(engine, { sourceIds: [1], promptIds: [0], bidirectional: true })).rejects.toThrow(
      'a model with an encoder takes its source in both directions: give sourceIds',
    )
  })
})
