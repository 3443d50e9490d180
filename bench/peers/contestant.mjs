import { createInterface } from 'node:readline'

/** The contestants' side of a benchmark, for peers from npm (see ../contestant.ts). */
const say = (message) => process.stdout.write(`bench ${JSON.stringify(message)}\n`)

export async function compete(load) {
  let loaded
  try {
    loaded = await load()
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    say({ missing: error.message.split('\n')[0].replace(/ imported from .*/, '') })
    return
  }
  say({ ready: true, versions: loaded.versions })
  for await (const line of createInterface({ input: process.stdin })) {
    const { measure, seconds } = JSON.parse(line)
    try {
      say({ value: await loaded.rounds[measure](seconds) })
    } catch (error) {
      say({ error: error.message })
    }
  }
  process.exit(0)
}

/** The same numbers as in ../jackdaw/decoder.ts. */
export const [PROMPT, NEW, CONTEXT, THREADS] = [16, 128, 1024, Number(process.env.JACKDAW_BENCH_THREADS ?? 2)]

export const promptIds = (length, vocabSize) => Array.from({ length }, (_, i) => ((i + 1) * 7919) % vocabSize)
