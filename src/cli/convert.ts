import { SingleBar } from 'cli-progress'
import { Command, Option } from 'commander'
import { withDownloadBar } from './download-bar.ts'

const TYPES = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0', 'q4_1', 'q8', 'q4'] as const

interface Flags {
  quantize?: (typeof TYPES)[number]
}

export const convertCommand = (): Command =>
  new Command('convert')
    .description('convert a model: safetensors, GGUF, ONNX, or a folder in the Hugging Face layout, by the names')
    .argument('<source>', 'a .gguf, .safetensors or .onnx file, a model folder, or hf:owner/name')
    .argument('<target>', 'a .gguf, .safetensors or .onnx file, or a folder')
    .addOption(new Option('--quantize <type>', 'what the weights become; q8 and q4 are for ONNX').choices(TYPES))
    .addHelpText(
      'after',
      '\nExample:\n  jackdaw convert model.gguf model-folder\n  jackdaw convert model-folder model.gguf --quantize q8_0',
    )
    .action(async (source: string, target: string, flags: Flags) => {
      if (target.endsWith('.onnx')) return toOnnx(source, target, flags)
      const [{ convertModel }, { resolveModelRef }, { tokenizerFromGguf }, { saveTokenizer }] = await Promise.all([
        import('../hub/convert.ts'),
        import('../hub/open.ts'),
        import('../text/gguf-tokenizer.ts'),
        import('../text/load.ts'),
      ])
      const path = /^(hf|gguf):/.test(source)
        ? (await withDownloadBar((onProgress) => resolveModelRef(source, { onProgress }))).path
        : source
      const bar = process.stderr.isTTY
        ? new SingleBar({ format: '{bar} {value}/{total} {name}', stream: process.stderr, clearOnComplete: true })
        : undefined
      try {
        const result = await convertModel(
          path,
          target,
          {
            quantize: fileType(flags.quantize),
            onTensor: (name, index, count) => {
              if (index === 0) bar?.start(count, 0, { name })
              bar?.update(index + 1, { name })
            },
          },
          (metadata, folder) => saveTokenizer(tokenizerFromGguf(metadata), folder),
          source.endsWith('.onnx') ? (await import('../load/onnx-file.ts')).openOnnx : undefined,
        )
        bar?.stop()
        for (const note of result.notes) process.stderr.write(`note: ${note}\n`)
        process.stderr.write(`${target}: ${result.tensors} tensors\n`)
      } finally {
        bar?.stop()
      }
    })

async function toOnnx(source: string, target: string, { quantize }: Flags): Promise<void> {
  if (quantize && quantize !== 'q4' && quantize !== 'q4_0' && quantize !== 'q8') {
    throw new Error(`--quantize ${quantize} is for safetensors and GGUF; an ONNX model takes q8, q4 or q4_0`)
  }
  const { exportOnnx } = await import('../load/onnx-file.ts')
  const count = await withDownloadBar((onProgress) => exportOnnx(source, target, { quantize, onProgress }))
  process.stderr.write(`${target}: ${count} tensors\n`)
}

function fileType(
  type: Flags['quantize'],
): Uppercase<Exclude<NonNullable<Flags['quantize']>, 'q8' | 'q4'>> | undefined {
  if (type === 'q8' || type === 'q4') throw new Error(`--quantize ${type} is for ONNX models; here, say q8_0 or q4_0`)
  return type?.toUpperCase() as ReturnType<typeof fileType>
}
