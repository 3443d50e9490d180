import type { ReplyEvent } from '../../src/server/wire.ts'
import { replyEvent } from '../../src/server/wire.ts'

/** The events of a reply, checked against the wire's schema. */
export async function* replyEvents(response: Response): AsyncGenerator<ReplyEvent, void, void> {
  if (!response.body) throw new Error('the response has no body')
  let text = ''
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const blocks = text.split('\n\n')
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const match = /^event: (\w+)\ndata: (.*)$/s.exec(block)
      if (!match) throw new Error(`not a server-sent event: ${block}`)
      const event = replyEvent.parse(JSON.parse(match[2]))
      if (event.type !== match[1]) throw new Error(`event ${match[1]} has type ${event.type}`)
      yield event
    }
  }
  if (text !== '') throw new Error(`the stream ends within an event: ${text}`)
}
