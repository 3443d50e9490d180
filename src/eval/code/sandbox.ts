import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { DEFAULT_GUEST } from './driver.ts'
import type { Ended } from './guest.ts'
import { Interpreter, InterpreterError, type Message, type Raised } from './interpreter.ts'

/**
 * Python that nobody has to trust (docs/sandbox.md says what is promised): CPython in WebAssembly, which can call nothing
 * but a clock and a pipe, in a process from which everything is taken away. A fresh interpreter for every program.
 */

export interface SandboxOptions {
  /** Programs that run at a time, in two processes each of which one works. Default: one a processor, four at most. */
  workers?: number
  /** Processor time of a program where the system tells it (Linux), else time that passes. Default 3000. */
  timeoutMs?: number
  /** Of an interpreter. Default 256. */
  memoryMb?: number
}

export interface ProgramResult {
  /**
   * - `finished`: it ran to its end;
   * - `raised`: an exception ended it;
   * - `exited`: it called `sys.exit` or `os._exit`;
   * - `timeout`, `memory`: it reached a limit;
   * - `crashed`: it broke its interpreter, or no longer let itself be talked to.
   *
   * All but the limits are what a program says of itself, and a program can lie: to judge one, `check` it.
   */
  readonly status: 'finished' | 'raised' | 'exited' | 'timeout' | 'memory' | 'crashed'
  /** What it printed, up to 64 KB. */
  readonly output: string
  readonly exitCode?: number
  readonly raised?: Raised
  /** In a few words. */
  readonly reason?: string
}

/** A function to be written, and how it is tested: a problem of HumanEval. */
export interface CodeTest {
  /** What the test's interpreter runs first: the problem's text, which may define helpers. */
  readonly prompt: string
  /** Defines `check(candidate)`. */
  readonly test: string
  /** The name of the function under test. */
  readonly entryPoint: string
}

export interface Verdict {
  readonly passed: boolean
  /** `passed`, `timed out`, or `failed: …`. */
  readonly result: string
}

/** Two interpreters: one for a program, one for its test. Each is started when it is first needed. */
interface Pair {
  program?: Interpreter
  test?: Interpreter
}

/** Each has two processes of 200 MB. */
const MOST_WORKERS = 4
/** A process that has worked for so long is replaced; where there is no one left to do so, the system ends it later. */
const RETIRE_SECONDS = 60
/** Time that passes, as a multiple of the processor time that a program has: other processes want the processor, too. */
const PATIENCE = 8
const LOOK_MS = 100

export class Sandbox {
  private readonly timeoutMs: number
  private readonly memoryMb: number
  private readonly pairs: Pair[]
  private readonly idle: Pair[]
  private readonly queue: ((pair: Pair) => void)[] = []
  private isClosed = false

  constructor({
    workers = Math.min(MOST_WORKERS, availableParallelism()),
    timeoutMs = 3000,
    memoryMb = 256,
  }: SandboxOptions = {}) {
    if (!(workers >= 1)) throw new Error(`a sandbox needs at least one worker, got ${workers}`)
    if (!(timeoutMs > 0)) throw new Error(`a program needs some time, got ${timeoutMs} ms`)
    if (!(memoryMb >= 16 && memoryMb <= 2048)) throw new Error(`memory is 16 to 2048 megabytes, got ${memoryMb}`)
    this.timeoutMs = timeoutMs
    this.memoryMb = memoryMb
    this.pairs = Array.from({ length: workers }, () => ({}))
    this.idle = [...this.pairs]
  }

  /** Runs a program: everything that it does is its own word, see {@link ProgramResult}. */
  async run(source: string): Promise<ProgramResult> {
    return this.borrow(async (pair) => {
      const program = await this.start(pair, 'program')
      const limit = new Limit([program], this.timeoutMs)
      try {
        const message = await program.ask(JSON.stringify({ role: 'run', source }))
        limit.end()
        const ended = await program.finish()
        return { ...outcome(message), output: ended?.output ?? '' }
      } catch (error) {
        const { message, ended } = asInterpreterError(error)
        limit.end()
        if (ended) await program.finish()
        else program.kill(message)
        const output = ended?.output ?? ''
        if (limit.isOver || ended?.slept) return { status: 'timeout', output, reason: 'timed out' }
        if (ended?.code !== undefined) return { status: 'exited', exitCode: ended.code, output, reason: message }
        return { status: 'crashed', output, reason: message }
      }
    })
  }

  /**
   * Whether a program's function does what its test asks. The test runs in an interpreter of its own, which the program
   * never sees: it sends arguments and gets values. It has passed when `check` has returned *there*; whatever a program
   * prints, exits with or replaces is nothing to it.
   *
   * @param source - of the whole program, the function under test in it
   */
  async check(source: string, { prompt, test, entryPoint }: CodeTest): Promise<Verdict> {
    return this.borrow(async (pair) => {
      const [program, tester] = await Promise.all([this.start(pair, 'program'), this.start(pair, 'test')])
      const limit = new Limit([program, tester], this.timeoutMs)
      try {
        const defined = await program.ask(JSON.stringify({ role: 'define', source, entryPoint }))
        if (defined.kind !== 'finished') return failed(defined)
        let said = await tester.ask(JSON.stringify({ role: 'check', prompt, test, entryPoint }))
        while (said.kind === 'call') {
          const answer = await program.ask(said.body)
          if (answer.kind !== 'answer') return failed(answer)
          said = await tester.ask(answer.body)
        }
        return said.kind === 'finished' ? { passed: true, result: 'passed' } : failed(said)
      } catch (error) {
        const { message, ended } = asInterpreterError(error)
        if (limit.isOver || ended?.slept) return { passed: false, result: 'timed out' }
        return { passed: false, result: `failed: the program ${message}` }
      } finally {
        limit.end()
        await Promise.all([program.finish(), tester.finish()])
      }
    })
  }

