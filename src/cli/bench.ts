import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Command } from 'commander'
import { integer, number } from './flags.ts'

interface Flags {
  rounds: number
  seconds: number
  smollm2: string
  json: boolean
}

export const benchCommand = (): Command =>
  new Command('bench')
    .description('measure jackdaw side by side with its peers (bench/peers says how to install them)')
    .argument('[names...]', 'benchmarks, or what their names begin with; all where none is given')
    .option('--rounds <number>', 'turns of each contestant', integer(1), 5)
    .option('--seconds <number>', 'length of a turn', number(0.1), 3)
    .option('--smollm2 <ref>', 'a SmolLM2-135M to decode with', 'hf:HuggingFaceTB/SmolLM2-135M-Instruct')
    .option('--json', 'print the report as JSON', false)
    .addHelpText('after', '\nExample:\n  jackdaw bench decode-135M --rounds 9')
    .action(async (names: string[], { json, ...options }: Flags) => {
      // Beside the sources, as TypeScript or as what is built of it; not in the package that npm installs.
      const folder = ['main.js', 'main.ts'].map((file) => new URL(`../../bench/${file}`, import.meta.url))
      if (!folder.some((url) => existsSync(fileURLToPath(url)))) {
        throw new Error('the benchmarks are not part of the installed package: run jackdaw bench in a checkout of it')
      }
      const { runBenchmarks, markdown } = await import('../../bench/main.ts')
      const say = (message: string) => process.stderr.write(`${message}\n`)
      const report = await runBenchmarks(names, { ...options, say })
      process.stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : markdown(report))
    })
