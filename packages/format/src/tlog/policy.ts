/**
 * Trust policies (c2sp.org/tlog-policy): which logs a verifier accepts, and which witnesses must have
 * cosigned a checkpoint.
 *
 * ```
 * log <vkey> [<url>]
 * witness <name> <vkey> [<url>]
 * group <name> all|any|<k> <name>…      names are defined on lines above, each in one group at most
 * quorum <name>|none                    exactly once
 * ```
 *
 * The file is written by people: spaces, tabs, empty lines and `#` comments are free, so many texts
 * are one policy. `formatPolicy` gives the one without them.
 *
 * @module
 */
import { assert } from '../assert.ts'
import { equalBytes, utf8Decode, utf8Encode } from '../bytes.ts'
import { AuditError } from '../errors.ts'
import { openCheckpoint, type OpenedCheckpoint } from './checkpoint.ts'
import { cosignatureTime, createAnyVerifier } from './cosignature.ts'
import {
  formatVerifierKey,
  parseVerifierKey,
  signatureType,
  verifySignatures,
  type VerifierKey,
} from './note.ts'

/** Lines of a policy file; the specification asks for 32 logs, witnesses and groups at least. */
export const policyLinesMax = 4_096

/** A log whose checkpoints are accepted. Its key's name is the origin. */
export interface PolicyLog {
  readonly key: VerifierKey
  readonly url?: string
}

/** A witness; `name` is its name in the policy, which need not be its key's. */
export interface PolicyWitness {
  readonly kind: 'witness'
  readonly name: string
  readonly key: VerifierKey
  readonly url?: string
}

/** Counts as having witnessed when at least `threshold` of its members have. */
export interface PolicyGroup {
  readonly kind: 'group'
  readonly name: string
  readonly threshold: number
  readonly members: readonly string[]
}

/** A policy file, read. `quorum` is the name of a witness or group, or `none`. */
export interface Policy {
  readonly logs: readonly PolicyLog[]
  /** Witnesses and groups in the order of definition. */
  readonly members: readonly (PolicyWitness | PolicyGroup)[]
  readonly quorum: string
}

/** Policy that accepts the logs of these verifier keys and asks for no witness. */
export function policyForLogs(...vkeys: readonly string[]): Policy {
  return {
    logs: vkeys.map((vkey) => ({ key: parseVerifierKey(vkey) })),
    members: [],
    quorum: 'none',
  }
}

/**
 * Reads a policy file.
 *
 * @throws AuditError `ERR_POLICY_MALFORMED`, naming the line, for anything that the specification
 *   does not allow; keys of types that this package cannot verify are among it.
 */
export function parsePolicy(file: string | Uint8Array): Policy {
  const { lines, isUtf8 } = decodeLines(file)
  const draft: Draft = {
    logs: [],
    members: new Map(),
    grouped: new Set(),
    quorum: undefined,
    isUtf8,
  }
  for (const [at, line] of lines.entries()) {
    const words = line.split(/[ \t]+/).filter((word) => word !== '')
    const [keyword, ...rest] = words
    if (keyword === undefined || keyword.startsWith('#')) continue
    try {
      readLine(draft, keyword, rest)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : 'it is malformed'
      throw new AuditError('ERR_POLICY_MALFORMED', `policy line ${at + 1}: ${why}`, { cause })
    }
  }
  if (draft.quorum === undefined) throw malformed('it has no quorum line')
  return { logs: draft.logs, members: [...draft.members.values()], quorum: draft.quorum }
}

/** The text of a policy without anything optional. `parsePolicy` of it gives an equal policy. */
export function formatPolicy({ logs, members, quorum }: Policy): string {
  const lines = logs.map(({ key, url }) => ['log', formatVerifierKey(key), url])
  for (const member of members) {
    lines.push(
      member.kind === 'witness'
        ? ['witness', member.name, formatVerifierKey(member.key), member.url]
        : ['group', member.name, String(member.threshold), ...member.members],
    )
  }
  lines.push(['quorum', quorum])
  return lines.map((words) => `${words.filter((word) => word !== undefined).join(' ')}\n`).join('')
}

