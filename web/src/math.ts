/** Mathematics as models write it: `\(…\)` and `\[…\]`, `$…$` and `$$…$$`. */

const anything = '[\\s\\S]'
const passages = new RegExp(
  [
    // Code is left as it is, also where its end has yet to come.
    `(?<code>^ *(?<fence>\`{3,}|~{3,})${anything}*?(?:^ *\\k<fence>[\`~]* *$|$(?!${anything})))`,
    `(?<span>(?<!\`)(?<ticks>\`+)(?!\`)${anything}*?(?<!\`)\\k<ticks>(?!\`))`,
    // Alone on its lines.
    `^(?<indent>[ \\t]*)(?:\\\\\\[(?<display>${anything}+?)\\\\\\]|\\$\\$(?<displayed>[^$]+?)\\$\\$)[ \\t]*$`,
    `\\\\\\[(?<bracketed>${anything}+?)\\\\\\]`,
    `\\\\\\((?<inline>${anything}+?)\\\\\\)`,
    // Nothing that money looks like: no space inside, no digit after.
    `(?<![\\\\\\w$])\\$(?=[^\\s$])(?<dollars>[^$\\n]*?[^\\s\\\\$])\\$(?![\\d$])`,
  ].join('|'),
  'gm',
)

/** Whether there may be any: what draws it is loaded then. */
export const hasMath = (text: string): boolean => /\$|\\\(|\\\[/.test(text)

/** The same text with the delimiters that remark-math knows: `$$`, alone on their lines for a formula of its own. */
export function withDollars(text: string): string {
  return text.replace(passages, (whole, ...rest) => {
    const groups = rest.at(-1) as Record<string, string | undefined>
    if (groups.code ?? groups.span) return whole
    const alone = groups.display ?? groups.displayed
    if (alone !== undefined) {
      const lines = ['$$', ...alone.trim().split('\n'), '$$']
      return lines.map((line) => groups.indent + line.trim()).join('\n')
    }
    const formula = groups.bracketed ?? groups.inline ?? groups.dollars ?? ''
    return `$$${formula.trim().replace(/\s*\n\s*/g, ' ')}$$`
  })
}
