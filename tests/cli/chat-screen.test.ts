import { createInterface } from 'node:readline/promises'
import { PassThrough, Writable } from 'node:stream'
import fc from 'fast-check'
import { afterEach, expect, it } from 'vitest'
import { LiveScreen } from '../../src/cli/chat-screen.ts'
import { TerminalMarkdown } from '../../src/cli/terminal-markdown.ts'
import { TerminalScreen } from './screen.ts'

let close = () => {}
afterEach(() => close())

function liveScreen(columns: number) {
  const shown = new TerminalScreen(columns)
  const keys = new PassThrough()
  const output = Object.assign(
    new Writable({
      write(chunk, _, done) {
        shown.write(chunk.toString())
        done()
      },
    }),
    { columns },
  )
  const terminal = createInterface({ input: keys, output, terminal: true, prompt: '> ' })
  close = () => terminal.close()
  const screen = new LiveScreen(terminal, { columns, write: (text) => shown.write(text) }, false)
  const type = async (text: string) => {
    keys.write(text)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  terminal.prompt()
  return { shown, screen, terminal, type }
}

it('keeps what is typed at the prompt while an answer comes, whatever its length', async () => {
  const { shown, screen, type } = liveScreen(30)
  await type('question\r')
  screen.begin('question')
  screen.piece('The **jackdaw** is')
  await type('half a thought that is longer than a row')
  screen.piece(' a small bird of the crow family')
  expect(shown.text).toBe(
    '> question\nThe jackdaw is a small bird\nof the crow family\n> half a thought that is longe\nr than a row',
  )
  await type('!')
  screen.piece('.\nIts eye is pale.')
  screen.end()
  screen.rest()
  expect(shown.text).toBe(
    '> question\nThe jackdaw is a small bird\nof the crow family.\nIts eye is pale.\n> half a thought that is longe\nr than a row!',
  )
})

it('takes a line that is entered during an answer off the screen, and says it when its turn comes', async () => {
  const { shown, screen, type } = liveScreen(30)
  await type('first\r')
  screen.begin('first')
  screen.piece('One')
  await type('second\r')
  expect(shown.text).toBe('> first\nOne\n(1 waiting) >')
  screen.piece(' two')
  screen.end()
  screen.rest()
  screen.begin('second')
  screen.piece('Three')
  expect(shown.text).toBe('> first\nOne two\n> second\nThree\n>')
})

it('shows Markdown as rows of the terminal, in colour', () => {
  const markdown = new TerminalMarkdown({ width: 24, colour: true })
  const rows = markdown.push('# Birds\n- a **pale** eye, and 2**3 is `8`\n```ts\nlet x = 1\n```\nend')
  expect([...rows, ...markdown.end()]).toEqual([
    '\x1b[1;4mBirds\x1b[0m',
    '• a \x1b[1mpale\x1b[0m eye, and 2**3 ',
    '  is \x1b[36m8\x1b[0m',
    '\x1b[2m```ts\x1b[0m',
    '\x1b[36mlet x = 1\x1b[0m',
    '\x1b[2m```\x1b[0m',
    'end',
  ])
})

it('gives the same rows in whatever pieces the text comes, none wider than the terminal', () => {
  const text = fc.array(
    fc.constantFrom('**', '*', '`', '# ', '- ', '```\n', '\n', ' ', 'word', 'jackdaw', '鳥', '12. ', '2'),
    {
      maxLength: 40,
    },
  )
  fc.assert(
    fc.property(text, fc.integer({ min: 4, max: 20 }), (pieces, width) => {
      const whole = new TerminalMarkdown({ width, colour: false })
      const wanted = [...whole.push(pieces.join('')), ...whole.end()]
      const split = new TerminalMarkdown({ width, colour: false })
      const rows = pieces.flatMap((piece) => split.push(piece))
      expect([...rows, ...split.end()]).toEqual(wanted)
    }),
  )
})
