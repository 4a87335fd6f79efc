// LangChain through the gateway: nothing but the base URL changes.
//
//   ANTHROPIC_BASE_URL=http://127.0.0.1:8787 ANTHROPIC_API_KEY=… node examples/langchain-gateway.mjs
import { ChatAnthropic } from '@langchain/anthropic'

const model = new ChatAnthropic({
  model: 'claude-sonnet-4-5',
  maxTokens: 1024,
  anthropicApiUrl: process.env.ANTHROPIC_BASE_URL ?? 'http://127.0.0.1:8787',
  clientOptions: {
    defaultHeaders: { 'x-audit-user': 'u-1017', 'x-audit-application': 'help-desk' },
  },
})

const message = await model.invoke('Say hello.')
console.log(message.text)
