/**
 * Content blocks with sources: a web search that ran at the provider, and citations of a document.
 *
 * @module
 */
import { type Seeded } from './seeded.ts'

/** A content block as it stands in a whole message. */
type Block = Readonly<Record<string, unknown>> & { readonly type: string }

/** A search, its result and a text that cites it. */
export function serverToolBlocks(seeded: Seeded, prose: string): Block[] {
  const id = `srvtoolu_01${seeded.id(22)}`
  const url = 'https://example.com/simulated-page'
  const title = 'A simulated page'
  return [
    { type: 'text', text: 'I will search for that.' },
    {
      type: 'server_tool_use',
      id,
      name: 'web_search',
      input: { query: 'simulated search terms' },
      caller: { type: 'direct' },
    },
    {
      type: 'web_search_tool_result',
      tool_use_id: id,
      caller: { type: 'direct' },
      content: [
        {
          type: 'web_search_result',
          url,
          title,
          encrypted_content: seeded.bytes(120).toString('base64'),
          page_age: '3 days ago',
        },
      ],
    },
    {
      type: 'text',
      text: prose,
      citations: [
        {
          type: 'web_search_result_location',
          cited_text: prose.slice(0, 60),
          encrypted_index: seeded.bytes(45).toString('base64'),
          title,
          url,
        },
      ],
    },
  ]
}

/** A text that cites the first document of the request. */
export function citedBlock(seeded: Seeded, prose: string): Block {
  const start = seeded.below(1000)
  const cited = prose.slice(0, 80)
  return {
    type: 'text',
    text: prose,
    citations: [
      {
        type: 'char_location',
        cited_text: cited,
        document_index: 0,
        document_title: 'Simulated document',
        file_id: null,
        start_char_index: start,
        end_char_index: start + cited.length,
      },
    ],
  }
}
