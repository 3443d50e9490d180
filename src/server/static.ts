import { createReadStream } from 'node:fs'
import { readFile, realpath, stat } from 'node:fs/promises'
import { extname, join, sep } from 'node:path'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import { brotliCompress, constants } from 'node:zlib'
import type { Context, MiddlewareHandler } from 'hono'
import { RequestError } from './errors.ts'

const types: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.ico': 'image/x-icon',
  '.jpg': 'image/jpeg',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.mjs': 'text/javascript; charset=utf-8',
  '.onnx': 'application/octet-stream',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
  '.webp': 'image/webp',
  '.woff2': 'font/woff2',
}

/** A model's Markdown is shown in the page: even if something in it ran, it could load and send nothing. */
const contentSecurityPolicy = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data: blob:",
  "font-src 'self' data:",
  "connect-src 'self'",
  "worker-src 'self' blob:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Where the page names things by what they are called: a run may be `lr-0.1`. */
const PLACE_IN_PAGE = /^\/(lab|papers)\/[^/]+\/?$/

/** The built page. Addresses without an extension are places in the page, and get its index. */
export function staticFiles(folder: string): MiddlewareHandler {
  return async (context) => {
    if (context.req.method !== 'GET' && context.req.method !== 'HEAD') throw noSuchFile()
    const path = decodePath(context.req.path)
    const file =
      (await locate(folder, path)) ??
      (extname(path) === '' || PLACE_IN_PAGE.test(path) ? await locate(folder, '/index.html') : undefined)
    if (file) return send(context, file, path)
    if (path === '/') {
      throw new RequestError(404, 'The page is not built; "npm run build" builds it. The API answers under /v1.')
    }
    throw noSuchFile()
  }
}

const noSuchFile = (): RequestError => new RequestError(404, 'There is no such page or route.', { code: 'not_found' })

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    throw noSuchFile()
  }
}

interface FoundFile {
  path: string
  size: number
  tag: string
}

/** The file at a path, unless it lies outside the folder, by dots or by a link. */
async function locate(folder: string, path: string): Promise<FoundFile | undefined> {
  if (path.includes('\0')) return undefined
  try {
    const root = await realpath(folder)
    const file = await realpath(join(root, path.endsWith('/') ? `${path}index.html` : path))
    if (!file.startsWith(root + sep)) return undefined
    const found = await stat(file)
    const tag = `"${found.size.toString(36)}-${Math.floor(found.mtimeMs).toString(36)}"`
    return found.isFile() ? { path: file, size: found.size, tag } : undefined
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ENAMETOOLONG' || code === 'ELOOP') return undefined
    throw error
  }
}

/** Below this a file is read at once. */
const smallFile = 256 * 1024
/** Nor larger ones compressed: they are WebAssembly and models, which would hold the memory. */
const compressible = /^(text\/|application\/(json|manifest)|image\/svg)/
const maxCompressed = 4 * 1024 * 1024
const minCompressed = 1024

/** What was compressed once, by the file's tag: the page has a few dozen files. */
const compressedFiles = new Map<string, Promise<Buffer>>()
const compress = promisify(brotliCompress)

function compressed({ path, tag }: FoundFile): Promise<Buffer> {
  const key = `${path} ${tag}`
  let result = compressedFiles.get(key)
  if (!result) {
    result = readFile(path).then((bytes) => compress(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 7 } }))
    compressedFiles.set(key, result)
    result.catch(() => compressedFiles.delete(key))
  }
  return result
}

async function send(context: Context, file: FoundFile, path: string): Promise<Response> {
  const extension = extname(file.path)
  const headers: Record<string, string> = {
    'content-type': types[extension] ?? 'application/octet-stream',
    'content-length': String(file.size),
    etag: file.tag,
    // Vite names what it puts under assets/ after its content.
    'cache-control': path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
  }
  const isCompressible =
    compressible.test(headers['content-type']) && file.size >= minCompressed && file.size <= maxCompressed
  if (isCompressible) headers.vary = 'accept-encoding'
  if (extension === '.html') headers['content-security-policy'] = contentSecurityPolicy
  if (context.req.header('if-none-match') === file.tag) {
    const { 'content-length': _, ...rest } = headers
    return context.body(null, 304, rest)
  }
  if (context.req.method === 'HEAD') return context.body(null, 200, headers)
  if (isCompressible && /\bbr\b/.test(context.req.header('accept-encoding') ?? '')) {
    const bytes = await compressed(file)
    Object.assign(headers, { 'content-encoding': 'br', 'content-length': String(bytes.length) })
    return context.body(new Uint8Array(bytes), 200, headers)
  }
  if (file.size <= smallFile) return context.body(new Uint8Array(await readFile(file.path)), 200, headers)
  return context.body(Readable.toWeb(createReadStream(file.path)) as ReadableStream, 200, headers)
}
