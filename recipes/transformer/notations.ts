/**
 * The Transformer translates between notations: numbers and dates as they are said into what is written, `four hundred
 * and two thousand and five` into 402005, `the third of march nineteen oh five` into 1905-03-03. A tenth of all numbers and
 * days is never trained on. The paper's own ways: label smoothing, the warm-up schedule, the mean of the last five
 * checkpoints, beams with its length penalty. Minutes for each of three seeds.
 *
 *     jackdaw train transformer/notations --out runs/notations
 *     jackdaw generate runs/notations 'seven hundred and four thousand and nine' --num-beams 4
 */

import { dayWords, NOTATION_WORDS, numberWords, yearWords } from '../../src/data/notations.ts'
import { StepRandom } from '../../src/data/random.ts'
import { wordTokenizerJson } from '../../src/data/word-tokenizer.ts'
import { beamSearch } from '../../src/generate/beam.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { AS_IN_THE_PAPER, Transformer } from '../../src/models/transformer.ts'
import { int32 } from '../../src/nn/trace.ts'
import { averageWeights } from '../../src/optim/average.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { transformerSchedule } from '../../src/optim/schedule.ts'
import type { LiveWeights, Weights } from '../../src/runtime/compile.ts'
import { crossEntropySum } from '../../src/tensor/index.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

const [PAD, END, UNKNOWN] = [0, 1, 2]
const SPECIAL = ['<pad>', '</s>', '<unk>']
/** Tokens of the longest text on either side, the end included. */
const [SOURCE, TARGET] = [13, 11]
const IGNORED = -100

const tokenizerJson = wordTokenizerJson([...NOTATION_WORDS, ...'0123456789-'], {
  ...{ specialTokens: SPECIAL, unknown: SPECIAL[UNKNOWN], end: SPECIAL[END], fused: true },
})
const tokenizer = tokenizerFromJson(tokenizerJson)

interface Pair {
  readonly said: string
  readonly written: string
}

const twoDigits = (n: number): string => `${n}`.padStart(2, '0')

/** A number of one to six digits, each length as often, or a day of 1900 to 2099. */
function drawPair(random: StepRandom): Pair {
  if (random.uniform() < 0.5) {
    const digits = 1 + random.below(6)
    const n = digits === 1 ? random.below(10) : 10 ** (digits - 1) + random.below(9 * 10 ** (digits - 1))
    return { said: numberWords(n), written: `${n}` }
  }
  const [year, month, monthFirst] = [1900 + random.below(200), 1 + random.below(12), random.uniform() < 0.5]
  const day = 1 + random.below(new Date(Date.UTC(year, month, 0)).getUTCDate())
  const said = `${dayWords(month, day, monthFirst)} ${yearWords(year)}`
  return { said, written: `${year}-${twoDigits(month)}-${twoDigits(day)}` }
}

/** A tenth of all that can be written, always the same. */
function isHeldOut({ written }: Pair): boolean {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(written)) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0) % 10 === 0
}

function drawWhere(random: StepRandom, wanted: (pair: Pair) => boolean): Pair {
  for (;;) {
    const pair = drawPair(random)
    if (wanted(pair)) return pair
  }
}

/** The same for every seed; each is there once. */
function heldOutPairs(count: number): Pair[] {
  const random = new StepRandom(99, 0)
  const pairs = new Map<string, Pair>()
  while (pairs.size < count) {
    const pair = drawWhere(random, isHeldOut)
    pairs.set(pair.said, pair)
  }
  return [...pairs.values()]
}

const sourceIds = ({ said }: Pair): number[] => tokenizer.encode(said)
const targetIds = ({ written }: Pair): number[] => tokenizer.encode([...written].join(' '))

