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
