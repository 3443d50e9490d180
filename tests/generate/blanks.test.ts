import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { generateCommand } from '../../src/cli/generate.ts'
import { beamSearch, searchBeams } from '../../src/generate/beam.ts'
import { CachedDecoder, type Prompt } from '../../src/generate/decoder.ts'
import { Engine } from '../../src/generate/engine.ts'
import { blankPrompt, fillBlanks, filledText } from '../../src/generate/fill-blanks.ts'
import { loadServedModel } from '../../src/generate/served.ts'
import { loadModel } from '../../src/load/load.ts'
import { GLM } from '../../src/models/glm.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { tensorData } from '../../src/tensor/index.ts'
import { trainByteLevelBpe } from '../../src/text/bpe-trainer.ts'
import { drawnWeights } from './tiny.ts'

const SPECIALS = { maskIds: [1, 2, 3], restId: 3, startId: 4, endId: 5 }
const VOCABULARY = 31
const model = new GLM({ vocabSize: VOCABULARY, maxPositions: 60, dModel: 16, nLayers: 2, nHeads: 2 })
const weights = drawnWeights(model)
/** Two blanks, the second at the end. */
const TEXT = [7, 8, 1, 9, 10, 11, 12, 1]
const MOST = 6

/** Logits after the last token of a prompt, by one pass over all of it. */
async function fullLogits({ promptIds = [], blanks = [] }: Prompt): Promise<Float32Array> {
  const inputIds = [...promptIds, ...blanks.flatMap(({ ids }) => ids)]
  const inText = [...promptIds.keys(), ...blanks.flatMap(({ at, ids }) => ids.map(() => at))]
  const inBlank = [...promptIds.map(() => 0), ...blanks.flatMap(({ ids }) => ids.map((_, i) => i + 1))]
  const { length } = inputIds
  const specs = { inputIds: int32(1, length), positionIds: int32(1, 2, length), sep: int32(1) }
  const run = await compile(
    trace((scope, inputs) => ({ logits: model.forward(scope, inputs).logits }), specs),
    weights,
  )
  const { logits } = await run({
    inputIds: tensorData('int32', [1, length], inputIds),
    positionIds: tensorData('int32', [1, 2, length], [...inText, ...inBlank]),
    sep: tensorData('int32', [1], [promptIds.length]),
  })
  run.release()
  return (logits.data as Float32Array).slice(-VOCABULARY)
}

/** The prompt with more tokens in its last blank. */
const goneOn = (prompt: Prompt, ids: readonly number[]): Prompt => {
  const blanks = prompt.blanks ?? []
  const last = blanks[blanks.length - 1]
  return { ...prompt, blanks: [...blanks.slice(0, -1), { ...last, ids: [...last.ids, ...ids] }] }
}

async function greedyByFullPasses(prompt: Prompt): Promise<number[]> {
  const ids: number[] = []
  while (ids.length < MOST && ids[ids.length - 1] !== SPECIALS.endId) {
    const logits = await fullLogits(goneOn(prompt, ids))
    ids.push(logits.indexOf(Math.max(...logits)))
  }
  return ids
}

describe('filling blanks', () => {
  let decoder: CachedDecoder
  beforeAll(async () => {
    decoder = await CachedDecoder.create(model, weights, { slots: 4 })
  })
  afterAll(() => decoder.release())

  const greedy = async (engine: Engine, prompt: Prompt): Promise<number[]> => {
    const ids: number[] = []
    const request = { ...prompt, maxNewTokens: MOST, temperature: 0, stopTokenIds: [SPECIALS.endId] }
    for await (const event of engine.generate(request)) if (event.type === 'token') ids.push(event.id)
    return ids
  }

  it('over a cache writes what full passes do, one blank after the other', async () => {
    const engine = new Engine(decoder)
    const prompts: Prompt[] = []
    const filled = await fillBlanks(TEXT, SPECIALS, async (prompt) => {
      prompts.push(prompt)
      const written = await greedy(engine, prompt)
      expect(written).toEqual(await greedyByFullPasses(prompt))
      return written
    })
    expect(filled.length).toBe(2)
    expect(prompts[1].blanks).toEqual([
      { at: 2, ids: [4, ...filled[0]] },
      { at: 7, ids: [4] },
    ])
    expect(filledText(TEXT, filled, SPECIALS)).toEqual([7, 8, ...filled[0], 9, 10, 11, 12, ...filled[1]])
  })

  it('sees what is after a blank, and which blanks are filled with what', async () => {
    const [first, second] = [[], [[20, 21]]].map((filled) => blankPrompt(TEXT, filled, SPECIALS))
    const other = blankPrompt(TEXT, [[22]], SPECIALS)
    const changed = blankPrompt([...TEXT.slice(0, -2), 13, 1], [], SPECIALS)
    const logits = await Promise.all([first, second, other, changed].map(fullLogits))
    for (const one of logits) for (const two of logits) if (one !== two) expect(one).not.toEqual(two)
  })

  it('searches with beams as over full passes', async () => {
    const prompt = blankPrompt(TEXT, [[20, 21, 22]], SPECIALS)
    const options = { nBeams: 3, maxNewTokens: MOST, stopTokenIds: [SPECIALS.endId], lengthPenalty: 0.7 }
    let written: number[][] = [[]]
    const [best] = await searchBeams(
      await fullLogits(prompt),
      async (tokens, order) => {
        written = tokens.map((id, i) => [...written[order[i]], id])
        const rows = await Promise.all(written.map((ids) => fullLogits(goneOn(prompt, ids))))
        return Float32Array.from(rows.flatMap((row) => [...row]))
      },
      options,
    )
    expect(await beamSearch(decoder, prompt, options)).toEqual(best.ids)
  })

  it('answers each text in a crowd as alone, and again', async () => {
    const texts = [TEXT, [9, 1, 9], [7, 8, 1, 9, 10, 11, 12, 14], [6, 6, 3], TEXT, [...TEXT, 8]]
    const prompts = texts.map((ids, i) => blankPrompt(ids, i === 4 ? [[30]] : [], SPECIALS))
    const alone = []
    for (const prompt of prompts) alone.push(await greedyByFullPasses(prompt))
    const engine = new Engine(decoder)
    for (let time = 0; time < 2; time++) {
      expect(await Promise.all(prompts.map((prompt) => greedy(engine, prompt)))).toEqual(alone)
    }
  })

  it('is refused by a model that does not fill blanks, and of a prompt that is read one way', () => {
    const { bidirectional: _, ...oneWay } = blankPrompt(TEXT, [], SPECIALS)
    expect(() => decoder.restOf(oneWay)).toThrow('blanks are for a model that fills them')
  })
})

