import { existsSync, readdirSync, statSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SingleBar } from 'cli-progress'
import { Command, Option } from 'commander'
import type { Progress, TaskRun } from '../eval/harness.ts'
import type { PerplexityResult } from '../eval/perplexity.ts'
import type { AskSettings, Task } from '../eval/task.ts'
import type { LoadedModel } from '../load/load.ts'
import { withDownloadBar } from './download-bar.ts'
import { collect, integer, number, providerOption, type Quantize, quantizeOption } from './flags.ts'

interface EvalFlags extends AskSettings {
  model?: string
  tasks?: string[]
  data?: string[]
  limit?: number
  out?: string
  json?: boolean
  list?: boolean
  quantize?: Quantize
  provider: 'cpu' | 'webgpu' | 'cuda'
  threads?: number
  slots?: number
  contextLength?: number
}

const EXAMPLES = `
A task reads a file of your own: of a data set, by its usual name, from the folder that --data names. \`--list\` tells the
names, and what the files of the others hold. \`chance\` is what guessing scores: see whether the interval leaves it.

Ways to ask (--prompt):
  direct         choices are compared by their likelihood; what has none is answered in a few words
  generate       all are answered in a few words
  cot            exemplars show how to reason (--samples N: the answer of most of N chains)
  zero-shot-cot  "Let's think step by step.", and then the answer is asked for

Examples:
  jackdaw eval --list
  jackdaw eval jackdaw-base --tasks perplexity --data book.txt
  jackdaw eval gguf:SmolLM2.gguf --tasks commonsenseqa,strategyqa --data sets/ --num-fewshot 5 --limit 200
  jackdaw eval gguf:SmolLM2.gguf --tasks arithmetic --data sets/ --prompt cot --samples 8 --out results/
  jackdaw eval gguf:SmolLM2.gguf --tasks humaneval --data HumanEval.jsonl.gz --samples 10
  jackdaw eval my-t5/ --tasks generation --data pairs.jsonl --num-beams 4 --json`

const list = (text: string, previous: string[] = []): string[] => [
  ...previous,
  ...text.split(',').map((name) => name.trim()),
]

export const evalCommand = (): Command =>
  new Command('eval')
    .description('score a model on tasks: reasoning, choices and texts of your own, perplexity')
    .argument('[model]', 'a folder, hf:owner/name, gguf:FILE or a shipped model; with --model, a task')
    .argument('[task...]', 'further tasks')
    .option('--model <ref>', 'the model, where tasks are named first')
    .option('--tasks <names>', 'tasks or groups of them, by commas', list)
    .option('--list', 'tell all tasks and groups')
    .option('--data <path>', "a folder of data sets, a file, or NAME=FILE for the task's; repeatable", collect)
    .option('--limit <number>', 'only the first so many questions of each', integer(1))
    .optionsGroup('Asking:')
    .addOption(
      new Option('--prompt <way>', 'how to ask')
        .choices(['direct', 'generate', 'cot', 'zero-shot-cot'])
        .default('direct'),
    )
    .option('--num-fewshot <number>', 'demonstrations in each prompt (default: none; with cot, all)', integer(0))
    .option('--samples <number>', 'chains of thought for each question, of which most decide; programs', integer(1))
    .option(
      '--temperature <number>',
      'of samples (default: 0.7; of programs 0.2, or 0.8 where there are ten)',
      number(0),
    )
    .option('--seed <number>', 'of demonstrations and samples', integer(0))
    .option('--unconditional', 'also compare choices by how much likelier the question makes them')
    .option('--max-new-tokens <number>', 'of an answer, or of its reasoning', integer(1))
    .option('--stop <text>', 'end a free answer before this text; repeatable', collect)
    .option('--num-beams <number>', 'search for free answers with so many beams', integer(1))
    .option('--seq <number>', 'tokens a window of perplexity (default: as many as the model takes)', integer(1))
    .optionsGroup('Results:')
    .option('--out <folder>', 'write results.json and the samples; a run that was killed goes on there')
    .option('--json', "print results as JSON, in lm-evaluation-harness's shape")
    .optionsGroup('Running:')
    .addOption(quantizeOption())
    .addOption(providerOption())
    .option('--threads <number>', 'threads of the CPU provider', integer(1))
    .option('--slots <number>', 'sequences side by side (default: 8)', integer(1))
    .option('--context-length <number>', 'tokens of the longest prompt with its answer', integer(2))
    .addHelpText('after', EXAMPLES)
    .action(run)

