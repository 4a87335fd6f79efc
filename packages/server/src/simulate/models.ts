/**
 * The models that the simulator lists. Requests may name any model; only the list is fixed.
 *
 * @module
 */

/** One row of GET /v1/models. */
export interface ModelRow {
  readonly type: 'model'
  readonly id: string
  readonly display_name: string
  readonly created_at: string
  readonly lifecycle: 'active'
}

const rows: readonly ModelRow[] = [
  ['claude-opus-5-5', 'Claude Opus 5.5', '2026-09-01T00:00:00Z'] as const,
  ['claude-sonnet-5-5', 'Claude Sonnet 5.5', '2026-09-01T00:00:00Z'] as const,
  ['claude-haiku-5-5', 'Claude Haiku 5.5', '2026-09-01T00:00:00Z'] as const,
].map(([id, name, created]) => ({
  type: 'model',
  id,
  display_name: name,
  created_at: created,
  lifecycle: 'active',
}))

/** The body of GET /v1/models, one page. */
export function modelCatalogue(): {
  readonly data: readonly ModelRow[]
  readonly has_more: boolean
  readonly first_id: string | null
  readonly last_id: string | null
} {
  return {
    data: rows,
    has_more: false,
    first_id: rows[0]?.id ?? null,
    last_id: rows.at(-1)?.id ?? null,
  }
}
