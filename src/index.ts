/** jackdaw in Node: tensors, models, training, text. */

import './runtime/node.ts'

export { loadTokens, saveTokens } from './data/token-file.ts'
export {
  completions,
  evaluateHumanEval,
  type HumanEvalResult,
  passAtK,
  readProblems,
} from './eval/code/human-eval.ts'
export { type ProgramResult, runProgram, Sandbox, type Verdict } from './eval/code/sandbox.ts'
export { logLikelihoods, type Score, type ScoringRequest } from './eval/log-likelihoods.ts'
export { CachedDecoder, type Prompt } from './generate/decoder.ts'
export { Engine } from './generate/engine.ts'
export { type Episode, rollout } from './generate/rollout.ts'
export { generate, load, type TextOptions } from './generate/text.ts'
export type { ChatMessage, ServedModel } from './generate/types.ts'
export { loadModel } from './load/load.ts'
export { loadPipeline, type Pipeline } from './load/pipeline.ts'
export { type RunOptions, type RunReport, runRecipe } from './optim/run.ts'
export * from './portable.ts'
export { loadTokenizer, saveTokenizer } from './text/load.ts'