async function run(first: string | undefined, rest: readonly string[], flags: EvalFlags): Promise<void> {
  if (flags.list) return tellTasks()
  const positional = [...(first === undefined ? [] : [first]), ...rest]
  const [reference, ...names] = flags.model === undefined ? positional : [flags.model, ...positional]
  if (reference === undefined) throw new Error('name a model: jackdaw eval MODEL --tasks NAME; --list tells the tasks')
  const wanted = [...names, ...(flags.tasks ?? [])]
  if (wanted.length === 0) throw new Error('name tasks: --tasks NAME,NAME; jackdaw eval --list tells them all')
  const isText =
    wanted.length === 1 && wanted[0] === 'perplexity' && flags.out === undefined && flags.limit === undefined
  if (isText) return tellPerplexity(reference, flags)
  await evaluateTasks(reference, wanted, flags)
}

async function tellTasks(): Promise<void> {
  const { GROUPS, TASKS } = await import('../eval/tasks/index.ts')
  const width = Math.max(...TASKS.map(({ name }) => name.length), ...Object.keys(GROUPS).map((name) => name.length))
  const line = (name: string, text: string): string => `  ${name.padEnd(width)}  ${text}\n`
  const own = ({ name, about, fileForm }: Task): string => line(name, about) + line('', `FILE: ${fileForm}`)
  process.stdout.write(
    [
      'Data sets, each a file in the folder that --data names:\n',
      ...TASKS.filter(({ file }) => file).map(({ name, about, file }) => line(name, `${about} (${file})`)),
      '\nOf your own, with --data FILE:\n',
      ...TASKS.filter(({ file }) => !file).map(own),
      '\nGroups:\n',
      ...Object.entries(GROUPS).map(([name, names]) => line(name, names.join(', '))),
    ].join(''),
  )
}

async function evaluateTasks(reference: string, wanted: readonly string[], flags: EvalFlags): Promise<void> {
  const [{ evaluate }, { resultsTable }, { findTask, GROUPS }, { loadModel }, { TextModel }, { nodeBackend }] =
    await Promise.all([
      import('../eval/harness.ts'),
      import('../eval/results.ts'),
      import('../eval/tasks/index.ts'),
      import('../load/load.ts'),
      import('../prompt/language-model.ts'),
      import('../runtime/ort-node.ts'),
      import('../runtime/node.ts'),
    ])
  const tasks = [...new Set(wanted.flatMap((name) => GROUPS[name] ?? [name]))].map(findTask)
  const { openDataFile } = await import('../eval/data-file.ts')
  const runs = tasks.map((task): TaskRun => {
    const { path, folder } = dataOf(task, flags.data ?? [])
    return {
      task,
      data: openDataFile(path),
      beside: (name) => {
        if (folder !== undefined) return openDataFile(join(folder, name))
        throw new Error(`${task.name} draws its demonstrations from ${name}: name a folder with it by --data`)
      },
    }
  })
  await nodeBackend(flags.provider, { threads: flags.threads })
  const loaded = await withDownloadBar((onProgress) =>
    loadModel(reference, { quantize: flags.quantize, mapped: true, onProgress }),
  )
  const model = TextModel.create(reference, loaded, flags)
  const bar = progressBar('{task} {bar} {value}/{total} | {eta_formatted} left')
  const { prompt, numFewshot, samples, temperature, seed, unconditional, maxNewTokens, stop, numBeams, seq } = flags
  const { limit, out } = flags
  try {
    const results = await evaluate(model, runs, {
      ...{ prompt, numFewshot, samples, temperature, seed, unconditional, maxNewTokens, stop, numBeams, seq },
      ...{ limit, out, modelInfo: { pretrained: reference, quantize: flags.quantize, ...filesOf(loaded) } },
      groups: Object.fromEntries(Object.entries(GROUPS).filter(([name]) => wanted.includes(name))),
      onProgress: bar.show,
    })
    bar.stop()
    if (model.cutPrompts > 0) {
      process.stderr.write(`${model.cutPrompts} prompts were longer than the context, and lost their beginning\n`)
    }
    process.stdout.write(flags.json ? `${JSON.stringify(results)}\n` : resultsTable(results))
    if (out !== undefined && !flags.json) process.stdout.write(`\n${join(out, 'results.json')}\n`)
  } finally {
    bar.stop()
    model.release()
    loaded.releaseFiles()
  }
}

