import { RandomWindows } from '../../src/data/loader.ts'
import { TokenDataset } from '../../src/data/token-dataset.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import '../../src/runtime/node.ts'
import { GPT_SIZES, type GptSize } from '../gpt-sizes.ts'

/** A GPT in training as recipes set one up, on made-up text. */
export async function gptTrainer(size: string): Promise<{ trainer: Trainer; loader: RandomWindows; shape: GptSize }> {
  const shape = GPT_SIZES[size]
  const { nLayers, nHeads, dModel, seq, batch, vocabSize } = shape
  const model = new GPT2({
    vocabSize,
    maxPositions: seq,
    dModel,
    nLayers,
    nHeads,
    activation: 'gelu',
    bias: false,
    embeddingDropout: 0,
    attentionDropout: 0,
    residualDropout: 0,
  })
  const trainer = await Trainer.create({
    objective: nextTokenObjective(model),
    inputs: languageModelInputs(batch, seq),
    learningRate: () => 1e-3,
    weightDecay: 0.01,
  })
  const loader = new RandomWindows(TokenDataset.from(madeUpTokens(vocabSize), vocabSize), { batch, seq }, 1)
  return { trainer, loader, shape }
}

/** The same stream of tokens as in peers/gpt_train.py: a sequence that a model can learn. */
function madeUpTokens(vocabSize: number): Uint16Array {
  const tokens = new Uint16Array(200_000)
  let state = 7
  for (let i = 0; i < tokens.length; i++) {
    state = (state * 5 + (i % 3) + 3) % Math.min(vocabSize, 61)
    tokens[i] = state
  }
  return tokens
}
