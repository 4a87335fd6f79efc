#!/usr/bin/env node
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const main = new URL('../dist/cli/main.js', import.meta.url)
if (existsSync(fileURLToPath(main))) await import(main.href)
else {
  console.error(
    'affidavit is not compiled yet. Run `npm run build` in the checkout, then try again.',
  )
  process.exitCode = 1
}
