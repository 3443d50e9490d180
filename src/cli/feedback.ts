import { createWriteStream, existsSync } from 'node:fs'
import { join } from 'node:path'
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Argument, Command, Option } from 'commander'
import { databaseOption, type StoreFlags, storeLocation } from './store-location.ts'

interface FeedbackFlags extends StoreFlags {
  kind: 'ratings' | 'comparisons' | 'all'
  out?: string
  force?: boolean
  server?: string
  apiKey?: string
}

const HELP = `
Every line is one JSON object. A comparison, from the arena, has its answers from the best to the worst, those that tie
together, as reward models and DPO learn from them:
  {"messages": [{"role": "user", "content": "…"}], "answers": ["the best", ["as good", "as this"], "the worst"],
   "models": […], "settings": […], "allBad": false, "comment": "", "voter": "…", "id": "…", "date": "…"}
A rating is a thumb under an answer of the chat, with the messages before it:
  {"messages": […], "answer": "…", "rating": "up", "comment": "…", "model": "…", "settings": {…}, "id": "…", "date": "…"}

A folder of conversations is open in one process at a time: while a server runs, ask it with --server.

Examples:
  jackdaw feedback export --kind comparisons --out preferences.jsonl
  jackdaw feedback export --server http://127.0.0.1:3000 --out feedback.jsonl
  jackdaw feedback export --kind ratings --out ratings.jsonl`

export const feedbackCommand = (): Command =>
  new Command('feedback')
    .description('export what people said of answers, as JSONL to learn from')
    .addArgument(new Argument('<what>', 'what to do').choices(['export']))
    .addOption(
      new Option('--kind <kind>', 'rankings from the arena, thumbs from the chat, or both')
        .choices(['ratings', 'comparisons', 'all'])
        .default('all'),
    )
    .option('--out <file>', 'where it goes (default: standard output)')
    .option('--force', 'write over FILE')
    .option('--data <dir>', 'folder that keeps the conversations (default: that of serve)')
    .addOption(databaseOption('they are kept in a PostgreSQL server'))
    .option('--server <url>', 'ask the running server that has them open')
    .addOption(new Option('--api-key <key>', 'of that server').env('JACKDAW_API_KEY'))
    .addHelpText('after', HELP)
    .action(async (_: string, flags: FeedbackFlags, command: Command) => {
      const { out, force, server } = flags
      // Said before anything is read.
      if (out !== undefined && !force && existsSync(out)) {
        throw new Error(`${out} is there already; add --force to write over it, or name another file.`)
      }
      const count = { lines: 0 }
      if (server !== undefined) await write(counted(fromServer(server, flags), count), out)
      else await fromStore(flags, command, (lines) => write(counted(lines, count), out))
      const what = flags.kind === 'all' ? 'comparisons and ratings' : flags.kind
      process.stderr.write(`${count.lines} ${what}${out === undefined ? '' : ` in ${out}`}\n`)
    })

async function fromStore(
  { kind, ...flags }: FeedbackFlags,
  command: Command,
  use: (lines: AsyncIterable<string>) => Promise<void>,
): Promise<void> {
  const location = storeLocation(flags, command)
  if ('dataDir' in location && !existsSync(join(location.dataDir, 'postgres'))) {
    throw new Error(`There are no conversations in ${location.dataDir}; --data names the folder that serve keeps.`)
  }
  const [{ ConversationStore }, { feedbackLines }] = await Promise.all([
    import('../server/store.ts'),
    import('../server/feedback-export.ts'),
  ])
  const store = await ConversationStore.open(location).catch((error: Error) => {
    if (!error.message.includes(' are open in ')) throw error
    throw new Error(`${error.message} Or ask the server that has them: jackdaw feedback export --server URL`)
  })
  try {
    await use(feedbackLines(store, kind))
  } finally {
    await store.close()
  }
}

/** @throws with one sentence where it does not answer, or refuses */
async function* fromServer(server: string, { kind, apiKey }: FeedbackFlags): AsyncGenerator<string> {
  if (!URL.canParse(server)) throw new Error(`--server ${server} is no address: http://127.0.0.1:3000 is one.`)
  const url = new URL(`api/feedback/export?kind=${kind}`, server.endsWith('/') ? server : `${server}/`)
  const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {}
  const response = await fetch(url, { headers }).catch((error: Error) => {
    const reason = error.cause instanceof Error ? error.cause.message : error.message
    throw new Error(`${server} does not answer: ${reason}`)
  })
  if (!response.ok) {
    const said = (await response.json().catch(() => undefined)) as { error?: { message?: string } } | undefined
    throw new Error(`${server} refuses: ${said?.error?.message ?? `it answered ${response.status}`}`)
  }
  if (!response.body) return
  yield* response.body.pipeThrough(new TextDecoderStream())
}

/** Counts lines as they pass. */
async function* counted(pieces: AsyncIterable<string>, count: { lines: number }): AsyncGenerator<string> {
  for await (const piece of pieces) {
    count.lines += piece.split('\n').length - 1
    yield piece
  }
}

async function write(pieces: AsyncIterable<string>, out: string | undefined): Promise<void> {
  const target =
    out === undefined
      ? new Writable({ decodeStrings: false, write: (piece, _, done) => void process.stdout.write(piece, done) })
      : createWriteStream(out)
  await pipeline(Readable.from(pieces), target)
}
