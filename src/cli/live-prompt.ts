import type { Interface } from 'node:readline/promises'
import { displayWidth } from './display-width.ts'

export interface TerminalOutput {
  readonly columns: number
  write(text: string): unknown
}

/**
 * Rows that are written above the line on which somebody types, without disturbing it: it stays the last one, with what
 * is typed so far.
 */
export class LivePrompt {
  private readonly terminal: Interface
  private readonly output: TerminalOutput
  private hasGrowing = false
  private isClosed = false

  constructor(terminal: Interface, output: TerminalOutput) {
    this.terminal = terminal
    this.output = output
    terminal.once('close', () => {
      this.isClosed = true
    })
  }

  /** @param growing - a last row, which the next call replaces */
  show(rows: readonly string[], growing?: string): void {
    if (this.isClosed) {
      this.redraw(0, rows, growing)
      return
    }
    const cursor = this.terminal.getCursorPos()
    this.redraw(cursor.rows, rows, growing)
    // Drawn here and not by the terminal's own prompt(), which goes up first, by rows that are no longer there.
    const typed = this.terminal.getPrompt() + this.terminal.line
    const width = displayWidth(typed)
    const lastRow = Math.floor(width / this.output.columns)
    // A row that is full is left only when something is written after it.
    this.output.write(typed + (width > 0 && width % this.output.columns === 0 ? ' ' : ''))
    const up = lastRow - cursor.rows
    this.output.write(`${up > 0 ? `\x1b[${up}A` : ''}\x1b[${cursor.cols + 1}G`)
  }

  /** A line was entered while the rows go on: it is taken off the screen, to be said when its turn comes. */
  takeBack(line: string, growing?: string): void {
    const typed = displayWidth(this.terminal.getPrompt()) + displayWidth(line)
    this.redraw(Math.floor(typed / this.output.columns) + 1, [], growing)
  }

  private redraw(rowsAbove: number, rows: readonly string[], growing?: string): void {
    const up = rowsAbove + (this.hasGrowing ? 1 : 0)
    this.hasGrowing = growing !== undefined
    const text = growing === undefined ? rows : [...rows, growing]
    this.output.write(`\r${up > 0 ? `\x1b[${up}A` : ''}\x1b[J${text.map((row) => `${row}\n`).join('')}`)
  }
}
