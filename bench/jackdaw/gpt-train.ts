/** A training step of a GPT: `gpt-train.ts SIZE`. */

import { compete, perSecond } from '../contestant.ts'
import { gptTrainer } from './gpt-trainer.ts'
import { versions } from './versions.ts'

await compete(async () => {
  const { trainer, loader, shape } = await gptTrainer(process.argv[2])
  const step = () => trainer.train({ ...loader.next() })
  for (let i = 0; i < 3; i++) await step()
  return {
    rounds: { step: (seconds) => perSecond(seconds, shape.batch * shape.seq, step) },
    parameters: trainer.layout.parameterCount,
    versions: versions(),
  }
})