describe('jackdaw generate, with a model that fills blanks,', () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-glm-'))
  const names = ['<|endoftext|>', '[MASK]', '[sMASK]', '[gMASK]', '<|startofpiece|>', '<|endofpiece|>']

  beforeAll(async () => {
    const json = trainByteLevelBpe(['the jackdaw is a small crow'], { vocabSize: 262, specialTokens: names })
    const writer = new GLM({ vocabSize: 262, maxPositions: 80, dModel: 16, nLayers: 1, nHeads: 2 })
    const files = { 'tokenizer.json': JSON.stringify(json) }
    await saveModel(folder, { model: writer, weights: drawnWeights(writer), files })
  })
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  afterEach(() => vi.restoreAllMocks())

  async function generate(...args: string[]): Promise<string> {
    let output = ''
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
      output += chunk
      return true
    })
    await generateCommand()
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .parseAsync([folder, ...args], { from: 'user' })
    return output
  }

  it('fills them from left to right, and prints the text', async () => {
    const text = 'The [MASK] is a [sMASK] crow.'
    const { outputIds, text: whole, blanks } = JSON.parse(await generate(text, '--max-new-tokens', '12', '--json'))
    expect(blanks.length).toBe(2)
    expect(whole).toBe(`The ${blanks[0]} is a ${blanks[1]} crow.`)
    const { tokenizer } = await loadModel(folder)
    const [start] = [tokenizer?.idOf('<|startofpiece|>')]
    expect(outputIds.filter((id: number) => id === start).length).toBe(2)
    expect(await generate(text, '--max-new-tokens', '12')).toBe(`${whole}\n`)
    const beams = JSON.parse(await generate(text, '--max-new-tokens', '12', '--num-beams', '3', '--json'))
    expect(beams.blanks.length).toBe(2)
    const drawn = () => generate(text, '--max-new-tokens', '12', '--top-p', '0.9', '--seed', '5')
    expect(await drawn()).toBe(await drawn())
  })

  it('is served: an answer is what belongs into the blank', async () => {
    const served = await loadServedModel(folder)
    const answer = async (text: string) => {
      let said = ''
      const promptIds = await served.encode(text)
      for await (const event of served.generate({ promptIds, maxNewTokens: 12, temperature: 0 })) {
        if (event.type === 'token') said += event.text
      }
      return said
    }
    const { blanks } = JSON.parse(await generate('The [MASK] is.', '--max-new-tokens', '12', '--json'))
    expect(await answer('The [MASK] is.')).toBe(blanks[0])
    expect(await answer('The')).toBe(await answer('The[gMASK]'))
    await expect(answer('[MASK] and [MASK]')).rejects.toThrow('has 2 blanks')
  })

  it('goes on with a text that has none', async () => {
    const { outputIds, text, blanks } = JSON.parse(await generate('The', '--max-new-tokens', '5', '--json'))
    expect(blanks.length).toBe(1)
    expect(text).toBe(`The${blanks[0]}`)
    const { tokenizer } = await loadModel(folder)
    expect(outputIds.slice(0, 4)).toEqual([...(tokenizer?.encode('The[gMASK]') ?? [])].slice(0, 4))
    await expect(generate('The', '--stop', 'x')).rejects.toThrow('leave --stop out')
  })
})
