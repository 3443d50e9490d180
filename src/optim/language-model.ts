import type { LanguageModelBatch, SequentialWindows } from '../data/loader.ts'
import type { CausalLm } from '../nn/model.ts'
import type { Scope } from '../nn/scope.ts'
import { type InputSpec, int32 } from '../nn/trace.ts'
import { crossEntropySum, type SumAndCount, type Tensor, type TensorData } from '../tensor/index.ts'
import type { Trainer } from './trainer.ts'

/**
 * Generative pre-training (Radford et al., 2018, §3.1, eq. 1): the mean of −log p(token | those before it). `shiftLabels`
 * are the tokens that follow, as the loaders of `data/` give them.
 */
export const nextTokenObjective =
  (model: CausalLm) =>
  (scope: Scope, { inputIds, shiftLabels }: Record<string, Tensor>): { loss: SumAndCount } => ({
    loss: crossEntropySum(model.forward(scope, { inputIds }).logits, shiftLabels),
  })

/** The inputs of a language model's step. */
export const languageModelInputs = (batch: number, seq: number): Record<'inputIds' | 'shiftLabels', InputSpec> => ({
  inputIds: int32(batch, seq),
  shiftLabels: int32(batch, seq),
})

/**
 * For `trainLoop`'s `evaluate`: the loss over a whole held-out split, every token once.
 *
 * @param split - of the shape that its batches have
 * @param name - which of the objective's answers, where what is trained has more to it. Default `loss`
 */
export const heldOutLoss =
  (split: SequentialWindows, name = 'loss') =>
  async (trainer: Trainer): Promise<{ valLoss: number }> => {
    const { batch, seq } = split.shape
    const evaluator = await trainer.evaluator(languageModelInputs(batch, seq))
    try {
      return { valLoss: (await evaluator.mean(feeds(split, [batch, seq])))[name] }
    } finally {
      evaluator.release()
    }
  }

function* feeds(
  batches: Iterable<LanguageModelBatch>,
  shape: readonly number[],
): Generator<Record<'inputIds' | 'shiftLabels', TensorData>> {
  for (const { inputIds, shiftLabels } of batches) {
    yield {
      inputIds: { dtype: 'int32', shape, data: inputIds },
      shiftLabels: { dtype: 'int32', shape, data: shiftLabels },
    }
  }
}