/** A checkpoint that satisfies a policy. */
export interface TrustedCheckpoint extends OpenedCheckpoint {
  /** The accepted log that signed it. */
  readonly log: PolicyLog
  /** Witnesses of the policy whose cosignatures are verified, with their times. */
  readonly witnessed: readonly { readonly name: string; readonly timeSeconds: number }[]
}

/**
 * Verifies a signed checkpoint under a policy: signed by one of its logs under that log's own origin,
 * and cosigned by its quorum.
 *
 * @throws AuditError `ERR_NOTE_MALFORMED`, `ERR_CHECKPOINT_MALFORMED`; `ERR_NOTE_UNVERIFIED` when no
 *   accepted log signed it or a known key's signature is false; `ERR_POLICY_UNSATISFIED` when the
 *   quorum is not reached.
 */
export function evaluatePolicy(policy: Policy, signed: string | Uint8Array): TrustedCheckpoint {
  // Logs first and alone: a witness whose key has the name of a log must not sign in its place.
  const checkpoint = openCheckpoint(
    signed,
    policy.logs.map(({ key }) => createAnyVerifier(key)),
  )
  const log = policy.logs.find(
    ({ key }) =>
      key.name === checkpoint.origin &&
      checkpoint.note.verified.some(({ name, keyId }) => name === key.name && keyId === key.keyId),
  )
  assert(log !== undefined, 'a checkpoint opens under the name of a log of the policy')
  const witnessed: { name: string; timeSeconds: number }[] = []
  for (const member of policy.members) {
    if (member.kind !== 'witness') continue
    const [cosignature] = verifySignatures(checkpoint.note, [createAnyVerifier(member.key)])
    if (cosignature === undefined) continue
    witnessed.push({ name: member.name, timeSeconds: cosignatureTime(cosignature.signature) })
  }
  if (!reachesQuorum(policy, new Set(witnessed.map(({ name }) => name)))) {
    throw new AuditError(
      'ERR_POLICY_UNSATISFIED',
      `the checkpoint has ${witnessed.length} cosignatures of known witnesses, too few for the quorum`,
    )
  }
  return { ...checkpoint, log, witnessed }
}

/** Whether these witnesses, by their names in the policy, make up its quorum. */
export function reachesQuorum(policy: Policy, witnesses: ReadonlySet<string>): boolean {
  if (policy.quorum === 'none') return true
  const reached = new Set<string>()
  // Members stand in the order of definition, so whatever a group names has been judged before it.
  for (const member of policy.members) {
    const count =
      member.kind === 'witness'
        ? Number(witnesses.has(member.name))
        : member.members.filter((name) => reached.has(name)).length
    if (count >= (member.kind === 'witness' ? 1 : member.threshold)) reached.add(member.name)
  }
  return reached.has(policy.quorum)
}

interface Draft {
  readonly logs: PolicyLog[]
  readonly members: Map<string, PolicyWitness | PolicyGroup>
  /** Names that are members of a group already. */
  readonly grouped: Set<string>
  quorum: string | undefined
  /** False when the file was read one octet a character. */
  readonly isUtf8: boolean
}

function readLine(draft: Draft, keyword: string, words: readonly string[]): void {
  if (keyword === 'log') readLog(draft, words)
  else if (keyword === 'witness') readWitness(draft, words)
  else if (keyword === 'group') readGroup(draft, words)
  else if (keyword === 'quorum') readQuorum(draft, words)
  else throw malformed('it begins with none of log, witness, group, quorum')
}

function readLog(draft: Draft, words: readonly string[]): void {
  const [vkey, url] = words
  if (vkey === undefined || words.length > 2) throw malformed('a log has a key and maybe a URL')
  const key = readKey(draft, vkey)
  if (draft.logs.some((log) => equalBytes(log.key.publicKey, key.publicKey))) {
    throw malformed('the key of this log is there already')
  }
  draft.logs.push(url === undefined ? { key } : { key, url })
}

