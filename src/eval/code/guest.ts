/** What the process of an interpreter is told when it starts. */
export interface GuestOptions {
  /** Python's text that every interpreter runs first. */
  readonly driver: string
  /** A program that has slept for so long is stopped. */
  readonly sleepMs: number
  /** Characters of what a program prints that are kept. */
  readonly outputBytes: number
}

/** How an interpreter's life ended. */
export interface Ended {
  /** As Python exits. */
  readonly code?: number
  /** What WebAssembly stopped at: its stack, an unreachable instruction. */
  readonly trap?: string
  readonly slept?: boolean
  /** The memory that it grew to. */
  readonly memoryBytes: number
  readonly output: string
}

/** The first byte of what goes from the guest to its host; the length follows, four bytes, then the body. */
export const FRAME = { waits: 1, message: 2, ended: 3 } as const

/**
 * The whole program of the process that holds an interpreter; its text is handed to Node, so it may use nothing of this
 * module or any other. It compiles CPython, and runs one fresh instance after another: each reads a task and ends.
 *
 * An instance can call the forty-five functions of WASI and nothing else: no object of JavaScript is within its reach.
 * Here they know three descriptors (messages in, prints, messages out), arguments, a clock, sleep and a generator of
 * random numbers that begins alike for every program. There is no file, no folder and no socket that they could open.
 */
