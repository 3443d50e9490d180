import fc from 'fast-check'
import { expect, it } from 'vitest'
import { eventData } from '../../web/src/events.ts'

/** A body that arrives in these chunks. */
function bodyOf(chunks: readonly Uint8Array[], onCancel = () => {}): ReadableStream<Uint8Array> {
  const rest = [...chunks]
  return new ReadableStream({
    pull(controller) {
      const chunk = rest.shift()
      if (chunk) controller.enqueue(chunk)
      else controller.close()
    },
    cancel: onCancel,
  })
}

const collect = async (body: ReadableStream<Uint8Array>): Promise<string[]> => {
  const data: string[] = []
  for await (const item of eventData(body)) data.push(item)
  return data
}

function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const ends = [...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b)
  return ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end))
}

it('gives the same events wherever the network cuts the bytes, with any of the three line endings', async () => {
  const events = fc.array(fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify({ text })))
  const places = fc.array(fc.nat(10_000), { maxLength: 20 })
  await fc.assert(
    fc.asyncProperty(events, places, fc.constantFrom('\n', '\r\n', '\r'), async (sent, at, end) => {
      const text = sent.map((data) => `event: token${end}data: ${data}${end}${end}`).join('')
      // A lone CR at the very end may be half of CR LF, so another line follows.
      const bytes = new TextEncoder().encode(`${text}: done${end}`)
      expect(await collect(bodyOf(cut(bytes, at)))).toEqual(sent)
    }),
  )
})

it('joins the lines of one event, passes over comments and other fields, and drops an event cut off at the end', async () => {
  const bytes = new TextEncoder().encode(': hello\nid: 3\ndata: a\ndata:b\n\ndata\n\ndata: lost')
  expect(await collect(bodyOf([bytes]))).toEqual(['a\nb'])
})

it('never throws on bytes that are no events', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 10 }), async (chunks) => {
      for (const data of await collect(bodyOf(chunks))) expect(typeof data).toBe('string')
    }),
  )
})

it('closes the connection when its reader leaves early', async () => {
  let cancelled = false
  const event = new TextEncoder().encode('data: 1\n\n')
  const body = bodyOf([event, event, event, event], () => {
    cancelled = true
  })
  for await (const data of eventData(body)) {
    expect(data).toBe('1')
    break
  }
  expect(cancelled).toBe(true)
})
