import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { z } from 'zod'
import type { ErrorBody } from './wire.ts'

type ErrorType =
  | 'invalid_request_error'
  | 'authentication_error'
  | 'permission_error'
  | 'not_found_error'
  | 'rate_limit_error'
  | 'server_error'

const typeOfStatus: Readonly<Record<number, ErrorType>> = {
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  429: 'rate_limit_error',
  500: 'server_error',
  503: 'server_error',
}

/** A failure as the client sees it, in OpenAI's shape. */
export class RequestError extends Error {
  readonly status: ContentfulStatusCode
  readonly body: ErrorBody
  /** After how many seconds another try may succeed. */
  readonly retryAfter?: number

  /** @param param - The field of the request that is wrong. @param code - OpenAI's, where it has one. */
  constructor(
    status: ContentfulStatusCode,
    message: string,
    {
      param = null,
      code = null,
      retryAfter,
    }: { param?: string | null; code?: string | null; retryAfter?: number } = {},
  ) {
    super(message)
    this.status = status
    this.retryAfter = retryAfter
    this.body = { error: { message, type: typeOfStatus[status] ?? 'invalid_request_error', param, code } }
  }
}

export const badRequest = (message: string, param: string | null = null, code: string | null = null): RequestError =>
  new RequestError(400, message, { param, code })

/** What a client may know of a failure that is ours. */
export const internalError = (): RequestError =>
  new RequestError(500, 'The server failed to answer; its log says why.', { code: 'internal_error' })

/** `OpenAI` says "messages.0.role"; so do we. */
export function check<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const issue = result.error.issues[0]
  if (issue.code === 'unrecognized_keys') {
    const param = [...issue.path, issue.keys[0]].join('.')
    throw badRequest(`Unknown parameter: '${param}'.`, param, 'unknown_parameter')
  }
  const param = issue.path.join('.')
  throw badRequest(`Invalid '${param || 'body'}': ${issue.message}.`, param || null, 'invalid_value')
}

/** The JSON body, checked. @throws RequestError where it is none, or is not as the schema says */
export const readBody = async <Schema extends z.ZodType>(context: Context, schema: Schema): Promise<z.output<Schema>> =>
  check(schema, await readJson(context))

/** The JSON body. Other content types are refused: a foreign page may send those without asking first. */
export async function readJson(context: Context): Promise<unknown> {
  const contentType = context.req.header('content-type')?.split(';')[0].trim().toLowerCase()
  if (contentType !== 'application/json') {
    throw new RequestError(415, 'The body must be JSON, sent with the header "Content-Type: application/json".')
  }
  const text = await context.req.text()
  try {
    return JSON.parse(text)
  } catch {
    throw badRequest('The body is not valid JSON.', null, 'invalid_json')
  }
}
