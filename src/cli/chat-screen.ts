import type { Interface } from 'node:readline/promises'
import { LivePrompt, type TerminalOutput } from './live-prompt.ts'
import { TerminalMarkdown } from './terminal-markdown.ts'

/** What a chat is shown on. */
export interface Screen {
  /** A line's turn has come. */
  begin(line: string): void
  /** Said by the program itself. */
  note(text: string, style?: 'faint'): void
  /** A piece of an answer. */
  piece(text: string): void
  /** The answer is complete. */
  end(): void
  /** Nothing more is to be said about the line. */
  rest(): void
}

/** Answers to standard output as they are, everything else to standard error: for pipes. */
export class PlainScreen implements Screen {
  begin(): void {}

  note(text: string): void {
    process.stderr.write(`${text}\n`)
  }

  piece(text: string): void {
    process.stdout.write(text)
  }

  end(): void {
    process.stdout.write('\n')
  }

  rest(): void {}
}

/** A terminal: answers come as Markdown above the line on which the next message may already be typed. */
export class LiveScreen implements Screen {
  private readonly terminal: Interface
  private readonly output: TerminalOutput
  private readonly prompt: LivePrompt
  private readonly colour: boolean
  /** Typed during an answer, to be answered next. */
  private readonly lines: string[] = []
  private isAnswering = false
  private text: TerminalMarkdown | undefined

  constructor(terminal: Interface, output: TerminalOutput = process.stdout, colour = !process.env.NO_COLOR) {
    this.terminal = terminal
    this.output = output
    this.colour = colour
    this.prompt = new LivePrompt(terminal, output)
    terminal.on('line', (line) => {
      if (!this.isAnswering) return
      this.lines.push(line)
      this.prompt.takeBack(line, this.text?.growing)
      terminal.setPrompt(`(${this.lines.length} waiting) > `)
      terminal.prompt()
    })
  }

  begin(line: string): void {
    this.isAnswering = true
    if (this.lines.shift() === undefined) return
    this.terminal.setPrompt(this.lines.length > 0 ? `(${this.lines.length} waiting) > ` : '> ')
    this.prompt.show([`> ${line}`])
  }

  note(text: string, style?: 'faint'): void {
    const rows = text.split('\n')
    this.prompt.show(style && this.colour ? rows.map((row) => `\x1b[2m${row}\x1b[0m`) : rows)
  }

  piece(text: string): void {
    // The last column is left free: some terminals wrap when it is written.
    this.text ??= new TerminalMarkdown({ width: this.output.columns - 1, colour: this.colour })
    this.prompt.show(this.text.push(text), this.text.growing)
  }

  end(): void {
    this.prompt.show(this.text?.end() ?? [])
    this.text = undefined
  }

  rest(): void {
    this.isAnswering = this.lines.length > 0
  }
}
