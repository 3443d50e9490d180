/** The decoding graph of a model in 4 bits as one ONNX file: `export-onnx.ts MODEL TARGET`. */

import { renameSync, writeFileSync } from 'node:fs'
import { openDecoder } from './decoder.ts'

const [, , model, target] = process.argv
const decoder = await openDecoder(model, 1)
writeFileSync(`${target}.partial`, decoder.toOnnx())
renameSync(`${target}.partial`, target)
