import { lockFolder } from '../../src/server/folder-lock.ts'

/** Locks a folder in a process of its own and holds it: JACKDAW_TEST_LOCK is the folder and the options as JSON. */
const { folder, options } = JSON.parse(process.env.JACKDAW_TEST_LOCK ?? '')
await lockFolder(folder, options)
console.log('locked')
setInterval(() => {}, 1_000)
