import { pino } from 'pino'
import { listen } from '../../src/server/listen.ts'
import { ConversationStore } from '../../src/server/store.ts'
import { MockModel } from '../server/mock-model.ts'

/** A server in a process of its own, to be killed: JACKDAW_SOAK has its port and where its conversations are. */
const { port, location } = JSON.parse(process.env.JACKDAW_SOAK ?? '')
const logger = pino({ level: 'error' }, pino.destination(2))
const store = await ConversationStore.open(location).catch((error: Error) => {
  console.error(error.message)
  process.exit(1)
})
const server = await listen({
  models: [new MockModel({ delayMs: 15, length: 40, contextLength: 1_000_000 })],
  store,
  logger,
  host: '127.0.0.1',
  port,
  // All clients have one address here.
  limits: { maxRequestsPerClient: 500 },
})
process.once('SIGTERM', () => server.close().then(() => process.exit(0)))
console.log('ready')
