// The Vercel AI SDK, recorded inside the application.
//
//   AFFIDAVIT_URL=http://127.0.0.1:8787 AFFIDAVIT_KEY=… ANTHROPIC_API_KEY=… node examples/ai-sdk.mjs
import { createAnthropic } from '@ai-sdk/anthropic'
import { auditFetch, gatewayDestination } from '@affidavit/sdk'
import { streamText } from 'ai'

const destination = gatewayDestination({
  url: process.env.AFFIDAVIT_URL ?? 'http://127.0.0.1:8787',
  key: process.env.AFFIDAVIT_KEY ?? '',
  spoolDirectory: process.env.AFFIDAVIT_SPOOL ?? '.affidavit/spool',
})
const anthropic = createAnthropic({
  baseURL: `${process.env.ANTHROPIC_BASE_URL ?? 'https://api.anthropic.com'}/v1`,
  fetch: auditFetch({
    destination,
    identity: () => ({ user: 'u-1017', session: 'case-42', application: 'help-desk' }),
  }),
})

const { textStream } = streamText({
  model: anthropic('claude-sonnet-4-5'),
  maxOutputTokens: 1024,
  prompt: 'Say hello.',
})
for await (const text of textStream) process.stdout.write(text)
process.stdout.write('\n')

await destination.close()