function readWitness(draft: Draft, words: readonly string[]): void {
  const [name, vkey, url] = words
  if (name === undefined || vkey === undefined || words.length > 3) {
    throw malformed('a witness has a name, a key and maybe a URL')
  }
  checkNewName(draft, name)
  const key = readKey(draft, vkey)
  if (key.type !== signatureType.cosignature) {
    throw malformed('the key of a witness is not of type cosignature/v1')
  }
  for (const member of draft.members.values()) {
    if (member.kind === 'witness' && equalBytes(member.key.publicKey, key.publicKey)) {
      throw malformed('the key of this witness is there already')
    }
  }
  const witness = { kind: 'witness', name, key } as const
  draft.members.set(name, url === undefined ? witness : { ...witness, url })
}

function readGroup(draft: Draft, words: readonly string[]): void {
  const [name, rule, ...members] = words
  if (name === undefined || rule === undefined || members.length === 0) {
    throw malformed('a group has a name, a rule and members')
  }
  checkNewName(draft, name)
  for (const member of members) {
    if (!draft.members.has(member)) throw malformed('a member is not defined above')
    if (draft.grouped.has(member)) throw malformed('a member is in a group already')
    draft.grouped.add(member)
  }
  const threshold = readThreshold(rule, members.length)
  draft.members.set(name, { kind: 'group', name, threshold, members })
}

function readThreshold(rule: string, memberCount: number): number {
  if (rule === 'any') return 1
  if (rule === 'all') return memberCount
  const threshold = /^[1-9][0-9]{0,4}$/.test(rule) ? Number(rule) : 0
  if (threshold < 1 || threshold > memberCount) {
    throw malformed('the rule is not all, any or a number of its members')
  }
  return threshold
}

function readQuorum(draft: Draft, words: readonly string[]): void {
  const [name] = words
  if (name === undefined || words.length > 1) throw malformed('a quorum is one name')
  if (draft.quorum !== undefined) throw malformed('there is a second quorum')
  if (name !== 'none' && !draft.members.has(name))
    throw malformed('the quorum is not defined above')
  draft.quorum = name
}

function checkNewName(draft: Draft, name: string): void {
  if (name === 'none') throw malformed('`none` names no witness or group')
  if (draft.members.has(name)) throw malformed('its name is there already')
}

function readKey(draft: Draft, word: string): VerifierKey {
  if (draft.isUtf8) return parseVerifierKey(word)
  // The name in a key is UTF-8 even where the file around it is not.
  return parseVerifierKey(utf8Decode(Uint8Array.from(word, (octet) => octet.charCodeAt(0))))
}

function decodeLines(file: string | Uint8Array): { lines: string[]; isUtf8: boolean } {
  const bytes = typeof file === 'string' ? utf8Encode(file) : file
  for (const byte of bytes) {
    if ((byte < 0x20 && byte !== 0x09 && byte !== 0x0a) || byte === 0x7f) {
      throw malformed('it has a control character other than tab and newline')
    }
  }
  const { text, isUtf8 } = decodeOctets(bytes)
  if (!text.endsWith('\n')) throw malformed('its last line has no end')
  const lines = text.slice(0, -1).split('\n')
  if (lines.length > policyLinesMax) throw malformed(`it has more than ${policyLinesMax} lines`)
  return { lines, isUtf8 }
}

// Octets above 0x7f are opaque (Character set): a file that is not UTF-8 is read one octet a
// character, so that names are still equal exactly when their octets are.
function decodeOctets(bytes: Uint8Array): { text: string; isUtf8: boolean } {
  try {
    return { text: utf8Decode(bytes), isUtf8: true }
  } catch {
    let text = ''
    for (const byte of bytes) text += String.fromCharCode(byte)
    return { text, isUtf8: false }
  }
}

function malformed(why: string): AuditError {
  return new AuditError('ERR_POLICY_MALFORMED', `policy is malformed: ${why}`)
}