export function guest(require: NodeJS.Require, { driver, sleepMs, outputBytes }: GuestOptions): void {
  const { readSync, writeSync }: typeof import('node:fs') = require('node:fs')
  const exit = process.exit
  lockDown()

  const module = new WebAssembly.Module(receive())
  for (;;) runInstance()

  /** A second wall: what JavaScript could do, if ever it were made to. */
  function lockDown(): void {
    const refuse = (): never => {
      throw new Error('not in here')
    }
    const net: typeof import('node:net') = require('node:net')
    const dgram: typeof import('node:dgram') = require('node:dgram')
    const dns: typeof import('node:dns') = require('node:dns')
    const modules: object = require('node:module')
    const reach: [object, string[]][] = [
      [net.Socket.prototype, ['connect']],
      [net.Server.prototype, ['listen']],
      [dgram.Socket.prototype, ['bind', 'connect', 'send']],
      [dns, Object.keys(dns)],
      [dns.promises, Object.keys(dns.promises)],
      [modules, ['_load', '_resolveFilename', 'createRequire', 'register']],
      [process, ['kill', 'binding', '_linkedBinding', 'dlopen', 'getBuiltinModule', 'setuid', 'setgid', 'abort']],
      [process, ['_debugProcess', '_startProfilerIdleNotifier', '_kill', 'send', 'emitWarning']],
      [globalThis, ['fetch', 'WebSocket', 'EventSource', 'require', 'module', 'Worker', 'BroadcastChannel']],
    ]
    for (const [holder, names] of reach) {
      for (const name of names) {
        // A global is not looked at: some load half of Node when they are.
        if (holder !== globalThis && typeof Reflect.get(holder, name) !== 'function') continue
        Object.defineProperty(holder, name, { value: refuse, configurable: false, writable: false })
      }
    }
    for (const { prototype } of [Object, Array, Function, Promise, Map, Set, RegExp, Error, Uint8Array, DataView]) {
      Object.freeze(prototype)
    }
  }

  function receive(): Uint8Array<ArrayBuffer> {
    const exactly = (size: number): Uint8Array<ArrayBuffer> => {
      const bytes = new Uint8Array(size)
      for (let done = 0; done < size; ) {
        const count = readSync(0, bytes, done, size - done, null)
        if (count === 0) exit.call(process, 0) // the host is gone
        done += count
      }
      return bytes
    }
    return exactly(new DataView(exactly(4).buffer).getUint32(0))
  }

  function send(type: number, body: Uint8Array): void {
    const frame = new Uint8Array(5 + body.length)
    const view = new DataView(frame.buffer)
    view.setUint8(0, type)
    view.setUint32(1, body.length)
    frame.set(body, 5)
    for (let done = 0; done < frame.length; ) done += writeSync(1, frame, done)
  }

  function runInstance(): void {
    const utf8 = new TextEncoder()
    const [success, badDescriptor, notSupported] = [0, 8, 58]
    const args = ['python', '-I', '-S', '-B', '-c', driver].map((text) => utf8.encode(`${text}\0`))
    const environment = ['PYTHONHASHSEED=0', 'PYTHONUTF8=1'].map((text) => utf8.encode(`${text}\0`))
    let incoming = new Uint8Array()
    const printed: Uint8Array[] = []
    let printedBytes = 0
    let sleptMs = 0
    let random = 0x9e3779b9
    class Exit {
      constructor(readonly code: number) {}
    }
    class Slept {}

    const view = (): DataView => new DataView(memory.buffer)
    const bytes = (at: number, size: number): Uint8Array => new Uint8Array(memory.buffer, at >>> 0, size >>> 0)

    function list(texts: readonly Uint8Array[], pointers: number, at: number): number {
      for (const [i, text] of texts.entries()) {
        view().setUint32((pointers >>> 0) + 4 * i, at, true)
        bytes(at, text.length).set(text)
        at += text.length
      }
      return success
    }
    function sizes(texts: readonly Uint8Array[], count: number, size: number): number {
      view().setUint32(count >>> 0, texts.length, true)
      const total = texts.reduce((sum, { length }) => sum + length, 0)
      view().setUint32(size >>> 0, total, true)
      return success
    }
    /** The pieces of memory that a read or a write names. */
    function* pieces(vectors: number, count: number): Generator<Uint8Array> {
      for (let i = 0; i < count; i++) {
        const at = (vectors >>> 0) + 8 * i
        yield bytes(view().getUint32(at, true), view().getUint32(at + 4, true))
      }
    }

    const wasi: Record<string, (...values: number[]) => number> = {
      args_sizes_get: (count, size) => sizes(args, count, size),
      args_get: (pointers, at) => list(args, pointers, at),
      environ_sizes_get: (count, size) => sizes(environment, count, size),
      environ_get: (pointers, at) => list(environment, pointers, at),
      clock_res_get(_clock, at) {
        view().setBigUint64(at >>> 0, 1000n, true)
        return success
      },
      clock_time_get(clock, _precision, at) {
        const ms = clock === 0 ? Date.now() : performance.now()
        view().setBigUint64(at >>> 0, BigInt(Math.round(ms * 1e6)), true)
        return success
      },
      random_get(at, size) {
        const target = bytes(at, size)
        for (let i = 0; i < target.length; i++) {
          random ^= random << 13
          random ^= random >>> 17
          random ^= random << 5
          target[i] = random >>> 16
        }
        return success
      },
      sched_yield: () => success,
      proc_exit(code) {
        throw new Exit(code)
      },
      fd_read(descriptor, vectors, count, done) {
        if (descriptor !== 0) return badDescriptor
        if (incoming.length === 0) {
          send(1, new Uint8Array())
          incoming = receive()
        }
        let total = 0
        for (const piece of pieces(vectors, count)) {
          const part = incoming.subarray(0, piece.length)
          piece.set(part)
          incoming = incoming.subarray(part.length)
          total += part.length
        }
        view().setUint32(done >>> 0, total, true)
        return success
      },
      fd_write(descriptor, vectors, count, done) {
        if (descriptor !== 1 && descriptor !== 2) return badDescriptor
        let total = 0
        for (const piece of pieces(vectors, count)) {
          if (descriptor === 2) send(2, piece)
          else if (printedBytes < outputBytes) {
            const part = piece.slice(0, outputBytes - printedBytes)
            printed.push(part)
            printedBytes += part.length
          }
          total += piece.length
        }
        view().setUint32(done >>> 0, total, true)
        return success
      },
      fd_close: (descriptor) => (descriptor > 2 ? badDescriptor : success),
      fd_seek: () => notSupported,
      fd_fdstat_get(descriptor, at) {
        if (descriptor > 2) return badDescriptor
        bytes(at, 24).fill(0)
        view().setUint8(at >>> 0, 2) // a character device
        view().setBigUint64((at >>> 0) + 8, descriptor === 0 ? 2n : 64n, true) // may be read, may be written
        return success
      },
      fd_filestat_get(descriptor, at) {
        if (descriptor > 2) return badDescriptor
        bytes(at, 64).fill(0)
        view().setUint8((at >>> 0) + 16, 2)
        return success
      },
      fd_prestat_get: () => badDescriptor, // there is no folder
      /** Sleep: as long as the shortest of the clocks that are waited for. */
      poll_oneoff(subscriptions, events, count, done) {
        let shortest = Number.POSITIVE_INFINITY
        let token = 0n
        for (let i = 0; i < count; i++) {
          const at = (subscriptions >>> 0) + 48 * i
          if (view().getUint8(at + 8) !== 0) continue
          const isAbsolute = (view().getUint16(at + 40, true) & 1) === 1
          const now = view().getUint32(at + 16, true) === 0 ? Date.now() : performance.now()
          const ms = Number(view().getBigUint64(at + 24, true)) / 1e6 - (isAbsolute ? now : 0)
          if (ms >= shortest) continue
          shortest = ms
          token = view().getBigUint64(at, true)
        }
        if (shortest === Number.POSITIVE_INFINITY) return notSupported
        const ms = Math.max(0, shortest)
        if ((sleptMs += ms) > sleepMs) throw new Slept()
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
        bytes(events, 32).fill(0)
        view().setBigUint64(events >>> 0, token, true)
        view().setUint32(done >>> 0, 1, true)
        return success
      },
    }
    const names = WebAssembly.Module.imports(module).map(({ name }) => name)
    const functions = Object.fromEntries(names.map((name) => [name, wasi[name] ?? (() => notSupported)]))
    const instance = new WebAssembly.Instance(module, { wasi_snapshot_preview1: functions })
    const memory = instance.exports.memory as WebAssembly.Memory
    const ended: { code?: number; trap?: string; slept?: boolean } = {}
    try {
      ;(instance.exports._start as () => void)()
      ended.code = 0
    } catch (error) {
      if (error instanceof Exit) ended.code = error.code
      else if (error instanceof Slept) ended.slept = true
      else ended.trap = String(error)
    }
    const output = new TextDecoder().decode(new Uint8Array(printed.flatMap((part) => [...part])))
    send(3, utf8.encode(JSON.stringify({ ...ended, memoryBytes: memory.buffer.byteLength, output })))
  }
}
