import { z } from 'zod'
import type { ChatMessage, ServedModel } from '../generate/types.ts'
import { imageKind } from '../image/kind.ts'
import { badRequest } from './errors.ts'

/** The content of OpenAI's messages: text, or parts that are text and pictures. */

const textPart = z.object({ type: z.literal('text'), text: z.string() })
const imagePart = z.object({
  type: z.literal('image_url'),
  image_url: z.object({ url: z.string(), detail: z.enum(['auto', 'low', 'high']).nullish() }),
})

/** A picture that a message shows: its address, and where in the content it stands. */
export interface ShownImage {
  readonly url: string
  readonly place: number
}

export const content = z
  .union([z.string(), z.array(z.discriminatedUnion('type', [textPart, imagePart]))], {
    error: 'must be a string, or an array of parts of type "text" or "image_url"',
  })
  .transform((value): { text: string; shown: ShownImage[] } => {
    if (typeof value === 'string') return { text: value, shown: [] }
    return {
      text: value.map((part) => (part.type === 'text' ? part.text : '')).join(''),
      shown: value.flatMap((part, place) => (part.type === 'image_url' ? [{ url: part.image_url.url, place }] : [])),
    }
  })

/**
 * Messages with the pictures that they show.
 *
 * @throws RequestError where the model cannot see, or an address is not a picture itself: this server fetches none
 */
export function withImages(
  messages: readonly (ChatMessage & { shown: readonly ShownImage[] })[],
  model: ServedModel,
): ChatMessage[] {
  return messages.map(({ shown, ...message }, index) => {
    if (shown.length === 0) return message
    const images = shown.map(({ url, place }) => {
      const param = `messages.${index}.content.${place}`
      if (!model.canSee) {
        throw badRequest(
          `Invalid '${param}.type': image_url is only for models that can see, and ${model.id} cannot.`,
          `${param}.type`,
          'invalid_value',
        )
      }
      return decoded(url, `${param}.image_url.url`)
    })
    return { ...message, images }
  })
}

function decoded(url: string, param: string): Uint8Array {
  const [, base64] = /^data:image\/[\w.+-]+;base64,([A-Za-z0-9+/=\s]+)$/.exec(url) ?? []
  const bytes = base64 === undefined ? undefined : new Uint8Array(Buffer.from(base64, 'base64'))
  if (!bytes || !imageKind(bytes)) {
    throw badRequest(
      `Invalid '${param}': must be a data URL of a PNG, JPEG, GIF or WebP, in base64; this server fetches no pictures.`,
      param,
      'invalid_value',
    )
  }
  return bytes
}
