/** What a failure of the database means for whoever asked. */
export type StoreFailure = 'full' | 'unreachable' | 'failed'

/**
 * A failure of the database, in words of ours. Errors of PostgreSQL and its drivers carry the parameters of their
 * statement, and rows in their details: what people wrote. Of those nothing is kept, no cause either.
 */
export class StoreError extends Error {
  override name = 'StoreError'

  constructor(
    message: string,
    readonly failure: StoreFailure,
    /** PostgreSQL's SQLSTATE, or the system's name of the error. */
    readonly code?: string,
  ) {
    super(message)
  }
}

/** SQLSTATE classes whose messages tell of the server, and never of a statement's values. */
const ABOUT_THE_SERVER = /^(08|25|28|3D|40|53|57|58|XX)/

const UNREACHABLE = /^(08|57P|28|3D|ECONN|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_)/

/** How the driver says that a connection broke: it has no codes of its own. */
const BROKEN = /^(Connection terminated|timeout e|Client has encountered a connection error|Client was closed)/

/** @param doing - `cannot add a message` */
export function storeError(doing: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error
  if (isFull(error)) {
    return new StoreError(`The store ${doing}: the disk that keeps the conversations is full.`, 'full', '53100')
  }
  const { code, message, constraint, table, column, routine, name } = innermost(error)
  if (code === undefined ? BROKEN.test(message ?? '') : UNREACHABLE.test(code)) {
    const why = code ?? 'the connection broke'
    return new StoreError(`The store ${doing}: its database cannot be reached (${why}).`, 'unreachable', code)
  }
  const said = code !== undefined && ABOUT_THE_SERVER.test(code) ? message : undefined
  const where = [code ?? name, table, column, constraint, routine].filter((part) => part)
  return new StoreError(`The store ${doing}${said ? `: ${said}` : ''} (${where.join(', ')}).`, 'failed', code)
}

/** Whether a disk had no room, as Node, PostgreSQL or PGlite's file system says so. */
export function isFull(error: unknown): boolean {
  const { code, errno, name } = innermost(error)
  // WASI's numbers of ENOSPC and EDQUOT.
  const isWasi = name === 'ErrnoError' && (errno === 51 || errno === 19)
  return isWasi || code === '53100' || code === 'ENOSPC' || code === 'EDQUOT'
}

interface DatabaseFailure {
  code?: string
  errno?: number
  name?: string
  message?: string
  constraint?: string
  table?: string
  column?: string
  routine?: string
}

/** The error that others were wrapped around, and of it what is plain text. */
function innermost(error: unknown): DatabaseFailure {
  let inner: unknown = error
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause
  if (typeof inner !== 'object' || inner === null) return { name: typeof inner }
  const found = inner as Record<string, unknown>
  const text = (...keys: string[]) => keys.map((key) => found[key]).find((value) => typeof value === 'string')
  return {
    code: text('code') as string | undefined,
    errno: typeof found.errno === 'number' ? found.errno : undefined,
    name: text('name') as string | undefined,
    message: text('message') as string | undefined,
    constraint: text('constraint', 'constraint_name') as string | undefined,
    table: text('table', 'table_name') as string | undefined,
    column: text('column', 'column_name') as string | undefined,
    routine: text('routine') as string | undefined,
  }
}
