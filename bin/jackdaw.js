#!/usr/bin/env node
import { existsSync } from 'node:fs'

const main = new URL('../dist/src/cli/main.js', import.meta.url)
if (existsSync(main)) {
  await import(main.href)
} else {
  // npm leaves the build out where it may not run scripts.
  console.error('jackdaw: it is not built yet; run `npm run build` once')
  process.exitCode = 1
}
