// The Anthropic SDK, recorded inside the application (Bedrock, Vertex and Foundry clients alike).
//
//   AFFIDAVIT_URL=http://127.0.0.1:8787 AFFIDAVIT_KEY=… ANTHROPIC_API_KEY=… node examples/anthropic-sdk.mjs
import Anthropic from '@anthropic-ai/sdk'
import { auditMiddleware, gatewayDestination } from '@affidavit/sdk'

const destination = gatewayDestination({
  url: process.env.AFFIDAVIT_URL ?? 'http://127.0.0.1:8787',
  key: process.env.AFFIDAVIT_KEY ?? '',
  spoolDirectory: process.env.AFFIDAVIT_SPOOL ?? '.affidavit/spool',
})
const client = new Anthropic({
  middleware: [
    auditMiddleware({
      destination,
      identity: () => ({ user: 'u-1017', session: 'case-42', application: 'help-desk' }),
    }),
  ],
})

const stream = client.messages.stream({
  model: 'claude-sonnet-4-5',
  max_tokens: 1024,
  messages: [{ role: 'user', content: 'Say hello.' }],
})
stream.on('text', (text) => process.stdout.write(text))
await stream.finalMessage()
process.stdout.write('\n')

// Ships what is left. Without it the records stay in the spool until the next start.
await destination.close()
