import { SingleBar } from 'cli-progress'
import { Command, Option } from 'commander'

const TYPES = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0', 'q4_1'] as const

interface Flags {
  quantize?: (typeof TYPES)[number]
}

export const convertCommand = (): Command =>
  new Command('convert')
    .description('convert a model: safetensors, GGUF, or a folder in the Hugging Face layout, by the names')
    .argument('<source>', 'a .gguf or .safetensors file, a model folder, or hf:owner/name')
    .argument('<target>', 'a .gguf or .safetensors file, or a folder')
    .addOption(new Option('--quantize <type>', 'what the weights become').choices(TYPES))
    .addHelpText(
      'after',
      '\nExample:\n  jackdaw convert model.gguf model-folder\n  jackdaw convert model-folder model.gguf --quantize q8_0',
    )
    .action(async (source: string, target: string, flags: Flags) => {
      const [{ convertModel }, { resolveModelRef }, { tokenizerFromGguf }, { saveTokenizer }] = await Promise.all([
        import('../hub/convert.ts'),
        import('../hub/open.ts'),
        import('../text/gguf-tokenizer.ts'),
        import('../text/load.ts'),
      ])
      const path = /^(hf|gguf):/.test(source) ? (await resolveModelRef(source)).path : source
      const bar = process.stderr.isTTY
        ? new SingleBar({ format: '{bar} {value}/{total} {name}', stream: process.stderr, clearOnComplete: true })
        : undefined
      try {
        const result = await convertModel(
          path,
          target,
          {
            quantize: flags.quantize?.toUpperCase() as Uppercase<NonNullable<Flags['quantize']>> | undefined,
            onTensor: (name, index, count) => {
              if (index === 0) bar?.start(count, 0, { name })
              bar?.update(index + 1, { name })
            },
          },
          (metadata, folder) => saveTokenizer(tokenizerFromGguf(metadata), folder),
        )
        bar?.stop()
        for (const note of result.notes) process.stderr.write(`note: ${note}\n`)
        process.stderr.write(`${target}: ${result.tensors} tensors\n`)
      } finally {
        bar?.stop()
      }
    })
