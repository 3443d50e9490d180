/** A step of supervised fine-tuning with LoRA on every linear layer: `lora-sft.ts MODEL`. */

import { loadModel } from '../../src/load/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import '../../src/runtime/node.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { Lora } from '../../src/train/lora.ts'
import { SftBatches, sftInputs, sftObjective } from '../../src/train/sft.ts'
import { compete, perSecond } from '../contestant.ts'
import { LORA_SFT } from '../lora-sft.ts'
import { versions } from './versions.ts'

await compete(async () => {
  const { batch, seq, rank, alpha } = LORA_SFT
  const { model, weights, releaseFiles } = await loadModel(process.argv[2], { mapped: true })
  // Conversations that fill a row, the second half of each an answer: the peers' attention would not keep several apart.
  const conversations = Array.from({ length: 64 }, (_, k) => ({
    inputIds: Array.from({ length: seq }, (_, t) => (k * 31 + t * 7) % 4096),
    answer: Array.from({ length: seq }, (_, t) => t >= seq / 2),
  }))
  const batches = new SftBatches(conversations, { batch, seq }, 1)
  const trainer = await Trainer.create({
    objective: sftObjective(new Lora(model as CausalLm, { rank, alpha })),
    inputs: sftInputs(batch, seq, batches.answers),
    learningRate: () => 1e-4,
    weights: weights as Map<string, TensorData>,
    missing: 'init',
  })
  releaseFiles()
  const step = () => trainer.train({ ...batches.batchAt(trainer.step) })
  for (let i = 0; i < 2; i++) await step()
  return {
    rounds: {
      step: (seconds) => perSecond(seconds, batch * seq, step),
      memory: () => (16 * 2 ** 20) / process.resourceUsage().maxRSS,
    },
    parameters: trainer.layout.parameterCount,
    versions: versions(),
  }
})
