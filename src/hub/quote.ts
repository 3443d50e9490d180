/** Names out of files, in error messages. */

/** A name out of a file, short and on one line, for an error message. */
export function quote(name: string): string {
  const quoted = JSON.stringify(name.slice(0, 80)).replace(/[\u007f-\u009f\u2028\u2029]/g, '?')
  return name.length > 80 || quoted.length > 90 ? `${quoted.slice(0, 80)}…"` : quoted
}

/** False where a string has half a surrogate pair, which UTF-8 cannot say. */
export const isUnicode = (text: string): boolean => !/\p{Surrogate}/u.test(text)
