// LangChain, recorded inside the application: its Anthropic client takes the same middleware.
//
//   AFFIDAVIT_URL=http://127.0.0.1:8787 AFFIDAVIT_KEY=… ANTHROPIC_API_KEY=… node examples/langchain.mjs
import { ChatAnthropic } from '@langchain/anthropic'
import { auditMiddleware, gatewayDestination } from '@affidavit/sdk'

const destination = gatewayDestination({
  url: process.env.AFFIDAVIT_URL ?? 'http://127.0.0.1:8787',
  key: process.env.AFFIDAVIT_KEY ?? '',
  spoolDirectory: process.env.AFFIDAVIT_SPOOL ?? '.affidavit/spool',
})
const model = new ChatAnthropic({
  model: 'claude-sonnet-4-5',
  maxTokens: 1024,
  clientOptions: {
    baseURL: process.env.ANTHROPIC_BASE_URL ?? 'https://api.anthropic.com',
    middleware: [
      auditMiddleware({
        destination,
        identity: () => ({ user: 'u-1017', session: 'case-42', application: 'help-desk' }),
      }),
    ],
  },
})

for await (const part of await model.stream('Say hello.')) process.stdout.write(part.text)
process.stdout.write('\n')

await destination.close()
