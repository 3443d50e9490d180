import { Command } from 'commander'
import { withDownloadBar } from './download-bar.ts'

function named(name: string, description: string, run: 'forward' | 'gradients', example: string): Command {
  return new Command(name)
    .description(description)
    .argument('<model>', 'a checkpoint: a folder, hf:owner/name, or gguf:FILE')
    .requiredOption('--inputs <file>', 'safetensors with the inputs, by name: input_ids, attention_mask, labels, …')
    .requiredOption('--output <file>', 'safetensors to write')
    .option('--provider <name>', 'where to run: cpu, webgpu or cuda', 'cpu')
    .addHelpText('after', `\nExample:\n  ${example}`)
    .action(
      async (reference: string, options: { inputs: string; output: string; provider: 'cpu' | 'webgpu' | 'cuda' }) => {
        await import('../runtime/node.ts')
        const [models, hub, { readTensors }, { writeSafetensors }] = await Promise.all([
          import('../load/run.ts'),
          import('../hub/open.ts'),
          import('../hub/safetensors.ts'),
          import('../hub/safetensors-write.ts'),
        ])
        const checkpoint = hub.openCheckpoint(
          (await withDownloadBar((onProgress) => hub.resolveModelRef(reference, { onProgress }))).path,
        )
        try {
          const results = await models[run](checkpoint, readTensors(options.inputs), { on: options.provider })
          await writeSafetensors(options.output, Object.entries(results))
        } finally {
          checkpoint.close()
        }
      },
    )
}

export const forwardCommand = (): Command =>
  named(
    'forward',
    "run a checkpoint in fp32 on named inputs and write its outputs under the reference's names",
    'forward',
    'jackdaw forward model-folder --inputs inputs.safetensors --output outputs.safetensors',
  )

export const gradCommand = (): Command =>
  named(
    'grad',
    'the same, then write d loss / d parameter for every parameter under its checkpoint name',
    'gradients',
    'jackdaw grad model-folder --inputs inputs.safetensors --output grads.safetensors',
  )
