import { readFile } from 'node:fs/promises'
import { SingleBar } from 'cli-progress'
import { Command } from 'commander'
import type { PerplexityResult } from '../eval/perplexity.ts'
import { withDownloadBar } from './download-bar.ts'
import { integer, type Quantize, quantizeOption } from './flags.ts'

const TASKS = ['perplexity'] as const

interface EvalFlags {
  model: string
  data?: string
  seq?: number
  json?: boolean
  quantize?: Quantize
}

export const evalCommand = (): Command =>
  new Command('eval')
    .description(`score a model on tasks: ${TASKS.join(', ')} (how well it predicts the text of --data)`)
    .argument('<task...>', 'tasks to run')
    .requiredOption('--model <ref>', 'a folder, hf:owner/name, gguf:FILE or a shipped model')
    .option('--data <file>', 'a text file, for perplexity')
    .option('--seq <number>', 'tokens a window (default: as many as the model takes)', integer(1))
    .addOption(quantizeOption())
    .option('--json', 'print results as JSON')
    .addHelpText('after', '\nExample:\n  jackdaw eval perplexity --model jackdaw-base --data book.txt --seq 256')
    .action(evaluate)

async function evaluate(tasks: readonly string[], flags: EvalFlags): Promise<void> {
  const unknown = tasks.find((task) => !(TASKS as readonly string[]).includes(task))
  if (unknown !== undefined) throw new Error(`there is no task '${unknown}'; there are ${TASKS.join(', ')}`)
  const { data } = flags
  if (!data) throw new Error('perplexity needs --data FILE, a text to predict')
  await import('../runtime/node.ts')
  const [{ loadModel }, { isWriter }, { perplexity }] = await Promise.all([
    import('../load/load.ts'),
    import('../generate/decoder.ts'),
    import('../eval/perplexity.ts'),
  ])
  const { model, weights, tokenizer, releaseFiles } = await withDownloadBar((onProgress) =>
    loadModel(flags.model, { quantize: flags.quantize, mapped: true, onProgress }),
  )
  if (!isWriter(model) || model.kind !== 'causal' || !tokenizer)
    throw new Error(`${flags.model} does not continue text, so it has no perplexity`)
  const text = await readFile(data, 'utf8')
  const ids = [...tokenizer.encode(text)]
  const bar = process.stderr.isTTY
    ? new SingleBar({ format: '{bar} {value}/{total} tokens | {eta_formatted} left', clearOnComplete: true })
    : undefined
  bar?.start(ids.length - 1, 0)
  try {
    const result = await perplexity(model, weights, ids, Buffer.byteLength(text), {
      seq: flags.seq,
      onProgress: (done) => bar?.update(done),
    })
    bar?.stop()
    process.stdout.write(flags.json ? `${JSON.stringify({ perplexity: result })}\n` : table(result))
  } finally {
    bar?.stop()
    releaseFiles()
  }
}

const table = ({ loss, perplexity, bitsPerByte, tokens }: PerplexityResult): string =>
  `perplexity     ${perplexity.toFixed(3)}\nloss           ${loss.toFixed(4)} nats a token\nbits a byte    ${bitsPerByte.toFixed(4)}\ntokens         ${tokens}\n`
