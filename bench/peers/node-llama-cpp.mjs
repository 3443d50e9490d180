/** Decoding with node-llama-cpp, greedily: `node-llama-cpp.mjs MODEL.gguf`. */

import { CONTEXT, compete, NEW, PROMPT, promptIds, THREADS } from './contestant.mjs'

await compete(async () => {
  const { getLlama, getModuleVersion, LlamaLogLevel } = await import('node-llama-cpp')
  const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.error, maxThreads: THREADS })
  const model = await llama.loadModel({ modelPath: process.argv[2] })
  const context = await model.createContext({ contextSize: CONTEXT, threads: THREADS })
  const sequence = context.getSequence()
  const ids = promptIds(PROMPT, model.fileInfo.metadata.tokenizer.ggml.tokens.length)

  async function decode(seconds) {
    let [spent, done] = [0, 0]
    while (spent < seconds || done === 0) {
      await sequence.clearHistory()
      let start
      let count = -1
      // The first token ends the prompt; the clock starts behind it. Stopping at an end of text is not asked for.
      for await (const _token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
        if (++count === 0) start = performance.now()
        if (count === NEW) break
      }
      spent += (performance.now() - start) / 1000
      done += count
    }
    return done / spent
  }
  await decode(0)
  return { rounds: { decode }, versions: { 'node-llama-cpp': await getModuleVersion() } }
})
