// The Anthropic SDK through the gateway: nothing but the base URL changes.
//
//   ANTHROPIC_BASE_URL=http://127.0.0.1:8787 ANTHROPIC_API_KEY=… node examples/anthropic-sdk-gateway.mjs
import Anthropic from '@anthropic-ai/sdk'

const client = new Anthropic({
  baseURL: process.env.ANTHROPIC_BASE_URL ?? 'http://127.0.0.1:8787',
  // Optional: who is asking. The gateway removes these headers before it forwards the request.
  defaultHeaders: {
    'x-audit-user': 'u-1017',
    'x-audit-session': 'case-42',
    'x-audit-application': 'help-desk',
  },
})

const { data: message, response } = await client.messages
  .create({
    model: 'claude-sonnet-4-5',
    max_tokens: 1024,
    messages: [{ role: 'user', content: 'Say hello.' }],
  })
  .withResponse()
console.log(message.content.map((block) => (block.type === 'text' ? block.text : '')).join(''))
console.log(`recorded as ${response.headers.get('x-audit-event-id')}`)
