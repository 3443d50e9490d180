import { ConversationStore } from '../../src/server/store.ts'

/** Adds messages without end, and says of each when it is acknowledged. JACKDAW_POWER_CUT is the folder. */
const store = await ConversationStore.open({ dataDir: process.env.JACKDAW_POWER_CUT ?? '' })
const { id } = await store.create('', {})
console.log(id)
for (let n = 0; ; n++) {
  const content = `${n} ${'x'.repeat(2_000)}`
  await store.addMessage({ conversationId: id, parentId: null, role: 'user', content })
  console.log(n)
}
