/** The Hugging Face cache on the disk: `models--owner--name/{blobs,refs,snapshots}`, shared with its own library. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { quote } from './file.ts'

export interface HubReference {
  /** `owner/name`, or `name` for the hub's oldest models. */
  readonly repo: string
  /** A branch, a tag or a commit. */
  readonly revision: string
}

/**
 * Reads `owner/name[@revision]`.
 *
 * @throws Error where it is of another form, or would lead out of the cache.
 */
export function parseHubReference(text: string): HubReference {
  const at = text.indexOf('@')
  const repo = at < 0 ? text : text.slice(0, at)
  const revision = at < 0 ? 'main' : text.slice(at + 1)
  const parts = repo.split('/')
  const isName = (part: string) => /^[A-Za-z0-9_][A-Za-z0-9._-]{0,95}$/.test(part) && !/\.\.|--/.test(part)
  if (parts.length > 2 || !parts.every(isName)) {
    throw new Error(`${quote(`hf:${text}`)} is not of the form hf:owner/name[@revision]`)
  }
  if (!isPlainPath(revision) || !/^[A-Za-z0-9._/-]{1,200}$/.test(revision)) {
    throw new Error(`${quote(`hf:${text}`)}: ${quote(revision)} cannot be a revision`)
  }
  return { repo, revision }
}

/** Whether a path from outside stays below where it is put: no `..`, no root, no backslash, drive or NUL. */
export const isPlainPath = (path: string): boolean =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
  !/[\\\x00-\x1f\x7f:]/.test(path) && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..')

export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision)

/** Where models are kept: `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or `~/.cache/huggingface/hub`. */
export function hubCacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  if (env.HF_HUB_CACHE) return env.HF_HUB_CACHE
  if (env.HUGGINGFACE_HUB_CACHE) return env.HUGGINGFACE_HUB_CACHE
  const home = env.HF_HOME || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface')
  return join(home, 'hub')
}

/** One model's place in the cache. */
export class CachedRepo {
  readonly folder: string

  constructor(repo: string, cacheFolder = hubCacheFolder()) {
    this.folder = join(cacheFolder, `models--${repo.replaceAll('/', '--')}`)
  }

  /** The commit that a revision was last seen at; undefined where it never was. */
  commitOf(revision: string): string | undefined {
    if (isCommit(revision)) return revision
    const path = join(this.folder, 'refs', revision)
    if (!existsSync(path)) return undefined
    const commit = readFileSync(path, 'utf8').trim()
    return isCommit(commit) ? commit : undefined
  }

  rememberCommit(revision: string, commit: string): void {
    if (isCommit(revision)) return
    const path = join(this.folder, 'refs', revision)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, commit)
  }

  snapshot(commit: string): string {
    return join(this.folder, 'snapshots', commit)
  }

  /** The folder of a revision where everything that a model needs is in it; undefined otherwise. */
  completeSnapshot(revision: string): string | undefined {
    const commit = this.commitOf(revision)
    if (!commit) return undefined
    const folder = this.snapshot(commit)
    return hasModel(folder) ? folder : undefined
  }

  blob(hash: string): string {
    return join(this.folder, 'blobs', hash)
  }

  /** Makes `snapshots/<commit>/<name>` stand for a blob: a link, or a copy where links cannot be made. */
  link(commit: string, name: string, hash: string): void {
    const path = join(this.snapshot(commit), name)
    if (existsSync(path)) return
    mkdirSync(dirname(path), { recursive: true })
    try {
      symlinkSync(relative(dirname(path), this.blob(hash)), path)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EEXIST') return
      if (code !== 'EPERM') throw error
      copyFileSync(this.blob(hash), path)
    }
  }
}

const WEIGHTS = ['model.safetensors', 'diffusion_pytorch_model.safetensors']

/** Of a pipeline, each part that has a `config.json` has its weights. */
function hasModel(folder: string): boolean {
  return partsOf(folder).every(
    (part) => existsSync(join(part, 'config.json')) && WEIGHTS.some((name) => hasWeights(part, name)),
  )
}

/** The folders of a pipeline's networks; the oldest pipelines keep their one network beside the index, as models do. */
function partsOf(folder: string): string[] {
  const index = parseOrUndefined(join(folder, 'model_index.json')) ?? {}
  const parts = Object.keys(index).map((part) => join(folder, part))
  const networks = parts.filter((part) => existsSync(join(part, 'config.json')))
  return networks.length > 0 ? networks : [folder]
}

function hasWeights(folder: string, name: string): boolean {
  if (existsSync(join(folder, name))) return true
  const index = join(folder, `${name}.index.json`)
  if (!existsSync(index)) return false
  const map: unknown = parseOrUndefined(index)?.weight_map
  const files = typeof map === 'object' && map !== null ? new Set(Object.values(map)) : new Set()
  return files.size > 0 && [...files].every((file) => typeof file === 'string' && existsSync(join(folder, file)))
}

function parseOrUndefined(path: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}
