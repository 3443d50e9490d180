import { createHash } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { hubCacheFolder, isPlainPath, parseHubReference } from '../../src/hub/cache.ts'
import { type DownloadOptions, type DownloadProgress, downloadModel, wantedFiles } from '../../src/hub/download.ts'
import { packageRoot, resolveModelRef } from '../../src/hub/open.ts'
import { temporaryFolder } from './temporary.ts'

const COMMIT = 'c'.repeat(40)
const root = temporaryFolder()
const repo = { repo: 'some/model', revision: 'main' }
const weights = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) % 251))

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitHash = (bytes: Buffer) => createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** A hub that can be told to misbehave. */
let files: Record<string, Buffer>
let listed: string[] | undefined
let log: string[]
let authorizations: (string | undefined)[]
let interfere: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined
let server: Server
let endpoint: string
let cache: string
let count = 0

beforeEach(async () => {
  files = {
    'config.json': Buffer.from('{"model_type":"llama"}'),
    'model.safetensors': weights,
    'tokenizer.json': Buffer.from('{}'),
    'pytorch_model.bin': Buffer.from('never fetched'),
    'onnx/model.onnx': Buffer.from('never fetched'),
    'README.md': Buffer.from('never fetched'),
  }
  listed = undefined
  log = []
  authorizations = []
  interfere = undefined
  cache = join(root, `cache-${count++}`)
  server = createServer(answer)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
afterEach(() => {
  server.closeAllConnections()
  server.close()
})

function answer(request: IncomingMessage, response: ServerResponse): void {
  const url = decodeURIComponent(request.url ?? '')
  log.push(`${request.method} ${url}${request.headers.range ? ` ${request.headers.range}` : ''}`)
  authorizations.push(request.headers.authorization)
  if (interfere?.(request, response)) return
  if (url === '/api/models/some/model/revision/main?blobs=true') {
    const siblings = (listed ?? Object.keys(files)).map((rfilename) => ({ rfilename, size: files[rfilename]?.length }))
    response.end(JSON.stringify({ id: 'some/model', sha: COMMIT, siblings }))
    return
  }
  const name = url.replace(`/some/model/resolve/${COMMIT}/`, '')
  if (name in files && name.endsWith('.safetensors')) {
    // Large files lie elsewhere; the facts are in the redirect's headers.
    response.writeHead(302, {
      location: `/storage/${name}`,
      etag: '"of the redirect"',
      'x-linked-etag': `"${sha256(files[name])}"`,
      'x-linked-size': files[name].length,
      'x-repo-commit': COMMIT,
    })
    response.end()
    return
  }
  if (name in files) {
    response.writeHead(200, { etag: `"${gitHash(files[name])}"`, 'content-length': files[name].length })
    response.end(request.method === 'HEAD' ? undefined : files[name])
    return
  }
  const stored = files[url.replace('/storage/', '')]
  if (stored) {
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const range = { 'content-range': `bytes ${start}-${stored.length - 1}/${stored.length}` }
    response.writeHead(start ? 206 : 200, { 'content-length': stored.length - start, ...(start ? range : {}) })
    response.end(stored.subarray(start))
    return
  }
  response.writeHead(404, { 'x-error-code': 'RepoNotFound' }).end()
}

const download = (options: DownloadOptions = {}, env: NodeJS.ProcessEnv = {}, reference = repo) =>
  downloadModel(reference, {
    retryMs: 5,
    ...options,
    env: { HF_ENDPOINT: endpoint, HF_HUB_CACHE: cache, ...env },
  })

describe('downloads from the hub', () => {
  it('fetch what a model needs into the layout of the Hugging Face cache, and nothing twice', async () => {
    const folder = await download()
    const place = join(cache, 'models--some--model')
    expect(folder).toBe(join(place, 'snapshots', COMMIT))
    expect(readdirSync(folder).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json'])
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true)
    expect(lstatSync(join(folder, 'model.safetensors')).isSymbolicLink()).toBe(true)
    expect(readdirSync(join(place, 'blobs')).sort()).toEqual(
      [sha256(weights), gitHash(files['config.json']), gitHash(files['tokenizer.json'])].sort(),
    )
    expect(readFileSync(join(place, 'refs', 'main'), 'utf8')).toBe(COMMIT)
    expect(log.some((line) => /bin|onnx|README/.test(line))).toBe(false)
    log = []
    expect(await download()).toBe(folder)
    expect(log).toEqual(['GET /api/models/some/model/revision/main?blobs=true'])
  })

  it('fetch pipelines: each part in a folder of its own, or as the oldest did the network beside the index', async () => {
    const index = Buffer.from('{"_class_name":"P","unet":["diffusers","UNet2DModel"],"scheduler":["diffusers","S"]}')
    const [config, stem] = [Buffer.from('{}'), 'diffusion_pytorch_model']
    for (const [place, schedulerPlace] of [
      ['unet/', 'scheduler/'],
      ['', ''],
    ]) {
      files = {
        'model_index.json': index,
        [`${place}config.json`]: config,
        [`${place}${stem}.safetensors`]: weights,
        [`${place}${stem}.bin`]: Buffer.from('never fetched'),
        [`${place}${stem}.fp16.safetensors`]: Buffer.from('never fetched'),
        [`${schedulerPlace}scheduler_config.json`]: config,
      }
      cache = join(root, `pipeline-${count++}`)
      const folder = await download()
      const fetched = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes('.'))
      expect(fetched.sort()).toEqual(
        Object.keys(files)
          .filter((name) => !/bin|fp16/.test(name))
          .sort(),
      )
      expect(await download({ offline: true })).toBe(folder)
      rmSync(join(folder, `${place}${stem}.safetensors`))
      await expect(download({ offline: true })).rejects.toThrow('is not in the cache')
    }
  })

  it('fetch files of the same bytes once, and have them all', async () => {
    const parts = ['unet', 'vae', 'text_encoder', 'safety_checker', 'prior']
    const classes = parts.map((part) => `"${part}":["diffusers","UNet2DModel"]`)
    files = { 'model_index.json': Buffer.from(`{"_class_name":"P",${classes}}`) }
    for (const part of parts) {
      files[`${part}/config.json`] = Buffer.from('{"same":1}')
      files[`${part}/diffusion_pytorch_model.safetensors`] = weights
    }
    const folder = await download()
    for (const [name, bytes] of Object.entries(files)) expect(readFileSync(join(folder, name))).toEqual(bytes)
    expect(log.filter((line) => line.startsWith('GET /storage/'))).toHaveLength(1)
    expect(log.filter((line) => line.startsWith('GET ') && line.endsWith('/config.json'))).toHaveLength(1)
  })

  it('tell how many bytes there are and how many have come', async () => {
    const seen: DownloadProgress[] = []
    await download({ onProgress: (progress) => seen.push(progress) })
    const total = ['config.json', 'tokenizer.json', 'model.safetensors'].reduce(
      (sum, name) => sum + files[name].length,
      0,
    )
    expect(seen.at(-1)).toMatchObject({ bytes: total, total })
    for (let i = 1; i < seen.length; i++) expect(seen[i].bytes).toBeGreaterThanOrEqual(seen[i - 1].bytes)
    expect(new Set(seen.map(({ total }) => total))).toEqual(new Set([total]))
  })

  it('go on where a connection broke, without fetching bytes again', async () => {
    let breaks = 3
    interfere = (request, response) => {
      if (!request.url?.startsWith('/storage/') || breaks === 0) return false
      breaks--
      const start = Number(/(\d+)/.exec(request.headers.range ?? '')?.[1] ?? 0)
      response.writeHead(start ? 206 : 200, {
        'content-length': weights.length - start,
        ...(start ? { 'content-range': `bytes ${start}-${weights.length - 1}/${weights.length}` } : {}),
      })
      response.write(weights.subarray(start, start + 50_000), () => setTimeout(() => response.destroy(), 20))
      return true
    }
    const folder = await download()
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true)
    const ranges = log
      .filter((line) => line.startsWith('GET /storage'))
      .map((line) => Number(/=(\d+)-/.exec(line)?.[1] ?? 0))
    expect(ranges).toEqual([0, 50_000, 100_000, 150_000])
  })

  it('go on with what an earlier run left, and start over where that was bad', async () => {
    const blobs = join(cache, 'models--some--model', 'blobs')
    const unfinished = join(blobs, `${sha256(weights)}.incomplete`)
    mkdirSync(blobs, { recursive: true })
    writeFileSync(unfinished, weights.subarray(0, 1000))
    await download()
    expect(log).toContain('GET /storage/model.safetensors bytes=1000-')

    cache = join(root, 'bad-start')
    const badBlobs = join(cache, 'models--some--model', 'blobs')
    mkdirSync(badBlobs, { recursive: true })
    writeFileSync(join(badBlobs, `${sha256(weights)}.incomplete`), Buffer.alloc(1000))
    const folder = await download()
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true)
  })

  it('start over where the server cannot skip', async () => {
    const blobs = join(cache, 'models--some--model', 'blobs')
    mkdirSync(blobs, { recursive: true })
    writeFileSync(join(blobs, `${sha256(weights)}.incomplete`), weights.subarray(0, 1000))
    interfere = (request, response) => {
      if (!request.url?.startsWith('/storage/')) return false
      response.end(weights)
      return true
    }
    const folder = await download()
    expect(readFileSync(join(folder, 'model.safetensors')).equals(weights)).toBe(true)
  })

  it('refuse a file with another hash, large or small, and keep nothing of it', async () => {
    for (const [url, right] of [
      ['/storage/model.safetensors', weights],
      [`/some/model/resolve/${COMMIT}/config.json`, files['config.json']],
    ] as const) {
      cache = join(root, `wrong-${right.length}`)
      interfere = (request, response) => {
        if (request.url !== url || request.method === 'HEAD') return false
        response.end(Buffer.from(right).fill(65, 3, 9))
        return true
      }
      await expect(download()).rejects.toThrow(/^hf:some\/model: \S+ arrived with another hash/)
      const blobs = join(cache, 'models--some--model', 'blobs')
      const hash = url.startsWith('/storage') ? sha256(right) : gitHash(right)
      expect(readdirSync(blobs).filter((name) => name.startsWith(hash))).toEqual([])
      expect(existsSync(join(cache, 'models--some--model', 'refs', 'main'))).toBe(false)
    }
  })

  it('refuse a file that goes on after its end', async () => {
    interfere = (request, response) => {
      if (!request.url?.startsWith('/storage/')) return false
      response.write(weights)
      response.end('more')
      return true
    }
    await expect(download()).rejects.toThrow('longer than the 300000 bytes announced')
  })

  it('try again while the hub is busy, and give up after a while', async () => {
    let busy = 2
    interfere = (_, response) => busy-- > 0 && Boolean(response.writeHead(503).end())
    await download()
    busy = Infinity
    cache = join(root, 'busy')
    await expect(download()).rejects.toThrow(/busy \(status 503\).* is not in the cache/)
  })

  it('say what to do about models that are private, gated, missing, or of another revision', async () => {
    const fails = async (status: number, code: string | undefined, message: RegExp, env = {}) => {
      interfere = (_, response) => Boolean(response.writeHead(status, code ? { 'x-error-code': code } : {}).end())
      await expect(download({}, env)).rejects.toThrow(message)
    }
    await fails(401, 'RepoNotFound', /^hf:some\/model does not exist on \S+, or is private: then set HF_TOKEN/)
    await fails(401, 'RepoNotFound', /or the token in HF_TOKEN may not read it/, { HF_TOKEN: 'hf_x' })
    await fails(403, 'GatedRepo', /^hf:some\/model is gated: accept its terms at \S+\/some\/model and set HF_TOKEN$/)
    await fails(404, 'RevisionNotFound', /^hf:some\/model has no revision "main"$/)
    await fails(404, undefined, /^hf:some\/model at revision "main" does not exist/)
    await fails(418, undefined, /answered with status 418$/)
  })

  it('send the token to the hub, and not to another host that it redirects to', async () => {
    const elsewhere: (string | undefined)[] = []
    const other = createServer((request, response) => {
      elsewhere.push(request.headers.authorization)
      response.end(weights)
    })
    await new Promise<void>((done) => other.listen(0, '127.0.0.1', done))
    interfere = (request, response) => {
      if (!request.url?.startsWith('/storage/')) return false
      response.writeHead(302, { location: `http://127.0.0.1:${(other.address() as AddressInfo).port}/x` }).end()
      return true
    }
    await download({}, { HF_TOKEN: 'hf_secret' })
    other.close()
    expect(new Set(authorizations)).toEqual(new Set(['Bearer hf_secret']))
    expect(elsewhere).toEqual([undefined])
  })

  it('follow a model that moved within the hub', async () => {
    interfere = (request, response) => {
      if (!request.url?.startsWith('/some/model/resolve/')) return false
      const moved = request.url.replace('/some/model/', '/moved/')
      response.writeHead(307, { location: moved }).end()
      return true
    }
    const inner = answer
    server.removeAllListeners('request')
    server.on('request', (request, response) => {
      if (request.url?.startsWith('/moved/')) {
        const kept = interfere
        interfere = undefined
        request.url = request.url.replace('/moved/', '/some/model/')
        inner(request, response)
        interfere = kept
      } else inner(request, response)
    })
    expect(readdirSync(await download())).toHaveLength(3)
  })

  it('work from the cache without a network, and say so where nothing is there', async () => {
    const folder = await download()
    server.closeAllConnections()
    await new Promise((done) => server.close(done))
    expect(await download()).toBe(folder)
    expect(await download({ offline: true })).toBe(folder)
    expect(await download({}, { HF_HUB_OFFLINE: '1' })).toBe(folder)
    expect(await download({ offline: true }, {}, { ...repo, revision: COMMIT })).toBe(folder)
    const other = { repo: 'other/model', revision: 'main' }
    await expect(download({}, {}, other)).rejects.toThrow(
      /^http:\/\/127\.0\.0\.1:\d+ cannot be reached \(ECONNREFUSED\); hf:other\/model@main is not in the cache \(.*\) either$/,
    )
    await expect(download({ offline: true }, {}, other)).rejects.toThrow(
      /^hf:other\/model@main is not in the cache .*off$/,
    )
  })

  it('ask for nothing where a commit is in the cache', async () => {
    const folder = await download()
    log = []
    expect(await download({}, {}, { ...repo, revision: COMMIT })).toBe(folder)
    expect(log).toEqual([])
  })

  it('do not take a half-fetched model for a model', async () => {
    interfere = (request, response) =>
      Boolean(request.url?.startsWith('/storage/')) && Boolean(response.writeHead(418).end())
    await expect(download()).rejects.toThrow('418')
    await expect(download({ offline: true })).rejects.toThrow('is not in the cache')
  })

  it('refuse or leave aside file names that lead out of the folder', async () => {
    files['model_index.json'] = Buffer.from('{}')
    for (const evil of [
      '../config.json',
      '/config.json',
      './config.json',
      'a\\config.json',
      'unet/../../config.json',
    ]) {
      listed = [evil, 'model.safetensors', 'config.json', 'model_index.json']
      files[evil] = Buffer.from('evil')
      cache = join(root, `evil-${count++}`)
      const isWanted = (wantedFiles(listed) as string[]).includes(evil)
      expect(isPlainPath(evil)).toBe(false)
      if (isWanted) await expect(download()).rejects.toThrow('leads elsewhere')
      else await download()
      const written = existsSync(cache) ? readdirSync(cache, { recursive: true, withFileTypes: true }) : []
      for (const entry of written) {
        if (entry.isFile()) expect(readFileSync(join(entry.parentPath, entry.name), 'utf8')).not.toBe('evil')
      }
      expect(existsSync(join(root, 'config.json'))).toBe(false)
    }
    expect(wantedFiles(['../config.json', 'model_index.json', 'model.safetensors'])).toContain('../config.json')
  })

  it('refuse an answer that is no list of files', async () => {
    for (const body of ['<html>', '[]', '{"sha":"../x","siblings":[]}', '{"sha":1}']) {
      interfere = (_, response) => Boolean(response.end(body))
      await expect(download()).rejects.toThrow('answered something that is no list of files')
    }
  })

  it('stop when told to', async () => {
    const stop = new AbortController()
    interfere = (request, response) => {
      if (!request.url?.startsWith('/storage/')) return false
      response.write(weights.subarray(0, 1000))
      setTimeout(() => stop.abort(new Error('enough')), 20)
      return true
    }
    await expect(download({ signal: stop.signal })).rejects.toThrow('enough')
  })
})

