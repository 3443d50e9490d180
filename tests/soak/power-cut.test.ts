import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { ConversationStore } from '../../src/server/store.ts'

/** By hand more often: JACKDAW_POWER_CUTS=10. */
const cuts = Number(process.env.JACKDAW_POWER_CUTS ?? 2)

const run = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`
const script = fileURLToPath(new URL('power-cut-child.ts', import.meta.url))

const sh = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0

/** Whether a file can be a disk here. */
async function canLoop(): Promise<boolean> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  const folder = await mkdtemp(join(tmpdir(), 'jackdaw-loop-'))
  const [image, mounted] = [join(folder, 'image'), join(folder, 'mounted')]
  await newDisk(image)
  await mkdir(mounted)
  const works = sh('mkfs.ext4', '-q', '-F', image) && sh('mount', '-o', 'loop', image, mounted)
  if (works) execFileSync('umount', [mounted])
  await rm(folder, { recursive: true, force: true })
  return works
}

async function newDisk(path: string): Promise<void> {
  await writeFile(path, '')
  await truncate(path, 300 << 20)
}

const lacksLoop = !(await canLoop())
if (lacksLoop) console.warn('skipped: only root, where files can be disks, can cut the power')

it.skipIf(lacksLoop)(
  'what was acknowledged is there after a power cut',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'jackdaw-power-'))
    const [image, disk, copy, after] = ['image', 'disk', 'copy', 'after'].map((name) => join(folder, name))
    await mkdir(disk)
    await mkdir(after)
    await newDisk(image)
    execFileSync('mkfs.ext4', ['-q', '-F', image])
    execFileSync('mount', ['-o', 'loop', image, disk])
    const child = spawn(process.execPath, ['--input-type=module', '-e', run, script], {
      env: { ...process.env, JACKDAW_POWER_CUT: join(disk, 'data') },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exit = once(child, 'exit')
    try {
      const said: string[] = []
      createInterface(child.stdout).on('line', (line) => said.push(line))
      while (said.length < 3 && child.exitCode === null) await delay(50)
      for (let cut = 0; cut < cuts; cut++) {
        await delay(3_000 * Math.random())
        // The image has what reached the disk. What the system still holds for it in memory is not there.
        child.kill('SIGSTOP')
        await delay(100)
        execFileSync('cp', ['--sparse=always', image, copy])
        const [id, ...acknowledged] = [...said]
        child.kill('SIGCONT')
        execFileSync('mount', ['-o', 'loop', copy, after])
        try {
          const store = await ConversationStore.open({ dataDir: join(after, 'data') })
          const kept = (await store.read(id))?.messages.map(({ content }) => content.split(' ')[0]) ?? []
          await store.close()
          console.log(`power cut after ${acknowledged.length} messages: ${kept.length} are there`)
          expect(kept.slice(0, acknowledged.length)).toEqual(acknowledged)
        } finally {
          sh('umount', '--lazy', after)
        }
      }
    } finally {
      child.kill('SIGKILL')
      await exit
      sh('umount', '--lazy', disk)
      await rm(folder, { recursive: true, force: true })
    }
  },
  60_000 + 30_000 * cuts,
)
