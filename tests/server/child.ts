import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { StoreLocation } from '../../src/server/store.ts'

// Node 20 runs no TypeScript; Vite's module runner does.
const run = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`

export interface ServerChild {
  url: string
  process: ChildProcess
  /** Sends the signal and waits for the end. @returns the exit code; null after SIGKILL. */
  end(signal: NodeJS.Signals): Promise<number | null>
}

/** Starts serve-child.ts. @throws with what it wrote to standard error where it ends before it listens. */
export async function startChild(location: StoreLocation): Promise<ServerChild> {
  const script = fileURLToPath(new URL('serve-child.ts', import.meta.url))
  const child = spawn(process.execPath, ['--input-type=module', '-e', run, script], {
    env: { ...process.env, JACKDAW_TEST_STORE: JSON.stringify(location) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stderr = ''
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const exit = once(child, 'exit')
  const url = await Promise.race([
    once(createInterface(child.stdout), 'line').then(([line]) => line as string),
    exit.then(() => Promise.reject(new Error(`the server ended before it listened: ${stderr}`))),
  ])
  return {
    url,
    process: child,
    async end(signal) {
      child.kill(signal)
      const [code] = await exit
      return code
    },
  }
}
