import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { environmentOverrides } from './config.ts'
import { renderConfigReference } from './config-reference.ts'

const page = fileURLToPath(new URL('../../../../docs/operate/configuration.md', import.meta.url))

// To renew the page: AFFIDAVIT_RENEW=1 npx vitest run config-reference
if (process.env.AFFIDAVIT_RENEW === '1') writeFileSync(page, renderConfigReference())

test('docs/operate/configuration.md is what the schema renders', () => {
  expect(readFileSync(page, 'utf8')).toBe(renderConfigReference())
})

test('every environment override is documented at the key that it sets', () => {
  for (const variable of Object.keys(environmentOverrides)) {
    expect(renderConfigReference()).toContain(`\`${variable}\``)
  }
})