/** Where a task's questions are, by what --data names. */
function dataOf({ name, file }: Task, given: readonly string[]): { path: string; folder?: string } {
  for (const path of given) if (path.startsWith(`${name}=`)) return { path: path.slice(name.length + 1) }
  const paths = given.filter((path) => !/^[a-z0-9-]+=/.test(path))
  const missing = paths.find((path) => !existsSync(path))
  if (missing !== undefined) throw new Error(`${missing}: there is no such file or folder`)
  const isFolder = (path: string): boolean => statSync(path).isDirectory()
  if (file === undefined) {
    const own = paths.find((path) => !isFolder(path))
    if (own !== undefined) return { path: own }
    throw new Error(`${name} needs --data FILE`)
  }
  const folders = paths.filter(isFolder)
  const folder = folders.find((path) => existsSync(join(path, file)))
  if (folder !== undefined) return { path: join(folder, file), folder }
  const [only] = paths
  if (only !== undefined && !isFolder(only)) return { path: only }
  if (only === undefined) throw new Error(`${name} needs --data FOLDER, one that has ${file}, or --data ${name}=FILE`)
  throw new Error(`${folders.join(' and ')}: has no ${file}, which ${name} needs; or say --data ${name}=FILE`)
}

/** What tells a model's files from others of the same name: weights that were trained on are others. */
function filesOf({ path, kind }: LoadedModel): Record<string, unknown> {
  const files = kind === 'gguf' ? [path] : readdirSync(path).filter((name) => name.endsWith('.safetensors'))
  const stats = files.map((name) => statSync(kind === 'gguf' ? name : join(path, name)))
  return {
    bytes: stats.reduce((sum, { size }) => sum + size, 0),
    modified: Math.max(...stats.map(({ mtimeMs }) => Math.floor(mtimeMs))),
  }
}

function progressBar(format: string): { show: (report: Progress) => void; stop: () => void } {
  const bar = process.stderr.isTTY ? new SingleBar({ format, clearOnComplete: true }) : undefined
  let running: string | undefined
  return {
    show: ({ task, done, total }) => {
      if (running !== task) {
        bar?.stop()
        bar?.start(total, 0, { task })
        running = task
      }
      bar?.update(Math.floor(done))
    },
    stop: () => bar?.stop(),
  }
}

async function tellPerplexity(reference: string, flags: EvalFlags): Promise<void> {
  const [data] = flags.data ?? []
  if (!data) throw new Error('perplexity needs --data FILE, a text to predict')
  await import('../runtime/node.ts')
  const [{ loadModel }, { isWriter }, { perplexity }] = await Promise.all([
    import('../load/load.ts'),
    import('../generate/decoder.ts'),
    import('../eval/perplexity.ts'),
  ])
  const { model, weights, tokenizer, releaseFiles } = await withDownloadBar((onProgress) =>
    loadModel(reference, { quantize: flags.quantize, mapped: true, onProgress }),
  )
  if (!isWriter(model) || model.kind !== 'causal' || !tokenizer)
    throw new Error(`${reference} does not continue text, so it has no perplexity`)
  const text = await readFile(data, 'utf8')
  const ids = [...tokenizer.encode(text)]
  const bar = progressBar('{bar} {value}/{total} tokens | {eta_formatted} left')
  try {
    const result = await perplexity(model, weights, ids, Buffer.byteLength(text), {
      seq: flags.seq,
      onProgress: (done, total) => bar.show({ task: 'perplexity', done, total }),
    })
    bar.stop()
    process.stdout.write(flags.json ? `${JSON.stringify({ perplexity: result })}\n` : perplexityTable(result))
  } finally {
    bar.stop()
    releaseFiles()
  }
}

const perplexityTable = ({ loss, perplexity, bitsPerByte, tokens }: PerplexityResult): string =>
  `perplexity     ${perplexity.toFixed(3)}\nloss           ${loss.toFixed(4)} nats a token\nbits a byte    ${bitsPerByte.toFixed(4)}\ntokens         ${tokens}\n`
