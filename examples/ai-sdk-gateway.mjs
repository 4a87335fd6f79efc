// The Vercel AI SDK through the gateway: nothing but the base URL changes.
//
//   ANTHROPIC_BASE_URL=http://127.0.0.1:8787 ANTHROPIC_API_KEY=… node examples/ai-sdk-gateway.mjs
import { createAnthropic } from '@ai-sdk/anthropic'
import { generateText } from 'ai'

const anthropic = createAnthropic({
  baseURL: `${process.env.ANTHROPIC_BASE_URL ?? 'http://127.0.0.1:8787'}/v1`,
  headers: { 'x-audit-user': 'u-1017', 'x-audit-application': 'help-desk' },
})

const { text, response } = await generateText({
  model: anthropic('claude-sonnet-4-5'),
  maxOutputTokens: 1024,
  prompt: 'Say hello.',
})
console.log(text)
console.log(`recorded as ${response.headers?.['x-audit-event-id']}`)