  /** Ends all processes; what runs in them has crashed. */
  close(): void {
    this.isClosed = true
    for (const { program, test } of this.pairs) {
      program?.kill('was stopped')
      test?.kill('was stopped')
    }
  }

  private async borrow<T>(use: (pair: Pair) => Promise<T>): Promise<T> {
    if (this.isClosed) throw new Error(CLOSED)
    const pair = this.idle.pop() ?? (await new Promise<Pair>((resolve) => this.queue.push(resolve)))
    try {
      return await use(pair)
    } finally {
      const next = this.queue.shift()
      if (next) next(pair)
      else this.idle.push(pair)
    }
  }

  /** An interpreter that waits for its task: the one that is there, or a new one. */
  private async start(pair: Pair, role: keyof Pair): Promise<Interpreter> {
    const there = pair[role]
    if (there && (processorMs(there.pid) ?? 0) < RETIRE_SECONDS * 1000 && (await isReady(there))) return there
    there?.kill('has worked long enough')
    if (this.isClosed) throw new Error(CLOSED)
    const { memoryMb } = this
    const processorSeconds = 4 * RETIRE_SECONDS + Math.ceil((2 * this.timeoutMs) / 1000)
    const guest = { ...DEFAULT_GUEST, sleepMs: this.timeoutMs }
    const interpreter = new Interpreter({ memoryMb, processorSeconds, ...guest })
    pair[role] = interpreter
    try {
      await interpreter.ready()
      return interpreter
    } catch (error) {
      throw new Error(this.isClosed ? CLOSED : `an interpreter ${(error as Error).message} before it had begun`)
    }
  }
}

const CLOSED = 'this sandbox is closed'

/** Its process may have ended since the last program, or be unable to begin again. */
const isReady = (interpreter: Interpreter): Promise<boolean> =>
  interpreter.ready().then(
    () => true,
    () => false,
  )

/** One program in a sandbox of its own. */
export async function runProgram(source: string, options?: SandboxOptions): Promise<ProgramResult> {
  const sandbox = new Sandbox({ ...options, workers: 1 })
  try {
    return await sandbox.run(source)
  } finally {
    sandbox.close()
  }
}

function outcome({ kind, body }: Message): Omit<ProgramResult, 'output'> {
  if (kind === 'finished') return { status: 'finished' }
  if (kind === 'exited') return { status: 'exited', exitCode: Number(JSON.parse(body)) }
  if (kind !== 'raised') return { status: 'crashed', reason: 'spoke out of turn' }
  const raised = JSON.parse(body) as Raised
  const reason = describe(raised)
  return { status: raised.type === 'MemoryError' ? 'memory' : 'raised', raised, reason }
}

function failed({ kind, body }: Message): Verdict {
  if (kind !== 'raised') return { passed: false, result: 'failed: the program spoke out of turn' }
  return { passed: false, result: `failed: ${describe(JSON.parse(body) as Raised)}` }
}

const describe = ({ type, message, line }: Raised): string =>
  `${type}${message && `: ${message}`}${line === null ? '' : ` (line ${line})`}`

function asInterpreterError(error: unknown): InterpreterError & { readonly ended?: Ended } {
  if (error instanceof InterpreterError) return error
  if (error instanceof SyntaxError) return new InterpreterError('spoke out of turn')
  throw error
}

/** Kills interpreters that take too much time together. */
class Limit {
  isOver = false
  private readonly timer: NodeJS.Timeout
  private readonly before: (number | undefined)[]
  private readonly started = performance.now()

  constructor(
    private readonly interpreters: readonly Interpreter[],
    private readonly ms: number,
  ) {
    this.before = interpreters.map(({ pid }) => processorMs(pid))
    this.timer = setInterval(() => this.look(), LOOK_MS)
  }

  end(): void {
    clearInterval(this.timer)
  }

  private look(): void {
    const passed = performance.now() - this.started
    const worked = this.interpreters.reduce((sum, { pid }, i) => {
      const [before, now] = [this.before[i], processorMs(pid)]
      return sum + (before === undefined || now === undefined ? passed : now - before)
    }, 0)
    if (worked <= this.ms && passed <= this.ms * PATIENCE) return
    this.isOver = true
    this.end()
    for (const interpreter of this.interpreters) interpreter.kill('took too long')
  }
}

/** Of a process's first thread, which the interpreter works in; compiling and collecting garbage are others' work. */
function processorMs(pid: number | undefined): number | undefined {
  if (process.platform !== 'linux' || pid === undefined) return undefined
  try {
    const stat = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const ticksAMs = 100 / 1000 // USER_HZ, the same on every Linux
    return (Number(fields[11]) + Number(fields[12])) / ticksAMs
  } catch {
    return undefined // the process has ended
  }
}
