import { nodeBackend } from '../../src/runtime/ort-node.ts'
import { LARGE } from './large-cases.ts'
import { runLarge } from './large-run.ts'

/** All large cases in a process of its own, whose number of threads `JACKDAW_THREADS` says: the hashes of their bits. */

const backend = await nodeBackend('cpu')
const hashes: Record<string, readonly string[]> = {}
for (const [name, each] of Object.entries(LARGE)) hashes[name] = (await runLarge(backend, each)).hashes
process.stdout.write(JSON.stringify(hashes))
