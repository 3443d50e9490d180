import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ModelFiles } from '../hub/open.ts'
import type { ChatMessage, ChatTemplateOptions } from '../text/chat-template.ts'
import type { EncodeOptions } from '../text/tokenizer.ts'

/**
 * Chat templates are programs, and so are regular expressions: what comes with a model may run for ever or ask for all
 * memory. A process of their own runs them, with a deadline and little memory, so that whoever serves lives on. (A thread
 * would not do: V8 ends the whole process where one thread's memory is exhausted at the wrong place.)
 */

interface Task {
  readonly deadlineMs: number
}

interface RenderTask extends Task {
  readonly type: 'render'
  readonly template: string
  readonly messages: readonly ChatMessage[]
  readonly options: ChatTemplateOptions
}

interface EncodeTask extends Task {
  readonly type: 'encode'
  readonly source: ModelFiles
  readonly text: string
  readonly options?: EncodeOptions
}

export type TextTask = RenderTask | EncodeTask

/** `stopped`: which limit it reached; `error`: what is wrong with what was given. */
export type TextAnswer =
  | { readonly value: string | Int32Array }
  | { readonly stopped: string }
  | { readonly error: string }

/** A template or a tokenizer that was stopped at a limit: the model's fault, and not that of who asked. */
export class StoppedError extends Error {}

export interface TextLimits {
  /** Of one task. Default 5 seconds. */
  deadlineMs?: number
  /** Of the process, in megabytes. Default 256. */
  memoryMb?: number
  /** A process that nobody needs is ended. Default after ten minutes. */
  idleMs?: number
}

/** Characters of a rendered conversation. */
export const MOST_RENDERED = 1 << 24
/** What may wait while one task runs. */
const MOST_WAITING = 256
/** Starting the process, and reading a tokenizer in it. */
const START_MS = 60_000
/** A task that has not stopped itself by so long after its deadline is stopped by the end of its process. */
const GRACE_MS = 3000

/** What the process may know of this one's environment: nothing that is secret. */
const ENVIRONMENT = ['PATH', 'SystemRoot', 'TMPDIR', 'TEMP', 'TMP']

/** Runs a model's template and tokenizer in a process of their own, which is started when it is first needed. */
export class TextProcess {
  private readonly deadlineMs: number
  private readonly memoryMb: number
  private readonly idleMs: number
  private child: ChildProcess | undefined
  private hasTokenizer = false
  private waiting = 0
  private turn: Promise<unknown> = Promise.resolve()
  private idle: NodeJS.Timeout | undefined

  /** @param source - where the tokenizer lies */
  constructor(
    private readonly source: ModelFiles,
    { deadlineMs = 5000, memoryMb = 256, idleMs = 600_000 }: TextLimits = {},
  ) {
    this.deadlineMs = deadlineMs
    this.memoryMb = memoryMb
    this.idleMs = idleMs
  }

  /**
   * `renderChat` of `text/`.
   *
   * @throws StoppedError where the template reaches a limit
   */
  async render(template: string, messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): Promise<string> {
    const { deadlineMs } = this
    return (await this.ask({ type: 'render', template, messages, options, deadlineMs }, 'the chat template')) as string
  }

  /**
   * `encode` of the tokenizer.
   *
   * @throws StoppedError where the tokenizer reaches a limit
   */
  async encode(text: string, options?: EncodeOptions): Promise<number[]> {
    const { source, deadlineMs } = this
    const ids = await this.ask({ type: 'encode', source, text, options, deadlineMs }, 'the tokenizer')
    return Array.from(ids as Int32Array)
  }

  /** Ends the process. It is started again if it is needed again. */
  close(): void {
    clearTimeout(this.idle)
    this.child?.kill('SIGKILL')
    this.child = undefined
    this.hasTokenizer = false
  }

  private async ask(task: TextTask, what: string): Promise<string | Int32Array> {
    if (this.waiting >= MOST_WAITING) throw new StoppedError(`too many conversations wait for ${what}`)
    this.waiting++
    const answered = this.turn.then(() => this.run(task))
    this.turn = answered.catch(() => {})
    try {
      const answer = await answered
      if ('value' in answer) return answer.value
      if ('stopped' in answer) throw new StoppedError(`${what} ${answer.stopped}, and was stopped`)
      throw new Error(answer.error)
    } finally {
      this.waiting--
    }
  }

  private async run(task: TextTask): Promise<TextAnswer> {
    clearTimeout(this.idle)
    const child = await this.started()
    const loading = task.type === 'encode' && !this.hasTokenizer ? START_MS : 0
    // While something is asked for, the process that asks stays alive, too.
    child.ref()
    child.channel?.ref()
    const waiting = new AbortController()
    const { signal } = waiting
    const timer = setTimeout(() => child.kill('SIGKILL'), task.deadlineMs + GRACE_MS + loading)
    try {
      const started = performance.now()
      const answered = once(child, 'message', { signal }).then(([answer]) => answer as TextAnswer)
      const ended = once(child, 'exit', { signal }).then((): TextAnswer => {
        this.close()
        const late = performance.now() - started >= task.deadlineMs
        return { stopped: late ? `took more than ${task.deadlineMs / 1000} seconds` : this.memorySentence }
      })
      child.send(task)
      const answer = await Promise.race([answered, ended])
      if (task.type === 'encode' && 'value' in answer) this.hasTokenizer = true
      return answer
    } finally {
      clearTimeout(timer)
      waiting.abort()
      child.unref()
      child.channel?.unref()
      this.idle = setTimeout(() => this.close(), this.idleMs)
      this.idle.unref()
    }
  }

  private get memorySentence(): string {
    return `needed more than ${this.memoryMb} megabytes of memory`
  }

  private async started(): Promise<ChildProcess> {
    if (this.child) return this.child
    const names = ENVIRONMENT.filter((name) => process.env[name] !== undefined)
    const child = spawn(process.execPath, [`--max-old-space-size=${this.memoryMb}`, ...entry()], {
      env: Object.fromEntries(names.map((name) => [name, process.env[name]])),
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
      serialization: 'advanced',
    })
    const timer = setTimeout(() => child.kill('SIGKILL'), START_MS)
    try {
      const ended = once(child, 'exit').then(() => {
        throw new StoppedError('its templates and tokenizer did not start: this machine has too little memory or time')
      })
      await Promise.race([once(child, 'message'), ended])
      ended.catch(() => {})
    } finally {
      clearTimeout(timer)
    }
    child.on('error', () => {}) // a message that no longer reaches it: its end says so
    child.once('exit', () => {
      if (this.child === child) this.close()
    })
    this.child = child
    return child
  }
}

/** The program, built or as it is: Node 20 runs no TypeScript, Vite's module runner does. */
function entry(): string[] {
  if (!import.meta.url.endsWith('.ts')) return [fileURLToPath(new URL('text-child.js', import.meta.url))]
  const run = `import { runnerImport } from 'vite'; await runnerImport(process.argv[1], { configFile: false })`
  return ['--input-type=module', '-e', run, fileURLToPath(new URL('text-child.ts', import.meta.url))]
}