export default recipe({
  paper: 'transformer',
  claim:
    'numbers and dates as they are said, translated into digits: at least 95 % of those never trained on exactly, by beams no fewer than greedily, at three seeds',
  settings: {
    data: '',
    steps: 1500,
    seed: 1337,
    seeds: 3,
    evalEvery: 250,
    checkpointEvery: 500,
    batch: 64,
    dModel: 96,
    nLayers: 2,
    nHeads: 4,
    dropout: 0.1,
    labelSmoothing: 0.1,
    warmupSteps: 300,
    /** Of the paper's schedule, which is for larger models. */
    rateFactor: 0.5,
    beams: 4,
    lengthPenalty: 0.6,
    /** The last so many are averaged; they are so many steps apart. */
    averaged: 5,
    averagedEvery: 25,
    /** Pairs that are translated at the end; at every evaluation, a fifth of them. */
    heldOut: 1000,
  },
  async run({ settings, stage, trainer, steps, log, save, sample, say, claim }) {
    const { batch, averaged, averagedEvery } = settings
    const model = new Transformer({
      ...AS_IN_THE_PAPER,
      vocabSize: tokenizer.vocabSize,
      maxPositions: 32,
      dModel: settings.dModel,
      dInner: 4 * settings.dModel,
      nLayers: settings.nLayers,
      nHeads: settings.nHeads,
      dropout: settings.dropout,
      padTokenId: PAD,
      endTokenIds: [END],
      forcedEndTokenId: END,
    })
    const heldOut = heldOutPairs(settings.heldOut)

    /** The share that is translated exactly, greedily and by beams. */
    async function exact(weights: Weights | LiveWeights, pairs: readonly Pair[]) {
      const decoder = await CachedDecoder.create(model, weights, { slots: 16 })
      const options = { maxNewTokens: TARGET + 2, stopTokenIds: [END] }
      const isRight = (pair: Pair, ids: readonly number[]): boolean => `${ids}` === `${targetIds(pair)}`
      const greedy = await rollout(decoder, pairs.map(sourceIds), { ...options, temperature: 0 })
      const { beams: nBeams, lengthPenalty } = settings
      const searching = { ...options, nBeams, lengthPenalty, lengthNorm: 'gnmt' } as const
      let found = 0
      for (const pair of pairs) {
        if (isRight(pair, await beamSearch(decoder, { sourceIds: sourceIds(pair) }, searching))) found++
      }
      decoder.release()
      const right = greedy.filter(({ ids }, i) => isRight(pairs[i], ids)).length
      return { greedy: right / pairs.length, beams: found / pairs.length }
    }

    const measured: Record<string, number> = {}
    for (let i = 0; i < settings.seeds; i++) {
      const seed = settings.seed + i
      const trained = await stage(`seed-${seed}`, async () => {
        const translator = await trainer({
          objective: (scope, { inputIds, attentionMask, labels }) => {
            const { logits } = model.forward(scope, { inputIds, attentionMask, labels })
            return { loss: crossEntropySum(logits, labels, { labelSmoothing: settings.labelSmoothing }) }
          },
          inputs: {
            inputIds: int32(batch, SOURCE),
            attentionMask: int32(batch, SOURCE),
            labels: int32(batch, TARGET),
          },
          learningRate: transformerSchedule(settings.dModel, {
            warmupSteps: settings.warmupSteps,
            factor: settings.rateFactor,
          }),
          ...{ beta1: 0.9, beta2: 0.98, epsilon: 1e-9, weightDecay: 0 },
        })
        const evaluate = () => exact(translator, heldOut.slice(0, Math.ceil(heldOut.length / 5)))
        const loop = { steps: settings.steps, trainers: { translator }, perStep: { pairs: batch }, evaluate }
        for await (const { step, random } of steps(loop)) {
          const inputIds = new Int32Array(batch * SOURCE).fill(PAD)
          const attentionMask = new Int32Array(batch * SOURCE)
          const labels = new Int32Array(batch * TARGET).fill(IGNORED)
          for (let row = 0; row < batch; row++) {
            const pair = drawWhere(random, (pair) => !isHeldOut(pair))
            const source = sourceIds(pair)
            inputIds.set(source, row * SOURCE)
            attentionMask.fill(1, row * SOURCE, row * SOURCE + source.length)
            labels.set(targetIds(pair), row * TARGET)
          }
          log(await translator.train({ inputIds, attentionMask, labels }))
          const left = settings.steps - 1 - step
          if (left % averagedEvery === 0 && left / averagedEvery < averaged) {
            await save({ model, weights: translator, folder: `last-${left / averagedEvery}` })
          }
        }
        return { last: await exact(translator, heldOut) }
      })
      const mean = averageWeights(Array.from({ length: averaged }, (_, k) => trained.weights(`last-${k}`)))
      const scored = await stage(`averaged-${seed}`, async () => exact(mean, heldOut))
      const { last } = trained.value
      say(`seed ${seed}: ${JSON.stringify({ last, averaged: scored.value })}`)
      measured[`greedy${seed}`] = scored.value.greedy
      measured[`beams${seed}`] = scored.value.beams
      measured[`last${seed}`] = last.greedy
      if (i > 0) continue
      await save({ model, weights: mean, files: { 'tokenizer.json': JSON.stringify(tokenizerJson) } })
      const decoder = await CachedDecoder.create(model, mean, { slots: 16 })
      const shown = heldOut.slice(0, 12)
      const answers = await rollout(decoder, shown.map(sourceIds), { temperature: 0, stopTokenIds: [END] })
      const textOf = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: true })
      await sample(
        'translated',
        shown.map(({ said }, k) => ({ said, written: textOf(answers[k].ids) })),
      )
      decoder.release()
    }
    const of = (name: string): number[] =>
      Object.entries(measured).flatMap(([key, value]) => (key.startsWith(name) ? [value] : []))
    const [greedy, beams] = [of('greedy'), of('beams')]
    claim(
      measured,
      greedy.every((share, i) => share >= 0.95 && beams[i] >= share),
    )
  },
})
