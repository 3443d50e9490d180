/**
 * A small client of the Hugging Face hub: which files a model has, then each file, resumed where it broke off and
 * checked against the hash that the hub gives for it. What is in the cache already is not fetched again.
 */
import { createHash } from 'node:crypto'
import { constants, createReadStream, existsSync, statSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { CachedRepo, type HubReference, hubCacheFolder, isCommit, isPlainPath } from './cache.ts'
import { quote } from './file.ts'

export { type HubReference, parseHubReference } from './cache.ts'

export interface DownloadProgress {
  /** Bytes of the whole model that are here, and that there are. */
  bytes: number
  total: number
  /** The file that is being fetched. */
  file: string
}

export interface DownloadOptions {
  onProgress?: (progress: DownloadProgress) => void
  /** Use the cache only. Default: whether `HF_HUB_OFFLINE` is set. */
  offline?: boolean
  signal?: AbortSignal
  /** Where to find `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and the others. Default `process.env`. */
  env?: NodeJS.ProcessEnv
  /** The first pause before a broken request is tried again; it doubles each time. Default 500. */
  retryMs?: number
}

const DEFAULT_ENDPOINT = 'https://huggingface.co'
const PARALLEL_FILES = 2
const MAX_FAILURES = 5
/** A connection that says nothing for so long counts as broken. */
const SILENCE_MS = 30_000
const MAX_LISTING_BYTES = 64_000_000

const listingSchema = z.object({
  sha: z.string().refine(isCommit),
  siblings: z.array(
    z.object({
      rfilename: z.string(),
      size: z.number().int().nonnegative().nullish(),
      blobId: z.string().nullish(),
      lfs: z.object({ sha256: z.string().nullish(), size: z.number().nullish() }).nullish(),
    }),
  ),
})
type Listing = z.infer<typeof listingSchema>

/** Worth another try: the connection broke, or the server is busy. */
class TransientError extends Error {}

/**
 * Brings a model's configuration, weights and tokenizer into the cache.
 *
 * @returns the folder of the model's snapshot
 * @throws Error with one sentence: offline and not cached, not found, gated, no room, a wrong hash.
 */
export async function downloadModel(reference: HubReference, options: DownloadOptions = {}): Promise<string> {
  const env = options.env ?? process.env
  const { repo, revision } = reference
  const cacheFolder = hubCacheFolder(env)
  const cached = new CachedRepo(repo, cacheFolder)
  const complete = cached.completeSnapshot(revision)
  // A commit never changes.
  if (complete && isCommit(revision)) return complete
  const isOffline = options.offline ?? /^(1|on|yes|true)$/i.test(env.HF_HUB_OFFLINE ?? '')
  if (isOffline) {
    if (complete) return complete
    throw new Error(`hf:${repo}@${revision} is not in the cache (${cacheFolder}), and downloads are off`)
  }
  const hub = new Hub(repo, revision, env, options)
  let listing: Listing
  try {
    listing = await hub.list()
  } catch (error) {
    if (error instanceof TransientError) {
      if (complete) return complete
      throw new Error(`${error.message}; hf:${repo}@${revision} is not in the cache (${cacheFolder}) either`)
    }
    throw error
  }
  const names = wantedFiles(listing.siblings.map(({ rfilename }) => rfilename))
  if (names instanceof Error) throw new Error(`hf:${repo}@${revision}: ${names.message}`)
  await fetchAll(hub, cached, listing, names, options)
  cached.rememberCommit(revision, listing.sha)
  return cached.snapshot(listing.sha)
}

/** Small files beside the weights that say how a model is used. */
export const SIDE_FILE =
  /^((config|generation_config|preprocessor_config|processor_config|image_processor|scheduler_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|encoder)\.json|(vocab|merges)\.txt|vocab\.bpe|[\w-]+\.model|[\w-]+\.spm|chat_template\.jinja|model_index\.json|modules\.json|sentence_bert_config\.json)$/

/**
 * Of all files of a repository, those that running the model takes. Weights are safetensors only; of a pipeline
 * (`model_index.json`), those of its parts.
 */
export function wantedFiles(all: readonly string[]): string[] | Error {
  const isPipeline = all.includes('model_index.json')
  const folders = new Map<string, string[]>()
  for (const path of new Set(all)) {
    const slash = path.lastIndexOf('/')
    const folder = path.slice(0, Math.max(0, slash))
    if (slash < 0 || (isPipeline && slash > 0 && !folder.includes('/'))) {
      folders.set(folder, [...(folders.get(folder) ?? []), path.slice(slash + 1)])
    }
  }
  const wanted: string[] = []
  let weights = 0
  for (const [folder, names] of folders) {
    const inFolder = names.filter((name) => SIDE_FILE.test(name))
    for (const stem of ['model', 'diffusion_pytorch_model']) {
      const parts = names.includes(`${stem}.safetensors`)
        ? [`${stem}.safetensors`]
        : names.filter((name) =>
            new RegExp(`^${stem}(-\\d+-of-\\d+\\.safetensors|\\.safetensors\\.index\\.json)$`).test(name),
          )
      inFolder.push(...parts)
      weights += parts.length
    }
    wanted.push(...inFolder.map((name) => (folder ? `${folder}/${name}` : name)))
  }
  // How an encoder's states become one vector: sentence-transformers keeps that in folders of their own.
  if (all.includes('modules.json')) wanted.push(...all.filter((path) => /^\d+_\w+\/config\.json$/.test(path)))
  if (weights > 0) return wanted
  if (all.some((name) => name.endsWith('.gguf'))) {
    return new Error('holds GGUF files only: fetch one and name it with gguf:FILE')
  }
  return new Error('has no safetensors weights')
}

async function fetchAll(
  hub: Hub,
  cached: CachedRepo,
  listing: Listing,
  names: readonly string[],
  options: DownloadOptions,
): Promise<void> {
  for (const name of names) {
    if (!isPlainPath(name)) throw new Error(`hf:${hub.repo}: lists the file ${quote(name)}, which leads elsewhere`)
  }
  const known = new Map(listing.siblings.map((sibling) => [sibling.rfilename, sibling]))
  const sizes = new Map(names.map((name) => [name, known.get(name)?.size ?? 0]))
  const here = new Map<string, number>()
  const sum = (counts: Map<string, number>) => [...counts.values()].reduce((a, b) => a + b, 0)
  const report = (file: string, bytes: number, size: number) => {
    here.set(file, bytes)
    sizes.set(file, size)
    options.onProgress?.({ bytes: sum(here), total: sum(sizes), file })
  }
  const stop = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal
  const queue = [...names]
  const fetching = new Map<string, Promise<void>>()
  const work = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const sibling = known.get(name)
      const fallback = { hash: sibling?.lfs?.sha256 ?? sibling?.blobId ?? undefined, size: sibling?.size ?? undefined }
      await fetchFile(hub, cached, listing.sha, name, fallback, fetching, signal, report)
    }
  }
  try {
    await Promise.all(Array.from({ length: PARALLEL_FILES }, work))
  } catch (error) {
    stop.abort()
    throw error
  }
}

