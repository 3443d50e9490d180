/**
 * DDPM on handwritten digits at 16 × 16: a U-Net of 0.7M parameters learns the noise in them (algorithm 1) and draws new
 * ones (algorithm 2). A small ResNet, trained first, says which of them are digits, and guides a second drawing towards
 * the digits that are asked for (Dhariwal and Nichol, 2021, arXiv 2105.05233, algorithm 1).
 *
 *     npm ci --prefix recipes/digits
 *     jackdaw train ddpm/digits --out runs/digits
 */

import { digitsFolder, halved, type Pictures, padded, pick, readDigits } from '../../src/data/digits.ts'
import { StepRandom } from '../../src/data/random.ts'
import { type Denoiser, ddpmSampler, guidance, sample } from '../../src/generate/samplers.ts'
import { UNet2D } from '../../src/models/ddpm.ts'
import { cifarConfig, ResNet } from '../../src/models/resnet.ts'
import { noiseSchedule, predictedX0 } from '../../src/nn/noise-schedule.ts'
import { float32, int32, trace } from '../../src/nn/trace.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { constantSchedule, cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import { compile, type LiveWeights, type Weights } from '../../src/runtime/compile.ts'
import { crossEntropySum, logSoftmax, type Tensor, takeAlongAxis, tensorData } from '../../src/tensor/index.ts'
import { ddpmLoss, uniformTimesteps } from '../../src/train/diffusion.ts'

const SIZE = 16
/** A digit is recognised where the classifier gives one class this much. */
const SURE = 0.9

const shapeOf = (count: number): readonly [number, number, number, number] => [count, 1, SIZE, SIZE]

const classifier = new ResNet({ ...cifarConfig(1), nChannels: 1 })

const unet = new UNet2D({
  sampleSize: SIZE,
  inChannels: 1,
  outChannels: 1,
  channels: [32, 64],
  layersPerBlock: 1,
  downBlocks: ['DownBlock2D', 'AttnDownBlock2D'],
  upBlocks: ['AttnUpBlock2D', 'UpBlock2D'],
  normGroups: 8,
  headDim: 'channels',
})

/** log p(class | picture): [batch, 10] */
const classLogProbs = (...[scope, inputs]: Parameters<ResNet['forward']>): Tensor =>
  logSoftmax(classifier.forward(scope, inputs).logits as Tensor)

/** What the classifier says of pictures: the likeliest digit of each, and its probability. */
async function classify(weights: Weights | LiveWeights, pixels: Float32Array) {
  const said = await compile(
    trace((scope, { pixelValues }) => ({ logProbs: classLogProbs(scope, { pixelValues }) }), {
      pixelValues: float32('batch', 1, SIZE, SIZE),
    }),
    weights,
  )
  const count = pixels.length / SIZE ** 2
  const { logProbs } = await said({ pixelValues: tensorData('float32', shapeOf(count), pixels) })
  said.release()
  return Array.from({ length: count }, (_, i) => {
    const row = Array.from(logProbs.data.subarray(10 * i, 10 * (i + 1)) as Float32Array)
    const best = Math.max(...row)
    return { digit: row.indexOf(best), probability: Math.exp(best) }
  })
}

const share = (hits: readonly boolean[]): number => hits.filter(Boolean).length / hits.length

