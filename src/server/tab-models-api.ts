import { constants } from 'node:fs'
import { lstat, open, readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Hono } from 'hono'
import { tokenizerFromWordPieces } from '../text/load.ts'
import { RequestError } from './errors.ts'
import { packageRoot } from './package.ts'
import type { TabModel, TabModelList } from './wire.ts'

/** Larger ones are not sent to a page: they are served. */
const MOST_WEIGHT_BYTES = 64 * 1024 * 1024
const WEIGHTS = 'model.safetensors'
/** BERT's vocabulary. */
const WORD_PIECES = 'vocab.txt'
/** What a page needs of a model. */
const FILES = ['config.json', WEIGHTS, 'tokenizer.json', 'tokenizer_config.json'] as const

interface Place {
  readonly place: TabModel['place']
  readonly folder: string
}

/** Where a run keeps what its stages have left. */
const STAGES = 'stages'

/**
 * Models that are small enough to run in a page: those that are shipped, and those that runs have left.
 *
 * No path is made of what a client says: a model is one of those that the folders list, a file one of four, and links
 * are none.
 */
export function tabModelRoutes(runsDir: string, weightsDir = join(packageRoot, 'weights')): Hono {
  const places: Place[] = [
    { place: 'shipped', folder: weightsDir },
    { place: 'run', folder: runsDir },
  ]
  const app = new Hono()

  app.get('/tab-models', async (context) => {
    const found = (await Promise.all(places.map(modelsIn))).flat()
    return context.json({ models: found.map(({ model }) => model) } satisfies TabModelList)
  })

  app.get('/tab-models/:place/:name/:file', async (context) => {
    const { place, name, file } = context.req.param()
    const at = places.find((other) => other.place === place)
    const found = at && (await modelsIn(at)).find(({ model }) => model.name === name)
    const known = FILES.find((other) => other === file)
    const bytes =
      found && known && ((await readRegular(join(found.folder, known))) ?? (await madeFile(found.folder, known)))
    if (!bytes) throw new RequestError(404, 'There is no such file of a model.', { code: 'not_found' })
    const type = file.endsWith('.json') ? 'application/json' : 'application/octet-stream'
    return context.body(new Uint8Array(bytes), 200, { 'content-type': type, 'cache-control': 'no-cache' })
  })

  return app
}

/** What pages read where a folder has less: a tokenizer of BERT's own file, and no settings of one. */
async function madeFile(folder: string, file: (typeof FILES)[number]): Promise<Uint8Array | undefined> {
  if (file === 'tokenizer_config.json') return Buffer.from('{}')
  const pieces = file === 'tokenizer.json' && (await readRegular(join(folder, WORD_PIECES)))
  if (!pieces) return undefined
  try {
    return Buffer.from(JSON.stringify(tokenizerFromWordPieces(pieces.toString('utf8')).toJSON()))
  } catch (error) {
    throw new RequestError(404, `${WORD_PIECES} ${(error as Error).message}`, { code: 'not_found' })
  }
}

interface Found {
  readonly model: TabModel
  readonly folder: string
}

/** Those of its folders, and of the stages of runs: `blanks/glm-0`. */
async function modelsIn({ place, folder }: Place): Promise<Found[]> {
  const found = await Promise.all(
    (await foldersIn(folder)).map(async (name) => {
      const stages = place === 'run' ? await foldersIn(join(folder, name, STAGES)) : []
      return Promise.all([
        modelIn(join(folder, name), { place, name }),
        ...stages.map((stage) => modelIn(join(folder, name, STAGES, stage), { place, name: `${name}/${stage}` })),
      ])
    }),
  )
  return found.flat().filter((one) => one !== undefined)
}

async function foldersIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
    .sort()
}

/** Undefined where the folder has no whole model, or too large a one. */
async function modelIn(folder: string, named: Pick<TabModel, 'place' | 'name'>): Promise<Found | undefined> {
  try {
    const { size: bytes } = await stat(join(folder, WEIGHTS))
    if (bytes > MOST_WEIGHT_BYTES) return undefined
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8')) as { architectures?: unknown }
    const [architecture] = [config.architectures].flat()
    if (typeof architecture !== 'string') return undefined
    const tokenizers = await Promise.all(
      ['tokenizer.json', WORD_PIECES].map((name) => lstat(join(folder, name)).catch(() => undefined)),
    )
    const hasTokenizer = tokenizers.some((file) => file?.isFile())
    return { folder, model: { ...named, architecture, bytes, hasTokenizer } }
  } catch {
    return undefined
  }
}

async function readRegular(path: string): Promise<Buffer | undefined> {
  const file = await open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0)).catch(() => undefined)
  try {
    const found = await file?.stat()
    return found?.isFile() && found.size <= MOST_WEIGHT_BYTES ? await file?.readFile() : undefined
  } finally {
    await file?.close()
  }
}
