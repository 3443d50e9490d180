import { readdir, stat } from 'node:fs/promises'
import { SingleBar } from 'cli-progress'
import { Command, Option } from 'commander'
import { withDownloadBar } from './download-bar.ts'

const FILE_TYPES = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0', 'q4_1'] as const
/** Of ONNX models. */
const BLOCK_TYPES = ['q8', 'q4', 'q4s'] as const
const TYPES = [...FILE_TYPES, ...BLOCK_TYPES] as const

interface Flags {
  quantize?: (typeof TYPES)[number]
  force?: boolean
}

export const convertCommand = (): Command =>
  new Command('convert')
    .description('convert a model: safetensors, GGUF, ONNX, or a folder in the Hugging Face layout, by the names')
    .argument('<source>', 'a .gguf, .safetensors or .onnx file, a model folder, or hf:owner/name')
    .argument('<target>', 'a .gguf, .safetensors or .onnx file, or a folder')
    .addOption(new Option('--quantize <type>', 'what the weights become; q8, q4 and q4s are for ONNX').choices(TYPES))
    .option('--force', 'overwrite the target')
    .addHelpText(
      'after',
      '\nExample:\n  jackdaw convert model.gguf model-folder\n  jackdaw convert model-folder model.gguf --quantize q8_0',
    )
    .action(async (source: string, target: string, flags: Flags) => {
      if (!flags.force) await refuseToOverwrite(target)
      if (target.endsWith('.onnx')) return toOnnx(source, target, flags)
      const [{ convertModel }, { resolveModelRef }, { tokenizerFromGguf }, { saveTokenizer }] = await Promise.all([
        import('../hub/convert.ts'),
        import('../hub/open.ts'),
        import('../text/gguf-tokenizer.ts'),
        import('../text/load.ts'),
      ])
      const { isAdapterFolder } = await import('../hub/adapter.ts')
      const path = /^(hf|gguf):/.test(source)
        ? (await withDownloadBar((onProgress) => resolveModelRef(source, { onProgress }))).path
        : source
      const adapted = isAdapterFolder(path) ? await adaptedSource(path) : undefined
      const bar = process.stderr.isTTY
        ? new SingleBar({ format: '{bar} {value}/{total} {name}', stream: process.stderr, clearOnComplete: true })
        : undefined
      try {
        const result = await convertModel(
          adapted?.path ?? path,
          target,
          {
            quantize: fileType(flags.quantize),
            onTensor: (name, index, count) => {
              if (index === 0) bar?.start(count, 0, { name })
              bar?.update(index + 1, { name })
            },
          },
          (metadata, folder) => saveTokenizer(tokenizerFromGguf(metadata), folder),
          adapted?.open ?? (source.endsWith('.onnx') ? (await import('../load/onnx-file.ts')).openOnnx : undefined),
        )
        bar?.stop()
        for (const note of result.notes) process.stderr.write(`note: ${note}\n`)
        process.stderr.write(`${target}: ${result.tensors} tensors\n`)
      } finally {
        bar?.stop()
      }
    })

/** An empty folder is no model. */
async function refuseToOverwrite(target: string): Promise<void> {
  const found = await stat(target).catch(() => undefined)
  if (!found || (found.isDirectory() && (await readdir(target)).length === 0)) return
  throw new Error(`${target}: is there already; choose another name, or add --force to overwrite it`)
}

/** An adapter's base, which is opened with the adapter merged into it. */
async function adaptedSource(folder: string) {
  const { openAdapted } = await import('../load/load.ts')
  const { files, open } = await withDownloadBar((onProgress) => openAdapted(folder, { onProgress }))
  if (files.kind === 'gguf') {
    throw new Error(
      `${folder}: its base is ${files.path}, which a merged model cannot be written from: convert that to a folder, and name the folder in adapter_config.json`,
    )
  }
  return { path: files.path, open }
}

async function toOnnx(source: string, target: string, { quantize }: Flags): Promise<void> {
  const block = BLOCK_TYPES.find((type) => type === quantize)
  if (quantize && !block) {
    throw new Error(`--quantize ${quantize} is for safetensors and GGUF; an ONNX model takes q8, q4 or q4s`)
  }
  const { exportOnnx } = await import('../load/onnx-file.ts')
  const count = await withDownloadBar((onProgress) => exportOnnx(source, target, { quantize: block, onProgress }))
  process.stderr.write(`${target}: ${count} tensors\n`)
}

function fileType(type: Flags['quantize']): Uppercase<(typeof FILE_TYPES)[number]> | undefined {
  const known = FILE_TYPES.find((file) => file === type)
  if (type && !known) throw new Error(`--quantize ${type} is for ONNX models; here, say q8_0 or q4_0`)
  return known?.toUpperCase() as ReturnType<typeof fileType>
}
