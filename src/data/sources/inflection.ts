/** Forms of English words: the rules, and the commonest words that do not follow them. */

const PLURALS: Readonly<Record<string, string>> = Object.fromEntries(
  (
    'man men|woman women|child children|foot feet|tooth teeth|goose geese|mouse mice|louse lice|ox oxen|person people|' +
    'knife knives|wife wives|life lives|leaf leaves|loaf loaves|wolf wolves|shelf shelves|half halves|calf calves|' +
    'thief thieves|self selves|elf elves|scarf scarves|sheep sheep|deer deer|fish fish|species species|series series|' +
    'aircraft aircraft|potato potatoes|tomato tomatoes|hero heroes|echo echoes|veto vetoes|crisis crises|thesis theses|' +
    'analysis analyses|basis bases|oasis oases|cactus cacti|stimulus stimuli|phenomenon phenomena|criterion criteria|die dice'
  )
    .split('|')
    .map((pair) => pair.split(' ')),
)

const PASTS: Readonly<Record<string, string>> = Object.fromEntries(
  (
    'be was|have had|do did|go went|say said|get got|make made|know knew|think thought|take took|see saw|come came|' +
    'find found|give gave|tell told|feel felt|become became|leave left|put put|bring brought|begin began|keep kept|' +
    'hold held|write wrote|stand stood|hear heard|let let|mean meant|set set|meet met|run ran|pay paid|sit sat|' +
    'speak spoke|lead led|grow grew|lose lost|fall fell|send sent|build built|understand understood|draw drew|' +
    'break broke|spend spent|cut cut|rise rose|drive drove|buy bought|wear wore|choose chose|eat ate|drink drank|' +
    'sing sang|swim swam|fly flew|sleep slept|teach taught|catch caught|throw threw|fight fought|sell sold|win won|' +
    'forget forgot|hide hid|ride rode|ring rang|shake shook|shine shone|shoot shot|shut shut|sink sank|steal stole|' +
    'stick stuck|strike struck|swear swore|sweep swept|swing swung|tear tore|wake woke|bite bit|blow blew|feed fed|' +
    'freeze froze|hang hung|hit hit|hurt hurt|lend lent|dig dug|deal dealt|cost cost|bend bent|bind bound|bleed bled|' +
    'breed bred|burst burst|cling clung|creep crept|flee fled|forgive forgave|grind ground|kneel knelt|quit quit|' +
    'read read|seek sought|shrink shrank|slide slid|spin spun|split split|spread spread|spring sprang|stink stank|' +
    'weave wove|weep wept|wind wound|bear bore|beat beat|bet bet|cast cast|lay laid|lie lay|rid rid|thrust thrust'
  )
    .split('|')
    .map((pair) => pair.split(' ')),
)

/** Verbs of more than one syllable whose last is stressed, and so is doubled. */
const DOUBLES =
  /^(?:[^aeiou]*[aeiou][bdgklmnprtvz]|qu[aeiou][bdgmnpt]|admit|begin|commit|compel|control|forbid|forget|occur|omit|permit|prefer|refer|regret|submit|transfer|upset|expel|propel|equip|rebel|confer|infer|deter|defer|acquit)$/

/** `cat` → `cats`, `city` → `cities`, `mouse` → `mice`. */
export function pluralOf(noun: string): string {
  const known = PLURALS[noun]
  if (known) return known
  for (const ending of ['woman', 'man', 'child', 'foot', 'tooth', 'fish', 'wife']) {
    if (noun.endsWith(ending) && noun !== 'human' && noun !== 'german')
      return noun.slice(0, -ending.length) + PLURALS[ending]
  }
  if (/[^aeiou]y$/.test(noun)) return `${noun.slice(0, -1)}ies`
  if (/(?:s|x|z|ch|sh)$/.test(noun)) return `${noun}es`
  return `${noun}s`
}

/** `walk` → `walked`, `stop` → `stopped`, `go` → `went`. */
export function pastOf(verb: string): string {
  const known = PASTS[verb]
  if (known) return known
  if (verb.endsWith('e')) return `${verb}d`
  if (/[^aeiou]y$/.test(verb)) return `${verb.slice(0, -1)}ied`
  if (DOUBLES.test(verb)) return `${verb}${verb.at(-1)}ed`
  return `${verb}ed`
}

/** Whether a word's plural is one of those that follow no rule. */
export const hasOwnPlural = (noun: string): boolean => noun in PLURALS
export const hasOwnPast = (verb: string): boolean => verb in PASTS
export const IRREGULAR_NOUNS = Object.keys(PLURALS)
export const IRREGULAR_VERBS = Object.keys(PASTS)
