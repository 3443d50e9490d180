/** A forward pass and a training step in fp32: `forward-step.ts bert-base|t5-small`. */

import { type Model, traceModel } from '../../src/nn/model.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { type Tensor, tensorData } from '../../src/tensor/index.ts'
import '../../src/runtime/node.ts'
import { compete, perSecond } from '../contestant.ts'
import { madeUpWeights } from '../files.ts'
import { SHAPED, STEP } from '../model-shapes.ts'
import { versions } from './versions.ts'

const { batch, seq, targetSeq } = STEP

await compete(async () => {
  const name = process.argv[2] as 'bert-base' | 't5-small'
  const model: Model = SHAPED[name]
  const labelled = name === 't5-small' ? targetSeq : seq
  const ids = (length: number) =>
    tensorData(
      'int32',
      [batch, length],
      Int32Array.from({ length: batch * length }, (_, i) => 1 + ((i * 7919) % 30_000)),
    )
  const given = { inputIds: ids(seq), ...(name === 't5-small' && { decoderInputIds: ids(targetSeq) }) }

  const traced = traceModel(model)
  const { logits } = traced.outputs as { logits: Tensor }
  const run = await compile({ ...traced, outputs: { logits } }, madeUpWeights(model))

  const trainer = await Trainer.create({
    objective: (scope, inputs) => ({ loss: model.forward(scope, inputs).loss as Tensor }),
    inputs: {
      inputIds: { dtype: 'int32', shape: [batch, seq] },
      labels: { dtype: 'int32', shape: [batch, labelled] },
    },
    learningRate: constantSchedule(1e-4),
  })
  const feeds = { inputIds: ids(seq).data, labels: ids(labelled).data }
  await run(given)
  await trainer.train(feeds)

  return {
    rounds: {
      forward: (seconds) => perSecond(seconds, batch * seq, () => run(given)),
      step: (seconds) => perSecond(seconds, batch * seq, () => trainer.train(feeds)),
    },
    parameters: trainer.layout.parameterCount,
    versions: versions(),
  }
})
