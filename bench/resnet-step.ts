/**
 * A training step (forward, backward, clipping, AdamW) of a ResNet-18 with a 3 × 3 stem on 32 × 32 pictures, beside
 * PyTorch eager's on as many threads. Rounds alternate; medians and their ratio are printed.
 *
 * `PYTHON` names a Python that has torch; `ROUNDS` (default 7), `BATCH` (default 64).
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { RESNET_SIZES, ResNet } from '../src/models/resnet.ts'
import '../src/runtime/node.ts'
import { defaultThreads } from '../src/runtime/threads.ts'
import type { Tensor } from '../src/tensor/index.ts'
import { constantSchedule } from '../src/train/schedule.ts'
import { Trainer } from '../src/train/trainer.ts'

const rounds = Number(process.env.ROUNDS ?? 7)
const batch = Number(process.env.BATCH ?? 64)
const threads = defaultThreads()

const script = process.env.RESNET_PEER ?? fileURLToPath(new URL('./peers/resnet_step.py', import.meta.url))
const peer = spawn(process.env.PYTHON ?? 'python3', [script, `${batch}`, `${threads}`], {
  stdio: ['pipe', 'pipe', 'inherit'],
})
const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]()
const answer = async (): Promise<string> => {
  const { value, done } = await lines.next()
  if (done) throw new Error('the peer ended: set PYTHON to a Python that has torch')
  return value
}
const peerParameters = Number((await answer()).split(' ')[0])

const model = new ResNet({ ...RESNET_SIZES['resnet-18'], stem: 'cifar', nLabels: 10 })
const trainer = await Trainer.create({
  objective: (scope, { pixelValues, labels }) => {
    const { loss } = model.forward(scope, { pixelValues, labels })
    return { loss: loss as Tensor }
  },
  inputs: { pixelValues: { dtype: 'float32', shape: [batch, 3, 32, 32] }, labels: { dtype: 'int32', shape: [batch] } },
  learningRate: constantSchedule(1e-3),
})
if (trainer.layout.parameterCount !== peerParameters) {
  throw new Error(`the peer has ${peerParameters} parameters, this model ${trainer.layout.parameterCount}`)
}
const feeds = {
  pixelValues: Float32Array.from({ length: batch * 3 * 32 * 32 }, () => 2 * Math.random() - 1),
  labels: Int32Array.from({ length: batch }, (_, i) => i % 10),
}

const ours = async (): Promise<number> => {
  const start = performance.now()
  await trainer.train([feeds])
  return performance.now() - start
}
const theirs = async (): Promise<number> => {
  peer.stdin.write('step\n')
  return Number((await answer()).split(' ')[0])
}
const median = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[times.length >> 1]

await ours()
await theirs()
const [own, other]: [number[], number[]] = [[], []]
for (let round = 0; round < rounds; round++) {
  own.push(await ours())
  other.push(await theirs())
}
peer.stdin.end()
await once(peer, 'exit')
trainer.release()

const picturesPerSecond = (times: readonly number[]): string => ((batch * 1000) / median(times)).toFixed(1)
console.log(`ResNet-18, 32 × 32, batch ${batch}, ${threads} threads, medians of ${rounds} alternating rounds`)
console.log(
  `jackdaw  ${median(own).toFixed(0)} ms (fastest ${Math.min(...own).toFixed(0)}), ${picturesPerSecond(own)} pictures/s`,
)
console.log(
  `PyTorch  ${median(other).toFixed(0)} ms (fastest ${Math.min(...other).toFixed(0)}), ${picturesPerSecond(other)} pictures/s`,
)
console.log(
  `ratio    ${(median(other) / median(own)).toFixed(2)}× (of the fastest rounds ${(Math.min(...other) / Math.min(...own)).toFixed(2)}×)`,
)