interface FileFacts {
  /** 64 digits: SHA-256 of the bytes. 40: the SHA-1 that git gives them. */
  hash: string
  size: number
}

async function fetchFile(
  hub: Hub,
  cached: CachedRepo,
  commit: string,
  name: string,
  fallback: Partial<FileFacts>,
  fetching: Map<string, Promise<void>>,
  signal: AbortSignal,
  report: (file: string, bytes: number, size: number) => void,
): Promise<void> {
  const snapshotFile = `${cached.snapshot(commit)}/${name}`
  if (existsSync(snapshotFile)) {
    const { size } = statSync(snapshotFile)
    report(name, size, size)
    return
  }
  const facts = await hub.facts(commit, name, fallback, signal)
  // Files of the same bytes, as the parts of a pipeline may have them, are one blob: it is fetched once.
  const fetched =
    fetching.get(facts.hash) ?? fetchBlob(hub, cached.blob(facts.hash), commit, name, facts, signal, report)
  fetching.set(facts.hash, fetched)
  await fetched
  report(name, facts.size, facts.size)
  cached.link(commit, name, facts.hash)
}

async function fetchBlob(
  hub: Hub,
  blob: string,
  commit: string,
  name: string,
  facts: FileFacts,
  signal: AbortSignal,
  report: (file: string, bytes: number, size: number) => void,
): Promise<void> {
  if (existsSync(blob)) return
  await mkdir(dirname(blob), { recursive: true })
  const unfinished = `${blob}.incomplete`
  const wasBegun = lengthOf(unfinished) > 0
  await fetchBytes(hub, commit, name, facts, unfinished, signal, report)
  if (!(await isWhole(unfinished, facts))) {
    await rm(unfinished, { force: true })
    // What an earlier run left may be bad; what one run fetched is what the server sends.
    if (wasBegun) await fetchBytes(hub, commit, name, facts, unfinished, signal, report)
    if (!wasBegun || !(await isWhole(unfinished, facts))) {
      await rm(unfinished, { force: true })
      throw new Error(`hf:${hub.repo}: ${name} arrived with another hash than the hub gives for it; try again`)
    }
  }
  try {
    await rename(unfinished, blob)
  } catch (error) {
    // Another process may have fetched the same file meanwhile: both write the same bytes at the same places.
    if (!existsSync(blob)) throw error
  }
}

const lengthOf = (path: string): number => (existsSync(path) ? statSync(path).size : 0)

