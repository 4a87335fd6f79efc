/**
 * Digests of an application's drafts, keyed. An application without a hash key of its own sends bare
 * SHA-256, which would confirm a guess at a short prompt for as long as the ledger exists; the gateway
 * has the key that its own records are made with, and a keyed digest is HMAC over the bare one
 * (docs/spec/hashes.md §5). So both doors give the same digest for the same bytes.
 *
 * @module
 */
import type { HashKeys } from '@affidavit/sdk/capture'

interface Side {
  readonly wire_digest: string
  readonly decoded_digest?: string | undefined
  readonly headers_digest?: string | undefined
}

/** The digests of a draft, wherever they are. */
export interface Digests {
  readonly hash: { readonly alg: string; readonly key_id: string }
  readonly prompt_hash: string | null
  readonly response_hash?: string | null | undefined
  readonly request: Side
  readonly response?: Side | undefined
  readonly delivered?: { readonly wire_digest: string } | undefined
  readonly external_refs?: readonly { readonly type: string; readonly ref: string }[] | undefined
}

const bareKeyId = 'plain'
const bareDigest = /^[0-9a-f]{64}$/

/**
 * Returns `draft` with its bare digests replaced by keyed ones, or as it is when it has keyed ones
 * already. Credential fingerprints stay: they are cut short and cannot be keyed afterwards.
 */
export function withKeyedDigests<Draft extends Digests>(
  draft: Draft,
  keys: HashKeys,
  subject: string | null,
): Draft {
  if (draft.hash.key_id !== bareKeyId || keys.mode === 'plain') return draft
  const keyed = (digest: string) => keys.digest(Buffer.from(digest, 'hex'), subject)
  return {
    ...draft,
    hash: { alg: 'hmac-sha256', key_id: keys.keyId(subject) },
    prompt_hash: draft.prompt_hash === null ? null : keyed(draft.prompt_hash),
    ...(typeof draft.response_hash === 'string' && { response_hash: keyed(draft.response_hash) }),
    request: keyedSide(draft.request, keyed),
    ...(draft.response && { response: keyedSide(draft.response, keyed) }),
    ...(draft.delivered && {
      delivered: { ...draft.delivered, wire_digest: keyed(draft.delivered.wire_digest) },
    }),
    ...(draft.external_refs && {
      external_refs: draft.external_refs.map((reference) => {
        const isBare = reference.type === 'url' && bareDigest.test(reference.ref)
        return isBare ? { ...reference, ref: keyed(reference.ref) } : reference
      }),
    }),
  }
}

function keyedSide<S extends Side>(side: S, keyed: (digest: string) => string): S {
  const { decoded_digest: decoded, headers_digest: headers } = side
  return {
    ...side,
    wire_digest: keyed(side.wire_digest),
    ...(decoded !== undefined && { decoded_digest: keyed(decoded) }),
    ...(headers !== undefined && { headers_digest: keyed(headers) }),
  }
}
