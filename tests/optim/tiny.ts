import { GPT2, type GPT2Config } from '../../src/models/gpt2.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import type { Batch } from '../../src/optim/runner.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import type { TrainerOptions } from '../../src/optim/trainer.ts'

/** The smallest GPT that has every part, and batches for it. */

export const VOCAB = 13
export const SEQ = 16

export const tinyGpt = (config: Partial<GPT2Config> = {}): GPT2 =>
  new GPT2({
    vocabSize: VOCAB,
    maxPositions: SEQ,
    dModel: 32,
    nLayers: 2,
    nHeads: 2,
    embeddingDropout: 0,
    attentionDropout: 0,
    residualDropout: 0,
    ...config,
  })

export function tinyOptions(
  { batch = 4, dropout = 0 } = {},
  options: Partial<TrainerOptions> = {},
): TrainerOptions & { model: GPT2 } {
  const model = tinyGpt({ embeddingDropout: dropout, residualDropout: dropout, attentionDropout: dropout })
  return {
    model,
    objective: nextTokenObjective(model),
    inputs: languageModelInputs(batch, SEQ),
    learningRate: constantSchedule(3e-3),
    ...options,
  }
}

/** Counting sequences modulo the vocabulary, from a start and with a stride that depend on the step and the row. */
export function countingBatch(step: number, batch = 4): Batch {
  const at = (row: number, t: number): number => (7 * step + 3 * row + (1 + ((step + row) % 3)) * t) % VOCAB
  const fill = (shift: number) =>
    Int32Array.from({ length: batch * SEQ }, (_, i) => at(Math.floor(i / SEQ), (i % SEQ) + shift))
  return { inputIds: fill(0), shiftLabels: fill(1) }
}
