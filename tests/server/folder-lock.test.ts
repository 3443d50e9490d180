import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type LockOptions, lockFolder } from '../../src/server/folder-lock.ts'
import { until } from './support.ts'

const run = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`
const script = fileURLToPath(new URL('lock-child.ts', import.meta.url))

let folder: string
const children: ChildProcess[] = []
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'jackdaw-lock-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) await kill(child)
  await rm(folder, { recursive: true, force: true })
})

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

/** Another process, which has the folder; through `around`, a command that runs it. */
async function owner(options: LockOptions = {}, around: readonly string[] = []): Promise<ChildProcess> {
  const [program, ...args] = [...around, process.execPath, '--input-type=module', '-e', run, script]
  const child = spawn(program, args, {
    env: { ...process.env, JACKDAW_TEST_LOCK: JSON.stringify({ folder, options }) },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  children.push(child)
  const [line] = await Promise.race([once(child.stdout!, 'data'), once(child, 'exit')])
  expect(String(line).trim()).toBe('locked')
  return child
}

const mark = async () => JSON.parse(await readFile(join(folder, 'owner'), 'utf8'))

const namespaces = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
const lacksNamespaces = spawnSync(namespaces[0], [...namespaces.slice(1), 'true']).status !== 0
if (lacksNamespaces) console.warn('skipped: this user cannot make process-id namespaces (unshare --pid)')

describe.skipIf(process.platform === 'win32')('a lock that the system holds', () => {
  it('is of one process at a time, whoever has it is named, and none waits for one that was killed', async () => {
    const child = await owner()
    await expect(lockFolder(folder)).rejects.toThrow(
      `open in another jackdaw (process ${child.pid} on ${hostname()}); stop it, or choose another folder with --data.`,
    )
    await kill(child)
    const startedAt = performance.now()
    const lock = await lockFolder(folder)
    expect(performance.now() - startedAt).toBeLessThan(500)
    await expect(lockFolder(folder)).rejects.toThrow('open in this process already')
    lock.release()
    ;(await lockFolder(folder)).release()
  })

  it.skipIf(lacksNamespaces)('holds where process ids mean nothing: between two containers on one volume', async () => {
    // Its own process id is 1, as in every container.
    const child = await owner({}, namespaces)
    expect((await mark()).process).toBeLessThan(10)
    await expect(lockFolder(folder)).rejects.toThrow('open in another jackdaw')
    // The other way round: nothing that this one sees runs under the id of the one that has the folder.
    await kill(child)
    await until(async () => {
      try {
        ;(await lockFolder(folder)).release()
        return true
      } catch {
        return false
      }
    })
    const lock = await lockFolder(folder)
    await expect(owner({}, namespaces)).rejects.toThrow()
    lock.release()
    await owner({}, namespaces)
  })

  it('is free whatever was left in its files', async () => {
    for (const left of ['', 'nonsense', String(process.ppid), JSON.stringify({ process: process.ppid, host: 'x' })]) {
      await writeFile(join(folder, 'lock'), left)
      await writeFile(join(folder, 'owner'), left)
      ;(await lockFolder(folder)).release()
    }
  })
})

describe('a lock where the system has none', () => {
  const options = { systemLock: false, beatMs: 100, silenceMs: 800 }

  it('is of whoever keeps saying so, and of the next after a silence', async () => {
    const child = await owner(options)
    await expect(lockFolder(folder, options)).rejects.toThrow(`another jackdaw (process ${child.pid} on`)
    await kill(child)
    const startedAt = performance.now()
    const lock = await lockFolder(folder, options)
    expect(performance.now() - startedAt).toBeGreaterThan(options.silenceMs)
    await delay(3 * options.beatMs)
    expect((await mark()).beats).toBeGreaterThan(1)
    lock.check()
    lock.release()
    expect(await readdir(folder)).toEqual(['lock'])
    // One that was closed leaves nothing to wait for.
    const again = performance.now()
    ;(await lockFolder(folder, options)).release()
    expect(performance.now() - again).toBeLessThan(options.silenceMs)
  })

  it('is lost by one that stood still, who notices before it goes on', async () => {
    const lock = await lockFolder(folder, options)
    lock.check()
    await writeFile(join(folder, 'owner'), JSON.stringify({ ...(await mark()), nonce: 'another' }))
    // Standing still: no timer runs.
    for (const end = performance.now() + options.silenceMs; performance.now() < end; );
    expect(() => lock.check()).toThrow('Another jackdaw took the conversations')
    lock.release()
    expect((await mark()).nonce).toBe('another')
  })

  it('is of one of many that start at once', async () => {
    await writeFile(join(folder, 'owner'), 'left behind')
    const starts = await Promise.allSettled(Array.from({ length: 4 }, () => owner(options)))
    expect(starts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  })
})
