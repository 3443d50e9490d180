/** A token so that it can be seen: spaces and line ends have signs. */
export const visible = (text: string): string =>
  text.replaceAll(' ', '·').replaceAll('\n', '⏎').replaceAll('\t', '⇥') || '∅'

/** For who hears it. */
export const spoken = (text: string): string =>
  text.trim() || (text.includes('\n') ? 'line end' : text === '' ? 'nothing' : 'space')

export const percent = (share: number): string => {
  const points = 100 * share
  if (points >= 10) return `${points.toFixed(0)} %`
  if (points >= 0.1) return `${points.toFixed(1)} %`
  return 'under 0.1 %'
}
