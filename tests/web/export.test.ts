import fc from 'fast-check'
import { expect, it } from 'vitest'
import { fileName, toMarkdown } from '../../web/src/export.ts'

it('writes a conversation as Markdown, turn by turn', () => {
  const markdown = toMarkdown('On  birds', [
    { role: 'user', content: 'Why?\n', model: null },
    { role: 'assistant', content: 'Because `x`.', model: 'owner/model' },
  ])
  expect(markdown).toBe('# On birds\n\n## You\n\nWhy?\n\n## owner/model\n\nBecause `x`.\n')
})

it('tells pictures and tools where they stand in an answer', () => {
  const turn = {
    role: 'assistant' as const,
    content: 'It is a crow.',
    model: 'm',
    parts: [
      { type: 'tool' as const, name: 'dictionary', arguments: '{"word":"jackdaw","n":2}', result: 'a small\ncrow' },
      { type: 'tool' as const, name: 'odd', arguments: '{"wor', result: 'the arguments of odd are not JSON' },
      { type: 'image' as const, fileId: 'f', width: 1, height: 1, alt: 'a crow' },
      { type: 'text' as const, text: 'It is a crow.' },
    ],
  }
  expect(toMarkdown('t', [turn])).toBe(
    [
      '# t\n\n## m',
      '> `dictionary(word: jackdaw, n: 2)` → a small crow',
      '> `odd({"wor)` → the arguments of odd are not JSON',
      '*(picture: a crow)*',
      'It is a crow.\n',
    ].join('\n\n'),
  )
})

it('names the file after the title, with letters, digits and hyphens alone', () => {
  expect(fileName('Why are jackdaws … drawn to "shiny" things?')).toBe('Why-are-jackdaws-drawn-to-shiny-things.md')
  expect(fileName('../..')).toBe('conversation.md')
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (title) => {
      const name = fileName(title)
      expect(name).toMatch(/^[\p{Letter}\p{Number}][\p{Letter}\p{Number}-]*\.md$/u)
      expect([...name].length).toBeLessThanOrEqual(63)
    }),
  )
})