export default recipe({
  paper: 'ddpm',
  claim: `a small U-Net on digits: at least 80 % of what it draws is recognised (one class has ${SURE}), and of what is drawn under guidance, 80 % is the digit asked for`,
  settings: {
    data: '',
    steps: 2000,
    seed: 1337,
    evalEvery: 500,
    checkpointEvery: 500,
    batch: 32,
    learningRate: 1e-3,
    warmupSteps: 100,
    /** Of the averaged parameters, which draw (appendix B). */
    emaDecay: 0.995,
    /** T */
    noiseLevels: 1000,
    classifierSteps: 500,
    /** Of each kind, in so many steps. */
    drawings: 50,
    drawingSteps: 200,
    /** s of algorithm 1. */
    guidanceScale: 3,
  },
  async run({ settings, stage, trainer, trainLoop, picture, say, signal, claim }) {
    const { train, validation } = readDigits(settings.data || digitsFolder())
    const [digits, heldOut] = [train, validation].map((pictures) => padded(halved(pictures), SIZE))
    const batchAt = (step: number): Pictures => {
      const random = new StepRandom(settings.seed, step)
      return pick(
        digits,
        Array.from({ length: settings.batch }, () => random.below(digits.count)),
      )
    }

    const recogniser = await stage('classifier', async () => {
      const { accuracy } = await trainLoop({
        trainer: await trainer({
          objective: (scope, { pixelValues, labels }) => ({
            loss: crossEntropySum(classifier.forward(scope, { pixelValues }).logits as Tensor, labels),
          }),
          inputs: { pixelValues: float32(...shapeOf(settings.batch)), labels: int32(settings.batch) },
          learningRate: constantSchedule(2e-3, { warmupSteps: 20 }),
        }),
        steps: settings.classifierSteps,
        evalEvery: 0,
        perStep: { pictures: settings.batch },
        batches: (step) => {
          const { pixels, labels } = batchAt(step)
          return { pixelValues: pixels, labels }
        },
        evaluate: async (trained) => {
          const answers = await classify(trained, heldOut.pixels)
          return { accuracy: share(answers.map(({ digit }, i) => digit === heldOut.labels[i])) }
        },
        save: { model: classifier },
      })
      return accuracy
    })
    say(`the classifier knows ${(100 * recogniser.value).toFixed(1)} % of the digits that it has not seen`)

    const schedule = noiseSchedule({ steps: settings.noiseLevels })
    const painter: Trainer = await trainer({
      objective: (scope, { x0 }) => ({
        loss: ddpmLoss(scope, unet, x0, uniformTimesteps(scope, x0.shape[0], schedule), schedule),
      }),
      inputs: { x0: float32(...shapeOf(settings.batch)) },
      learningRate: cosineSchedule(settings.learningRate, { steps: settings.steps, warmupSteps: settings.warmupSteps }),
      weightDecay: 0,
      beta2: 0.999,
      emaDecay: settings.emaDecay,
    })
    const held = { x0: tensorData('float32', shapeOf(heldOut.count), heldOut.pixels) }
    const { heldOutLoss } = await trainLoop({
      trainer: painter,
      steps: settings.steps,
      perStep: { pictures: settings.batch },
      batches: (step) => ({ x0: batchAt(step).pixels }),
      evaluate: async (trained) => {
        const evaluator = await trained.evaluator({ x0: float32(...shapeOf(heldOut.count)) }, { averaged: true })
        const { loss } = await evaluator.mean([held])
        evaluator.release()
        return { heldOutLoss: loss }
      },
      save: { model: unet, averaged: true },
    })

    const count = settings.drawings
    const weights = new Map([...recogniser.weights(), ...(await painter.weights({ averaged: true }))])
    const inputs = { sample: float32(...shapeOf(count)), timestep: int32(count) }
    const draw = async (name: string, denoise: Denoiser): Promise<Float32Array> => {
      say(`drawing: ${name}`)
      const options = { shape: shapeOf(count), seed: settings.seed, signal }
      const drawn = await sample(denoise, ddpmSampler(schedule, { steps: settings.drawingSteps }), options)
      await picture(name, drawn, { columns: 10 })
      return drawn.data as Float32Array
    }

    const plain = await compile(
      trace((scope, { sample, timestep }) => ({ sample: unet.forward(scope, { sample, timestep }).sample }), inputs),
      weights,
    )
    const free = await classify(recogniser.weights(), await draw('drawn', plain))
    plain.release()

    // Ten of each row: 0, 1, …, 9.
    const wanted = tensorData(
      'int32',
      [count, 1],
      Int32Array.from({ length: count }, (_, i) => i % 10),
    )
    const guided = await compile(
      trace(
        (scope, { sample, timestep, wanted }) => {
          const { sample: noise } = unet.forward(scope, { sample, timestep })
          const pixelValues = predictedX0(sample, timestep, noise, schedule)
          const logProbs = classLogProbs(scope.at('classifier').frozen(), { pixelValues })
          const score = takeAlongAxis(logProbs, wanted, 1)
          return { sample: noise, gradient: guidance(sample, score, settings.guidanceScale) }
        },
        { ...inputs, wanted: int32(count, 1) },
      ),
      weights,
    )
    const asked = await classify(recogniser.weights(), await draw('guided', (inputs) => guided({ ...inputs, wanted })))
    guided.release()

    const recognised = share(free.map(({ probability }) => probability >= SURE))
    const asAsked = share(asked.map(({ digit }, i) => digit === i % 10))
    claim({ heldOutLoss, accuracy: recogniser.value, recognised, asAsked }, recognised >= 0.8 && asAsked >= 0.8)
  },
})
