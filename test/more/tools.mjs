/**
 * Finds the foreign tools that the extra suites need (Go, strace) and installs them with apt where
 * that is possible: as root on a Debian-like machine, once per run. A tool that cannot be had is a
 * reason to skip, never a failure.
 *
 * @module
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const aptTimeoutMs = 180_000
const buildTimeoutMs = 180_000
const verifierSource = fileURLToPath(new URL('go-verify/main.go', import.meta.url))

/**
 * Builds the Go verifier into `directory`.
 *
 * Any Go does: golang.org/x/mod comes from Debian's source package, or from the copy that every Go
 * toolchain carries for its own `go` command, so that the build needs no network.
 *
 * @param {string} directory an empty directory of the caller
 * @returns {{ program: string, toolchain: string } | { missing: string }}
 */
export function buildGoVerifier(directory) {
  let attempt = tryGo(directory)
  if ('missing' in attempt && aptInstall(['golang-go', 'golang-golang-x-mod-dev'])) {
    attempt = tryGo(directory)
  }
  return attempt
}

/**
 * Finds a strace that can inject faults into this user's processes.
 *
 * @returns {{ program: string } | { missing: string }}
 */
export function findStrace() {
  let attempt = tryStrace()
  if ('missing' in attempt && aptInstall(['strace'])) attempt = tryStrace()
  return attempt
}

function tryGo(directory) {
  const program = join(directory, 'go-verify')
  let reason = 'no Go toolchain'
  for (const go of ['/usr/local/go/bin/go', 'go', '/usr/bin/go']) {
    const version = spawnSync(go, ['version'], { encoding: 'utf8' })
    if (version.status !== 0) continue
    for (const gopath of gopaths(go, directory)) {
      const env = { ...process.env, GO111MODULE: 'off', GOFLAGS: '', GOPATH: gopath }
      const built = spawnSync(go, ['build', '-o', program, verifierSource], {
        env,
        encoding: 'utf8',
        timeout: buildTimeoutMs,
      })
      if (built.status === 0) return { program, toolchain: version.stdout.trim() }
      reason = `${version.stdout.trim()} could not build the verifier: ${built.stderr}`
    }
  }
  return { missing: reason }
}

/** Directories that may serve as GOPATH, each holding src/golang.org/x/mod. */
function gopaths(go, directory) {
  const found = []
  if (existsSync('/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog')) {
    found.push('/usr/share/gocode')
  }
  const { stdout } = spawnSync(go, ['env', 'GOROOT'], { encoding: 'utf8' })
  const vendored = join(stdout.trim(), 'src/cmd/vendor/golang.org/x/mod')
  if (existsSync(join(vendored, 'sumdb/tlog'))) {
    const gopath = join(directory, 'gopath')
    mkdirSync(join(gopath, 'src/golang.org/x'), { recursive: true })
    const link = join(gopath, 'src/golang.org/x/mod')
    if (!existsSync(link)) symlinkSync(vendored, link)
    found.push(gopath)
  }
  return found
}

function tryStrace() {
  const inject = ['-qq', '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO:when=1', 'true']
  const { status, error } = spawnSync('strace', inject, { encoding: 'utf8' })
  if (error) return { missing: 'strace is not installed' }
  if (status !== 0) return { missing: 'strace may not trace processes here' }
  return { program: 'strace' }
}

let aptUpdated = false

/** Installs Debian packages; false where this user or machine cannot. */
function aptInstall(packages) {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const apt = (...parameters) =>
    spawnSync('apt-get', ['-qq', ...parameters], { env, stdio: 'ignore', timeout: aptTimeoutMs })
      .status === 0
  console.error(`installing ${packages.join(', ')} with apt …`)
  aptUpdated ||= apt('update')
  return apt('install', '-y', '--no-install-recommends', ...packages)
}
