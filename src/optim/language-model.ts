import type { SequentialWindows } from '../data/loader.ts'
import type { CausalLm } from '../nn/model.ts'
import { crossEntropy } from '../tensor/index.ts'
import { meanLoss } from './recipe.ts'
import type { InputSpec, Objective, Trainer } from './trainer.ts'

/**
 * Generative pre-training (Radford et al., 2018, §3.1, eq. 1): the mean of −log p(token | those before it). `labels` are
 * the tokens that follow, as the loaders of `data/` give them.
 */
export const nextTokenObjective =
  (model: CausalLm): Objective =>
  (scope, { inputIds, labels }) => ({ loss: crossEntropy(model.forward(scope, { inputIds }).logits, labels) })

/** The inputs of a language model's step. */
export const languageModelInputs = (batch: number, seq: number): Record<'inputIds' | 'labels', InputSpec> => ({
  inputIds: { dtype: 'int32', shape: [batch, seq] },
  labels: { dtype: 'int32', shape: [batch, seq] },
})

/**
 * For a recipe's `evaluate`: the loss over a whole held-out split, every token once.
 *
 * @param split - of the shape that its batches have
 */
export const heldOutLoss =
  (split: SequentialWindows) =>
  async (trainer: Trainer): Promise<{ valLoss: number }> => {
    const { batch, seq } = split.shape
    const evaluator = await trainer.evaluator(languageModelInputs(batch, seq))
    try {
      return { valLoss: await meanLoss(evaluator, split, [batch, seq]) }
    } finally {
      evaluator.release()
    }
  }
