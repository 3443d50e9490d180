/**
 * Decoding jackdaw's ONNX file as transformers.js does: `transformers-js.mjs MODEL.onnx`.
 *
 * transformers.js knows decoders by the names of Optimum's exports (`input_ids`, `past_key_values.0.key`) and has no
 * place for others, so its loop is written out here on the onnxruntime-node that it brings: one `run` a token, the
 * presents that come out handed back in as pasts.
 */

import { createRequire } from 'node:module'
import { compete, NEW, PROMPT, promptIds, THREADS } from './contestant.mjs'

await compete(async () => {
  const transformers = createRequire(import.meta.resolve('@huggingface/transformers'))
  const ort = transformers('onnxruntime-node')
  const { version } = transformers('onnxruntime-node/package.json')
  const session = await ort.InferenceSession.create(process.argv[2], {
    intraOpNumThreads: THREADS,
    executionProviders: ['cpu'],
  })
  const pasts = session.inputNames.filter((name) => name.startsWith('past.'))
  const shapes = new Map(session.inputMetadata.map(({ name, shape }) => [name, shape]))
  const int32 = (values, dims) => new ort.Tensor('int32', Int32Array.from(values), dims)
  const empty = (name) => {
    const [, heads, , headDim] = shapes.get(name)
    return new ort.Tensor('float32', new Float32Array(0), [1, heads, 0, headDim])
  }

  const best = ({ data }) => {
    let found = 0
    for (let i = 1; i < data.length; i++) if (data[i] > data[found]) found = i
    return found
  }

  async function forward(ids, past, cache) {
    const outputs = await session.run({
      inputIds: int32(ids, [1, ids.length]),
      logitsAt: int32([ids.length - 1], [1]),
      pastLengths: int32([past], [1]),
      totalLength: int32([past + ids.length], [1]),
      ...cache,
    })
    const next = Object.fromEntries(pasts.map((name) => [name, outputs[name.replace('past', 'present')]]))
    return { token: best(outputs.logits), cache: next, vocabSize: outputs.logits.data.length }
  }

  const { vocabSize } = await forward([0], 0, Object.fromEntries(pasts.map((name) => [name, empty(name)])))
  const ids = promptIds(PROMPT, vocabSize)

  async function decode(seconds) {
    let [spent, done] = [0, 0]
    while (spent < seconds || done === 0) {
      let { token, cache } = await forward(ids, 0, Object.fromEntries(pasts.map((name) => [name, empty(name)])))
      const start = performance.now()
      for (let i = 0; i < NEW; i++) ({ token, cache } = await forward([token], PROMPT + i, cache))
      spent += (performance.now() - start) / 1000
      done += NEW
    }
    return done / spent
  }
  await decode(0)
  return { rounds: { decode }, versions: { 'onnxruntime-node (of transformers.js)': version } }
})
