import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { tmpdir } from 'node:os'

/** Limits of a process that the system keeps, whatever runs in it. */
export interface WallOptions {
  /** Of an interpreter's memory, in megabytes. */
  readonly memoryMb: number
  /** Of the process's whole life, in seconds of processor time: it ends by this even where its host is gone. */
  readonly processorSeconds: number
}

/** What a process of Node needs beside the interpreter's memory: its own heap, and CPython compiled. */
const NODE_MB = 768

/**
 * Starts Node on a script in a process from which everything is taken away: no environment, no descriptor but a pipe in
 * and a pipe out, Node's permission model without a single permission, no code from strings, no addons; where there is
 * a POSIX shell, limits on processor time, data, files and core dumps that the system keeps; on Linux, where namespaces
 * may be made, a network that has no interface.
 */
export function spawnWalled(script: string, { memoryMb, processorSeconds }: WallOptions): ChildProcess {
  const node = [
    process.execPath,
    permissionFlag(),
    '--disallow-code-generation-from-strings',
    '--no-addons',
    '--no-warnings',
    '--max-old-space-size=128',
    `--wasm-max-mem-pages=${memoryMb * 16}`,
    // Half of what threads have: Python's own recursion through C needs more than Node's default.
    '--stack-size=3900',
    '-e',
    script,
  ]
  const [command, ...args] = [...network(), ...limits(memoryMb, processorSeconds), ...node]
  return spawn(command, args, { env: {}, cwd: tmpdir(), stdio: ['pipe', 'pipe', 'ignore'], windowsHide: true })
}

const permissionFlag = (): string =>
  process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'

/** `exec` puts Node in the shell's place: the process keeps its id. */
function limits(memoryMb: number, processorSeconds: number): string[] {
  if (process.platform === 'win32') return []
  const dataKb = (memoryMb + NODE_MB) * 1024
  const script = `ulimit -c 0 && ulimit -f 0 && ulimit -t ${processorSeconds} && ulimit -d ${dataKb}; exec "$0" "$@"`
  return ['/bin/sh', '-c', script]
}

const UNSHARE = ['/usr/bin/unshare', '--map-root-user', '--net', '--']
let mayUnshare: boolean | undefined

function network(): readonly string[] {
  if (process.platform !== 'linux') return []
  mayUnshare ??= spawnSync(UNSHARE[0], [...UNSHARE.slice(1), '/bin/true'], { stdio: 'ignore' }).status === 0
  return mayUnshare ? UNSHARE : []
}
