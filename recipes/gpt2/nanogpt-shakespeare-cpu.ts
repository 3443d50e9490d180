/**
 * nanoGPT's setting for a CPU on tinyshakespeare (character level): 4 layers, 4 heads, width 128, context 64, batch 12,
 * 2,000 steps, no dropout: 0.8M parameters, minutes. Its published validation loss is 1.88, over 20 random batches.
 *
 *     jackdaw train nanogpt-shakespeare-cpu --set data=tinyshakespeare.txt --out runs/shakespeare
 */

import { readFileSync, statSync } from 'node:fs'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { RandomWindows, SequentialWindows } from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { heldOutLoss, languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'

/** The same network and setting in PyTorch, the mean of three seeds (1.889, 1.880, 1.899), over the whole held-out split. */
const IN_PYTORCH = 1.889
const TOLERANCE = 0.015

export default recipe({
  paper: 'gpt2',
  claim: `nanoGPT’s CPU setting on tinyshakespeare: a validation loss within ${TOLERANCE} of PyTorch’s ${IN_PYTORCH} in 2,000 steps`,
  settings: {
    data: '',
    steps: 2000,
    seed: 1337,
    evalEvery: 250,
    checkpointEvery: 500,
    nLayers: 4,
    nHeads: 4,
    dModel: 128,
    seq: 64,
    batch: 12,
    learningRate: 1e-3,
    minLearningRate: 1e-4,
    warmupSteps: 100,
    weightDecay: 0.1,
    beta2: 0.99,
  },
  async run({ settings, trainer, trainLoop, claim }) {
    if (!statSync(settings.data, { throwIfNoEntry: false })?.isFile()) {
      throw new Error(`--set data=FILE: a text file to learn, such as tinyshakespeare.txt; got '${settings.data}'`)
    }
    const text = readFileSync(settings.data, 'utf8')
    const tokenizerJson = charTokenizerJson(text)
    const tokens = TokenDataset.fromText(tokenizerFromJson(tokenizerJson), text)
    const { train, validation } = tokens.split(0.9)
    const shape = { batch: settings.batch, seq: settings.seq }
    const loader = new RandomWindows(train, shape, settings.seed)
    const scoring = new SequentialWindows(validation, { batch: 64, seq: settings.seq })
    const model = new GPT2({
      vocabSize: tokens.vocabSize,
      maxPositions: settings.seq,
      dModel: settings.dModel,
      nLayers: settings.nLayers,
      nHeads: settings.nHeads,
      activation: 'gelu',
      embeddingDropout: 0,
      attentionDropout: 0,
      residualDropout: 0,
    })
    const { valLoss } = await trainLoop({
      trainer: await trainer({
        objective: nextTokenObjective(model),
        inputs: languageModelInputs(settings.batch, settings.seq),
        learningRate: cosineSchedule(settings.learningRate, {
          steps: settings.steps,
          warmupSteps: settings.warmupSteps,
          minimum: settings.minLearningRate,
        }),
        beta2: settings.beta2,
        weightDecay: settings.weightDecay,
      }),
      steps: settings.steps,
      batches: (step) => ({ ...loader.batchAt(step) }),
      perStep: { tokens: settings.batch * settings.seq },
      evaluate: heldOutLoss(scoring),
      save: { model, files: { 'tokenizer.json': JSON.stringify(tokenizerJson) } },
    })
    claim({ valLoss }, valLoss <= IN_PYTORCH + TOLERANCE)
  },
})
