import { and, eq, inArray, isNull, lt, or, sql } from 'drizzle-orm'
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core'
import { type Context, Hono } from 'hono'
import { type ImageKind, imageKind } from '../image/kind.ts'
import { badRequest, RequestError } from './errors.ts'
import { files } from './schema.ts'
import type { ConversationStore } from './store.ts'
import type { Part, StoredFile } from './wire.ts'

/** What is uploaded and drawn. It lies in the database: whoever has the one has the other, and servers stay stateless. */

export const maxFileBytes = 16 * 1024 * 1024
/** Of a picture that a browser unpacks. */
const maxPixels = 64 * 1024 * 1024
/** Uploaded and never sent: it goes with a later upload. */
const unusedAfter = '1 day'

type Database = PgDatabase<PgQueryResultHKT>

export interface NewFile {
  bytes: Uint8Array
  /** Where it is known: the file goes when the conversation does. */
  conversationId?: string
}

/** @throws RequestError where the bytes are no picture that is taken. */
export function pictureOf(bytes: Uint8Array): ImageKind {
  const kind = imageKind(bytes)
  if (!kind) throw new RequestError(415, 'This is no picture that can be taken: send PNG, JPEG, GIF or WebP.')
  if (kind.width * kind.height > maxPixels) {
    throw badRequest(`The picture has ${kind.width} × ${kind.height} pixels; the most is 64 million.`)
  }
  return kind
}

/** @param kind - as `pictureOf` found it */
export async function insertFile(
  database: Database,
  { bytes, conversationId }: NewFile,
  kind: ImageKind,
): Promise<StoredFile> {
  await database
    .delete(files)
    .where(and(isNull(files.conversationId), lt(files.createdAt, sql`now() - ${unusedAfter}::interval`)))
  const [row] = await database
    .insert(files)
    .values({ ...kind, bytes, conversationId })
    .returning({ id: files.id })
  return { id: row.id, ...kind, size: bytes.length }
}

export async function selectFile(
  database: Database,
  id: string,
): Promise<{ mediaType: string; bytes: Uint8Array } | undefined> {
  const [row] = await database
    .select({ mediaType: files.mediaType, bytes: files.bytes })
    .from(files)
    .where(eq(files.id, id))
  return row
}

/**
 * Parts as they are kept: of pictures the size that their files have. The files are the conversation's from now on.
 *
 * @returns undefined where a file is not there, or another conversation's
 */
export async function claimFiles(
  database: Database,
  parts: readonly Part[],
  conversationId: string,
): Promise<Part[] | undefined> {
  const ids = [...new Set(parts.flatMap((part) => (part.type === 'image' ? [part.fileId] : [])))]
  if (ids.length === 0) return [...parts]
  const rows = await database
    .update(files)
    .set({ conversationId })
    .where(and(inArray(files.id, ids), or(isNull(files.conversationId), eq(files.conversationId, conversationId))))
    .returning({ id: files.id, width: files.width, height: files.height })
  if (rows.length < ids.length) return undefined
  return parts.map((part) => {
    const file = part.type === 'image' ? rows.find(({ id }) => id === part.fileId) : undefined
    return part.type === 'image' && file ? { ...part, width: file.width, height: file.height } : part
  })
}

/** Uploads, and what was uploaded or drawn. */
export function fileRoutes(openStore: () => Promise<ConversationStore>, idOf: (context: Context) => string): Hono {
  const app = new Hono()

  app.post('/', async (context) => {
    // A form of a foreign page could send other types without asking first.
    if (!/^image\//.test(context.req.header('content-type') ?? '')) {
      throw new RequestError(415, 'The body must be a picture, sent with its type: "Content-Type: image/png".')
    }
    const bytes = new Uint8Array(await context.req.arrayBuffer())
    return context.json(await (await openStore()).addFile({ bytes }), 201)
  })

  app.get('/:id', async (context) => {
    const file = await (await openStore()).file(idOf(context))
    if (!file) throw new RequestError(404, 'There is no such file.', { code: 'not_found' })
    return context.body(new Uint8Array(file.bytes), 200, {
      'content-type': file.mediaType,
      'content-length': String(file.bytes.length),
      // Nothing in it runs, should it be opened as a page of its own after all.
      'content-security-policy': "default-src 'none'; sandbox",
      'cross-origin-resource-policy': 'same-origin',
      'cache-control': 'private, max-age=31536000, immutable',
    })
  })

  return app
}
