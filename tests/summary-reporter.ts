import type { Reporter, TestModule } from 'vitest/node'

/** Ends the output with one line, `N passed, N failed`, whatever the other reporters print. */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly unknown[]): void {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 }
    for (const module of modules) {
      if (module.state() === 'failed' && module.errors().length > 0) counts.failed++
      for (const test of module.children.allTests()) {
        const { state } = test.result()
        if (state === 'passed' || state === 'failed' || state === 'skipped') counts[state]++
      }
    }
    const skipped = counts.skipped > 0 ? `${counts.skipped} skipped: what they need is not on this machine\n` : ''
    process.on('exit', () => console.log(`\n${skipped}${counts.passed} passed, ${counts.failed} failed`))
  }
}