/** Fetches what is missing of a file, again and again as long as connections break, up to a limit. */
async function fetchBytes(
  hub: Hub,
  commit: string,
  name: string,
  facts: FileFacts,
  path: string,
  signal: AbortSignal,
  report: (file: string, bytes: number, size: number) => void,
): Promise<void> {
  await hub.retry(
    signal,
    () => lengthOf(path),
    async () => {
      // Longer than the file: it cannot be the beginning of it.
      if (lengthOf(path) > facts.size) await rm(path)
      // Another process may move the file away at any time: it is made where it is not there.
      const file = await open(path, constants.O_RDWR | constants.O_CREAT)
      try {
        let position = (await file.stat()).size
        if (position === facts.size) return
        const { body, start } = await hub.body(commit, name, position, signal)
        if (start === 0) await file.truncate(0)
        position = start
        for await (const bytes of body) {
          if (position + bytes.length > facts.size) {
            throw new Error(`hf:${hub.repo}: ${name} is longer than the ${facts.size} bytes announced`)
          }
          await file.write(bytes, 0, bytes.length, position)
          position += bytes.length
          report(name, position, facts.size)
        }
        if (position < facts.size) {
          throw new TransientError(`the connection to ${hub.endpoint} broke off in ${name} at byte ${position}`)
        }
      } finally {
        await file.close()
      }
    },
  )
}

async function isWhole(path: string, { hash, size }: FileFacts): Promise<boolean> {
  const digest = createHash(hash.length === 64 ? 'sha256' : 'sha1')
  if (hash.length === 40) digest.update(`blob ${size}\0`)
  for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 })) digest.update(bytes)
  return digest.digest('hex') === hash
}

interface HubRequest {
  method?: 'HEAD'
  redirect?: 'manual'
  headers?: Record<string, string>
  signal?: AbortSignal
}

/** One repository at one revision, over HTTP. */
class Hub {
  readonly endpoint: string
  readonly repo: string
  readonly #revision: string
  readonly #token: string | undefined
  readonly #retryMs: number
  readonly #signal: AbortSignal | undefined

  constructor(repo: string, revision: string, env: NodeJS.ProcessEnv, { retryMs = 500, signal }: DownloadOptions) {
    this.repo = repo
    this.#revision = revision
    this.endpoint = (env.HF_ENDPOINT || DEFAULT_ENDPOINT).replace(/\/+$/, '')
    this.#token = env.HF_TOKEN || undefined
    this.#retryMs = retryMs
    this.#signal = signal
    if (!/^https?:\/\/\S+$/.test(this.endpoint)) throw new Error('HF_ENDPOINT is not an http(s) address')
  }

  /** The commit that the revision stands for, and its files. */
  async list(): Promise<Listing> {
    const url = `${this.endpoint}/api/models/${this.repo}/revision/${encodeURIComponent(this.#revision)}?blobs=true`
    return this.retry(
      this.#signal,
      () => 0,
      async () => {
        const { response, touch } = await this.#request(url, { signal: this.#signal })
        this.#expectOk(response, url)
        const pieces: Uint8Array[] = []
        let length = 0
        for await (const bytes of this.#bytes(response, touch)) {
          pieces.push(bytes)
          length += bytes.length
          if (length > MAX_LISTING_BYTES) throw new Error(`${this.endpoint} sent an endless list of files`)
        }
        const parsed = listingSchema.safeParse(jsonOrUndefined(Buffer.concat(pieces).toString()))
        if (!parsed.success) throw new Error(`${url} answered something that is no list of files`)
        return parsed.data
      },
    )
  }

  /** Hash and size of a file, from the headers that come before any redirect to where the bytes are stored. */
  async facts(commit: string, name: string, fallback: Partial<FileFacts>, signal: AbortSignal): Promise<FileFacts> {
    let url = this.#fileUrl(commit, name)
    return this.retry(
      signal,
      () => 0,
      async () => {
        for (let hop = 0; hop < 5; hop++) {
          const { response, done } = await this.#request(url, { method: 'HEAD', redirect: 'manual', signal })
          done()
          const { headers, status } = response
          const isRedirect = status >= 300 && status < 400
          if (!isRedirect) this.#expectOk(response, url)
          const location = headers.get('location')
          const next = isRedirect && location ? new URL(location, url) : undefined
          const hash = etagHash(headers.get('x-linked-etag')) ?? etagHash(headers.get('etag')) ?? fallback.hash
          const length = headers.get('x-linked-size') ?? (isRedirect ? null : headers.get('content-length'))
          const size = length === null ? fallback.size : Number(length)
          if (hash && /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(hash) && Number.isSafeInteger(size)) {
            return { hash, size: size as number }
          }
          // A repository that moved: the same hub answers at another path.
          if (!next || next.origin !== new URL(this.endpoint).origin) break
          url = next.href
        }
        throw new Error(`${this.endpoint} gives no hash and size for ${name}, so it could not be checked`)
      },
    )
  }

