import { pino } from 'pino'
import { listen } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { MockModel } from './mock-model.ts'

/** A server in a process of its own, for tests that end it: JACKDAW_TEST_STORE is a store location as JSON. */
const location = JSON.parse(process.env.JACKDAW_TEST_STORE ?? '')
const store = ConversationStore.open(location)
const server = await listen({
  models: [new MockModel({ delayMs: 20, length: 1_000 })],
  store,
  logger: pino({ level: 'warn' }, pino.destination(2)),
  host: '127.0.0.1',
  port: 0,
})
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => server.close().then(() => process.exit(0)))
}
// The module runner loads nothing more once this module is through, and opening loads the driver.
await store
console.log(server.url)
