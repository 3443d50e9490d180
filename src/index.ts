/** jackdaw in Node: tensors, models, training, text. */

import './runtime/node.ts'

export { loadTokens, saveTokens } from './data/token-file.ts'
export * from './portable.ts'
export { loadTokenizer, saveTokenizer } from './text/load.ts'
export { type RunOptions, type RunReport, runRecipe } from './train/run.ts'
