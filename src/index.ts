/** jackdaw in Node: tensors, models, training, text. */

import './runtime/node.ts'

export { loadTokens, saveTokens } from './data/token-file.ts'
export {
  completions,
  evaluateHumanEval,
  type HumanEvalResult,
  readProblems,
} from './eval/code/human-eval.ts'
export { type ProgramResult, runProgram, Sandbox, type Verdict } from './eval/code/sandbox.ts'
export { type EvaluateOptions, evaluate, type TaskRun } from './eval/harness.ts'
export { logLikelihoods, type Score, type ScoringRequest } from './eval/log-likelihoods.ts'
export { corpusBleu, sentenceBleu } from './eval/metrics/bleu.ts'
export { exactMatch } from './eval/metrics/exact-match.ts'
export { passAtK } from './eval/metrics/pass-at-k.ts'
export { rouge } from './eval/metrics/rouge.ts'
export { resultsTable } from './eval/results.ts'
export { type Family, scalingChart } from './eval/scaling.ts'
export { findTask } from './eval/tasks/index.ts'
export { CachedDecoder, type Prompt } from './generate/decoder.ts'
export { Engine } from './generate/engine.ts'
export { type Episode, rollout } from './generate/rollout.ts'
export { generate, load, type TextOptions } from './generate/text.ts'
export type { ChatMessage, ServedModel } from './generate/types.ts'
export { loadModel } from './load/load.ts'
export { loadPipeline, type Pipeline } from './load/pipeline.ts'
export { type RunOptions, type RunReport, runRecipe } from './optim/run.ts'
export * from './portable.ts'
export { reasonByExample } from './prompt/chain-of-thought.ts'
export { causalFiller, fillTemplate, maskedFiller } from './prompt/cloze.ts'
export { answerFreely, chooseAnswers, fewShotPrompt } from './prompt/few-shot.ts'
export { type LanguageModel, openLanguageModel } from './prompt/language-model.ts'
export { openMaskedModel } from './prompt/masked-model.ts'
export { classify, ensemble, type Verbalizer } from './prompt/verbalizer.ts'
export { zeroShotReason } from './prompt/zero-shot-cot.ts'
export { loadTokenizer, saveTokenizer } from './text/load.ts'