  /** The bytes of a file from a position on, or from its start where the server cannot skip. */
  async body(
    commit: string,
    name: string,
    position: number,
    signal: AbortSignal,
  ): Promise<{ body: AsyncIterable<Uint8Array>; start: number }> {
    const url = this.#fileUrl(commit, name)
    const headers: Record<string, string> = position > 0 ? { range: `bytes=${position}-` } : {}
    const { response, touch } = await this.#request(url, { headers, signal })
    this.#expectOk(response, url)
    const range = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')
    const start = response.status === 206 ? Number(range?.[1] ?? position) : 0
    if (start !== 0 && start !== position) throw new Error(`${url} answered with bytes that were not asked for`)
    return { body: this.#bytes(response, touch), start }
  }

  /** Tries again after a transient failure; `progress` growing between tries starts the count anew. */
  async retry<T>(signal: AbortSignal | undefined, progress: () => number, attempt: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; ) {
      const before = progress()
      try {
        return await attempt()
      } catch (error) {
        signal?.throwIfAborted()
        if (!(error instanceof TransientError)) throw error
        failures = progress() > before ? 1 : failures + 1
        if (failures >= MAX_FAILURES) throw error
        await sleep(this.#retryMs * 2 ** (failures - 1), undefined, { signal })
      }
    }
  }

  #fileUrl(commit: string, name: string): string {
    return `${this.endpoint}/${this.repo}/resolve/${commit}/${name.split('/').map(encodeURIComponent).join('/')}`
  }

  /** `touch` says that bytes came; `done` that no more are awaited. */
  async #request(
    url: string,
    { headers, signal, ...init }: HubRequest,
  ): Promise<{ response: Response; touch: () => void; done: () => void }> {
    const silence = new AbortController()
    const timer = setTimeout(() => silence.abort(), SILENCE_MS)
    timer.unref()
    const done = () => clearTimeout(timer)
    // `fetch` drops the token where a redirect leads to another host.
    const authorization: Record<string, string> = this.#token ? { authorization: `Bearer ${this.#token}` } : {}
    try {
      const response = await fetch(url, {
        ...init,
        headers: { 'user-agent': 'jackdaw', 'accept-encoding': 'identity', ...authorization, ...headers },
        signal: signal ? AbortSignal.any([signal, silence.signal]) : silence.signal,
      })
      return { response, touch: () => timer.refresh(), done }
    } catch (error) {
      done()
      signal?.throwIfAborted()
      throw new TransientError(`${this.endpoint} cannot be reached (${reasonOf(error)})`)
    }
  }

  async *#bytes(response: Response, touch: () => void): AsyncGenerator<Uint8Array> {
    try {
      for await (const bytes of response.body ?? []) {
        touch()
        yield bytes
      }
    } catch (error) {
      throw new TransientError(`the connection to ${this.endpoint} broke off (${reasonOf(error)})`)
    }
  }

  /** @throws TransientError where it is worth another try, and otherwise an Error that says what to do. */
  #expectOk({ status, headers, ok, body }: Response, url: string): void {
    if (ok) return
    void body?.cancel()
    const code = headers.get('x-error-code')
    if (status === 429 || status >= 500) throw new TransientError(`${this.endpoint} is busy (status ${status})`)
    const name = `hf:${this.repo}`
    if (code === 'GatedRepo') {
      throw new Error(`${name} is gated: accept its terms at ${this.endpoint}/${this.repo} and set HF_TOKEN`)
    }
    if (code === 'RevisionNotFound') throw new Error(`${name} has no revision ${quote(this.#revision)}`)
    if (status === 401 || status === 403) {
      throw new Error(
        this.#token
          ? `${name} does not exist on ${this.endpoint}, or the token in HF_TOKEN may not read it (status ${status})`
          : `${name} does not exist on ${this.endpoint}, or is private: then set HF_TOKEN (status ${status})`,
      )
    }
    if (status === 404 && !url.includes('/api/models/')) throw new Error(`${url} does not exist`)
    if (status === 404)
      throw new Error(`${name} at revision ${quote(this.#revision)} does not exist on ${this.endpoint}`)
    throw new Error(`${url} answered with status ${status}`)
  }
}

/** `"<hex>"`, possibly weak, to the hash; undefined where it is no hash. */
function etagHash(etag: string | null): string | undefined {
  return /^(?:W\/)?"?([0-9a-f]{64}|[0-9a-f]{40})"?$/.exec(etag ?? '')?.[1]
}

function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: string; message?: string } }
  return cause?.code ?? (cause?.message || (error as Error).message)
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
