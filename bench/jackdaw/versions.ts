import { createRequire } from 'node:module'

const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string }

/** What jackdaw's figures depend on. */
export const versions = (): Record<string, string> => ({ 'Node.js': process.versions.node, 'ONNX Runtime': version })
