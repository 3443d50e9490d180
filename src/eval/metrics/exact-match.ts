export interface ExactMatchOptions {
  /** Default false, like the others. */
  ignoreCase?: boolean
  /** ASCII punctuation is left out. */
  ignorePunctuation?: boolean
  /** Digits are left out. */
  ignoreNumbers?: boolean
  /** What else is left out, before all. */
  ignore?: readonly RegExp[]
}

const PUNCTUATION = /[!-/:-@[-`{-~]/g

/** Whether a text is one of the references, as evaluation harnesses compare. */
export function exactMatch(
  text: string,
  references: string | readonly string[],
  { ignoreCase, ignorePunctuation, ignoreNumbers, ignore = [] }: ExactMatchOptions = {},
): boolean {
  const compared = (of: string): string => {
    let left = ignore.reduce((rest, pattern) => rest.replace(new RegExp(pattern, 'g'), ''), of)
    if (ignoreCase) left = left.toLowerCase()
    if (ignorePunctuation) left = left.replace(PUNCTUATION, '')
    return ignoreNumbers ? left.replace(/[0-9]/g, '') : left
  }
  return [references].flat().some((reference) => compared(reference) === compared(text))
}
