import type { LanguageModelBatch, SequentialWindows } from '../data/loader.ts'
import type { CausalLm } from '../nn/model.ts'
import { crossEntropy } from '../tensor/index.ts'
import type { Evaluator, InputSpec, Objective, Trainer } from './trainer.ts'

/**
 * Generative pre-training (Radford et al., 2018, §3.1, eq. 1): the mean of −log p(token | those before it). `shiftLabels`
 * are the tokens that follow, as the loaders of `data/` give them.
 */
export const nextTokenObjective =
  (model: CausalLm): Objective =>
  (scope, { inputIds, shiftLabels }) => ({ loss: crossEntropy(model.forward(scope, { inputIds }).logits, shiftLabels) })

/** The inputs of a language model's step. */
export const languageModelInputs = (batch: number, seq: number): Record<'inputIds' | 'shiftLabels', InputSpec> => ({
  inputIds: { dtype: 'int32', shape: [batch, seq] },
  shiftLabels: { dtype: 'int32', shape: [batch, seq] },
})

/** Mean loss over a whole split: each batch counts by the labels it has. */
export async function meanLoss(
  evaluator: Evaluator,
  batches: Iterable<LanguageModelBatch>,
  shape: readonly number[],
): Promise<number> {
  let [sum, count] = [0, 0]
  for (const { inputIds, shiftLabels } of batches) {
    const valid = shiftLabels.reduce((n, label) => n + (label >= 0 ? 1 : 0), 0)
    const { loss } = await evaluator.run({
      inputIds: { dtype: 'int32', shape, data: inputIds },
      shiftLabels: { dtype: 'int32', shape, data: shiftLabels },
    })
    sum += loss * valid
    count += valid
  }
  return sum / count
}

/**
 * For `trainLoop`'s `evaluate`: the loss over a whole held-out split, every token once.
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
