import fc from 'fast-check'
import { expect, it } from 'vitest'
import { hasMath, withDollars } from '../../web/src/math.ts'

it('gives every way of writing formulas one pair of delimiters', () => {
  expect(withDollars('so \\(a + b\\) and $c^2$, and $$d$$.')).toBe('so $$a + b$$ and $$c^2$$, and $$d$$.')
  expect(withDollars('before\n\\[\na = b\n\\]\nafter')).toBe('before\n$$\na = b\n$$\nafter')
  expect(withDollars('- item\n  \\[x\\]')).toBe('- item\n  $$\n  x\n  $$')
  expect(withDollars('$$ E = mc^2 $$')).toBe('$$\nE = mc^2\n$$')
  expect(withDollars('in a line \\[x\\] of text')).toBe('in a line $$x$$ of text')
})

it('leaves money, escapes and code as they are', () => {
  for (const text of [
    'It costs $5, or $10 with cream.',
    'from $5 to $7',
    'a \\$5 note and a \\$6 note',
    'the `$HOME` and `\\(x\\)` of a shell',
    '``a ` $b$``',
    '```sh\necho $PATH$HOME \\[x\\]\n```',
    '~~~\n$a$\n~~~',
    '```\nunfinished $a$',
  ]) {
    expect(withDollars(text)).toBe(text)
  }
  expect(hasMath('plain words')).toBe(false)
})

it('takes any text, and does nothing to one without delimiters', () => {
  const pieces = fc.array(fc.constantFrom('$', '$$', '\\(', '\\)', '\\[', '\\]', '`', '```\n', '\n', ' ', 'a', '5'))
  fc.assert(fc.property(pieces, (parts) => void withDollars(parts.join(''))))
  fc.assert(
    fc.property(fc.string(), (text) => {
      if (!hasMath(text)) expect(withDollars(text)).toBe(text)
    }),
  )
})
