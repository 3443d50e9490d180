const escapeCharacter = String.fromCharCode(27)
const sequences = new RegExp(`${escapeCharacter}\\[([\\d;]*)([A-Za-z])|[^]`, 'gu')

/** As much of a terminal as a line editor needs: rows of text, a cursor, and the sequences that move and clear. */
export class TerminalScreen {
  readonly columns: number
  private readonly lines: string[][] = [[]]
  private row = 0
  private column = 0

  constructor(columns: number) {
    this.columns = columns
  }

  /** What stands there, without the blanks at the ends of rows and the empty rows below. */
  get text(): string {
    return this.lines
      .map((line) =>
        Array.from(line, (character) => character ?? ' ')
          .join('')
          .trimEnd(),
      )
      .join('\n')
      .trimEnd()
  }

  write(text: string): boolean {
    for (const [sequence, numbers, command] of text.matchAll(sequences)) {
      if (command) this.control(command, Number(numbers.split(';')[0] || (command === 'J' || command === 'K' ? 0 : 1)))
      else if (sequence === '\r') this.column = 0
      else if (sequence === '\n') {
        // Terminals that Node sets up return on a line feed.
        this.column = 0
        this.down()
      } else this.put(sequence)
    }
    return true
  }

  private control(command: string, n: number): void {
    if (command === 'A') this.row = Math.max(0, this.row - n)
    else if (command === 'B') for (let i = 0; i < n; i++) this.down()
    else if (command === 'C') this.column += n
    else if (command === 'D') this.column = Math.max(0, this.column - n)
    else if (command === 'G') this.column = n - 1
    else if (command === 'J' || command === 'K') {
      this.lines[this.row].length = Math.min(this.lines[this.row].length, this.column)
      if (command === 'J') this.lines.length = this.row + 1
    } else if (command !== 'm') throw new Error(`the screen does not know ${command}`)
  }

  private put(character: string): void {
    if (this.column === this.columns) {
      this.column = 0
      this.down()
    }
    this.lines[this.row][this.column++] = character
  }

  private down(): void {
    this.row++
    if (this.row === this.lines.length) this.lines.push([])
  }
}
