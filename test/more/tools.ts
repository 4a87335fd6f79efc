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

/** A tool that can be used. */
export interface Found {
  readonly program: string
}

/** A tool that cannot, and why. */
export interface Missing {
  readonly missing: string
}

/**
 * Builds the Go verifier into `directory`.
 *
 * Any Go does: golang.org/x/mod comes from Debian's source package, or from the copy that every Go
 * toolchain carries for its own `go` command, so that the build needs no network.
 */
export function buildGoVerifier(directory: string): Found | Missing {
  let attempt = tryGo(directory)
  if ('missing' in attempt && aptInstall(['golang-go', 'golang-golang-x-mod-dev'])) {
    attempt = tryGo(directory)
  }
  return attempt
}

/** Finds a strace that can inject faults into this user's processes. */
export function findStrace(): Found | Missing {
  let attempt = tryStrace()
  if ('missing' in attempt && aptInstall(['strace'])) attempt = tryStrace()
  return attempt
}

function tryGo(directory: string): Found | Missing {
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
      if (built.status === 0) return { program }
      reason = `${version.stdout.trim()} could not build the verifier: ${built.stderr}`
    }
  }
  return { missing: reason }
}

/** Directories that may serve as GOPATH, each holding src/golang.org/x/mod. */
function gopaths(go: string, directory: string): string[] {
  const found: string[] = []
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

function tryStrace(): Found | Missing {
  const inject = ['-qq', '-e', 'trace=fdatasync', '-e', 'inject=fdatasync:error=EIO:when=1', 'true']
  const { status, error } = spawnSync('strace', inject, { encoding: 'utf8' })
  if (error) return { missing: 'strace is not installed' }
  if (status !== 0) return { missing: 'strace may not trace processes here' }
  return { program: 'strace' }
}

const apt = { updated: false }

/** Installs Debian packages; false where this user or machine cannot. */
function aptInstall(packages: readonly string[]): boolean {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return false
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const run = (...parameters: string[]) =>
    spawnSync('apt-get', ['-qq', ...parameters], { env, stdio: 'ignore', timeout: aptTimeoutMs })
      .status === 0
  console.error(`installing ${packages.join(', ')} with apt …`)
  apt.updated ||= run('update')
  return run('install', '-y', '--no-install-recommends', ...packages)
}
