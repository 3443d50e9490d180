/** Ends a text at the first of several strings, and holds back what may turn out to be the start of one. */
export class StopText {
  private held = ''
  /** True once a stop string came up; what follows is dropped. */
  stopped = false

  constructor(private readonly stops: readonly string[]) {}

  /** @returns the text that is certain now */
  push(text: string): string {
    if (this.stopped) return ''
    const all = this.held + text
    const found = this.stops.map((stop) => all.indexOf(stop)).filter((at) => at >= 0)
    if (found.length > 0) {
      this.stopped = true
      this.held = ''
      return all.slice(0, Math.min(...found))
    }
    const keep = this.longestPrefixAtEnd(all)
    this.held = all.slice(all.length - keep)
    return all.slice(0, all.length - keep)
  }

  /** What was held back, now that nothing follows. */
  flush(): string {
    const rest = this.held
    this.held = ''
    return rest
  }

  private longestPrefixAtEnd(text: string): number {
    let longest = 0
    for (const stop of this.stops) {
      for (let length = Math.min(stop.length - 1, text.length); length > longest; length--) {
        if (text.endsWith(stop.slice(0, length))) longest = length
      }
    }
    return longest
  }
}
