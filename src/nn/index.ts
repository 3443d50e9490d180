/** Layers and what models are made of. */

export * from './attention.ts'
export * from './conv.ts'
export * from './initializers.ts'
export * from './kv-cache.ts'
export * from './layers.ts'
export * from './model.ts'
export * from './noise-schedule.ts'
export * from './positions.ts'
export * from './scope.ts'
export * from './time-embedding.ts'
export * from './trace.ts'
export * from './unet.ts'
