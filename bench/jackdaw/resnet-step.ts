/** A training step of a ResNet-18 with a 3 × 3 stem on 32 × 32 pictures, batch 64. */

import { RESNET_SIZES, ResNet } from '../../src/models/resnet.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import type { Tensor } from '../../src/tensor/index.ts'
import '../../src/runtime/node.ts'
import { compete, perSecond } from '../contestant.ts'
import { versions } from './versions.ts'

const BATCH = 64

await compete(async () => {
  const model = new ResNet({ ...RESNET_SIZES['resnet-18'], stem: 'cifar', nLabels: 10 })
  const trainer = await Trainer.create({
    objective: (scope, { pixelValues, labels }) => {
      const { loss } = model.forward(scope, { pixelValues, labels })
      return { loss: loss as Tensor }
    },
    inputs: {
      pixelValues: { dtype: 'float32', shape: [BATCH, 3, 32, 32] },
      labels: { dtype: 'int32', shape: [BATCH] },
    },
    learningRate: constantSchedule(1e-3),
  })
  const feeds = {
    pixelValues: Float32Array.from({ length: BATCH * 3 * 32 * 32 }, () => 2 * Math.random() - 1),
    labels: Int32Array.from({ length: BATCH }, (_, i) => i % 10),
  }
  const step = () => trainer.train(feeds)
  await step()
  return {
    rounds: { step: (seconds) => perSecond(seconds, BATCH, step) },
    parameters: trainer.layout.parameterCount,
    versions: versions(),
  }
})
