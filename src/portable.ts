/** The public things that run in Node and in browsers alike. */

export * from './data/char-tokenizer.ts'
export * from './data/loader.ts'
export { StepRandom } from './data/random.ts'
export { TokenDataset, type TokenEncoder } from './data/token-dataset.ts'
export { cartPole } from './data/worlds/cartpole.ts'
export { pendulum } from './data/worlds/pendulum.ts'
export { Environments, type World } from './data/worlds/world.ts'
export { type BeamOptions, type BeamStep, type Candidate, type Hypothesis, searchBeams } from './generate/beam.ts'
export type { Blank } from './generate/decoder.ts'
export { type BlankIds, blankIdsOf, blanksAt, fillBlanks } from './generate/fill-blanks.ts'
export { type AnsweredWord, QuestionAnswerer } from './generate/question-answerer.ts'
export * from './generate/samplers.ts'
export { largestIds, logSumExp } from './generate/sampling.ts'
export { weightsFromSafetensors } from './hub/safetensors-format.ts'
export { modelFromConfig } from './load/registry.ts'
export { ActorCritic } from './models/actor-critic.ts'
export { DDPM_SIZES, UNet2D, UNet2DConfig } from './models/ddpm.ts'
export * from './models/gpt2.ts'
export * from './models/llama.ts'
export { Mqan } from './models/mqan.ts'
export * from './models/resnet.ts'
export * from './models/t5.ts'
/** Layers share names with the ops that they are made of: `nn.linear` has parameters, `linear` is given them. */
export * as nn from './nn/index.ts'
export { type NoiseSchedule, noiseSchedule, predictedX0, qSample } from './nn/noise-schedule.ts'
export { Scope } from './nn/scope.ts'
export {
  checkInputs,
  float32,
  type InputSpec,
  type InputSpecs,
  int32,
  optional,
  type Traced,
  type TraceOptions,
  trace,
} from './nn/trace.ts'
export { decayMatrices, type ParameterGroup } from './optim/flat-parameters.ts'
export * from './optim/language-model.ts'
export * from './optim/recipe.ts'
export * from './optim/schedule.ts'
export * from './optim/trainer.ts'
export type { Backend, Binding, DeviceTensor, Provider, Session } from './runtime/backend.ts'
export { compile, type LiveWeights, type Program, type Weights } from './runtime/compile.ts'
export { type Compiled, type CompileOptions, compileGraph, jit } from './runtime/compiled.ts'
export * from './tensor/index.ts'
export { type BpeTrainingOptions, trainByteLevelBpe } from './text/bpe-trainer.ts'
export { type Tokenizer, tokenizerFromJson } from './text/tokenizer.ts'
export { ddpmLoss, uniformTimesteps } from './train/diffusion.ts'
export {
  type Actor,
  CONTROL_SETTINGS,
  type ControlSettings,
  chooseAction,
  learnControl,
  openActor,
  PENDULUM_SETTINGS,
  playEpisodes,
} from './train/ppo-control.ts'
export { ensembleInputs, ensembleObjective, preferenceLoss, RewardEnsemble } from './train/preferences.ts'
