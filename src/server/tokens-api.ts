import { Hono } from 'hono'
import { readBody } from './errors.ts'
import type { ServedModels } from './served-models.ts'
import { type TokenList, tokenize } from './wire.ts'

/** How a served model's tokenizer cuts a text. */
export function tokenRoutes(models: ServedModels): Hono {
  const app = new Hono()
  app.post('/tokens', async (context) => {
    const { model: id, text } = await readBody(context, tokenize)
    const { model } = models.get(id)
    const ids = await model.encode(text)
    return context.json({ tokens: ids.map((id) => ({ id, text: model.decode([id]) })) } satisfies TokenList)
  })
  return app
}