describe('which files a model needs', () => {
  it('one file of weights rather than its shards, shards with their index, parts of a pipeline', () => {
    expect(wantedFiles(['config.json', 'model.safetensors', 'model-00001-of-00002.safetensors'])).toEqual([
      'config.json',
      'model.safetensors',
    ])
    const sharded = [
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]
    expect(wantedFiles([...sharded, 'config.json', 'x.bin', 'merges.txt', 'vocab.json'])).toEqual([
      'config.json',
      'merges.txt',
      'vocab.json',
      ...sharded,
    ])
    expect(
      wantedFiles([
        'model_index.json',
        'unet/config.json',
        'unet/diffusion_pytorch_model.safetensors',
        'a/b/config.json',
      ]),
    ).toEqual(['model_index.json', 'unet/config.json', 'unet/diffusion_pytorch_model.safetensors'])
    expect(wantedFiles(['config.json', 'sub/model.safetensors'])).toEqual(new Error('has no safetensors weights'))
    expect(String(wantedFiles(['x.gguf']))).toContain('GGUF files only')
  })
})

describe('model references', () => {
  it('are taken apart, or refused where they would lead astray', async () => {
    expect(parseHubReference('owner/name')).toEqual({ repo: 'owner/name', revision: 'main' })
    expect(parseHubReference('gpt2@refs/pr/1')).toEqual({ repo: 'gpt2', revision: 'refs/pr/1' })
    const bad = [
      '',
      'a/b/c',
      '../x',
      'a/..',
      'a\\b',
      'a/b@',
      'a/b@../../x',
      'a/b@/x',
      'a/b@x\\y',
      'a/b@x\0',
      '.a/b',
      'a//b',
    ]
    for (const text of bad) expect(() => parseHubReference(text), text).toThrow(/^"hf:[^\n]*$/)
    await expect(resolveModelRef('hf:../x')).rejects.toThrow('not of the form')
    await expect(resolveModelRef('a\0b')).rejects.toThrow('NUL')
    await expect(resolveModelRef('no such model')).rejects.toThrow(
      '"no such model" is no folder here, no shipped model (cartpole, jackdaw-base, jackdaw-chat), and',
    )
    await expect(resolveModelRef('gguf:nowhere.gguf')).rejects.toThrow('there is no such file')
    expect(await resolveModelRef(root)).toEqual({ kind: 'folder', path: root })
    const file = join(root, 'x.gguf')
    writeFileSync(file, '')
    expect(await resolveModelRef(`gguf:${file}`)).toEqual({ kind: 'gguf', path: file })
    expect(await resolveModelRef(file)).toEqual({ kind: 'gguf', path: file })
  })

  it("the package's own folder is found, where the shipped models lie", () => {
    expect(packageRoot()).toBe(fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, ''))
  })

  it('the cache lies where the environment says', () => {
    expect(hubCacheFolder({ HF_HUB_CACHE: '/a', HF_HOME: '/b' })).toBe('/a')
    expect(hubCacheFolder({ HF_HOME: '/b' })).toBe(join('/b', 'hub'))
    expect(hubCacheFolder({ XDG_CACHE_HOME: '/c' })).toBe(join('/c', 'huggingface', 'hub'))
    expect(hubCacheFolder({})).toMatch(/[\\/]\.cache[\\/]huggingface[\\/]hub$/)
  })
})
