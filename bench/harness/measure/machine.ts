/** On what, and of what, a run was made: as it stands in the report. */
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { execa } from 'execa'
import { parseGoVersion } from '../../../scripts/toolchain.ts'
import { version } from '../../../supervisor/cli/version.ts'
import type { Run } from '../results.ts'

const root = join(import.meta.dirname, '..', '..', '..')

export function describeMachine(): Run['machine'] {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    // Those that this process may use, which is what its children get.
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
  }
}

/** Versions of Node, of Go where there is one, and of this project: its commit, see `readCommit`. */
export async function readVersions(): Promise<Record<string, string>> {
  const [go, commit] = await Promise.all([output('go', ['version'], root), readCommit(root)])
  const goVersion = parseGoVersion(go ?? '')
  return {
    node: process.versions.node,
    ...(goVersion === undefined ? {} : { go: goVersion }),
    'tsnsrv-sup': commit === undefined ? version : `${version} (${commit})`,
  }
}

/** What a run's figures depend on. A report that is committed, or a word in the documentation, makes no other program. */
const MEASURED = [
  'supervisor',
  'shared',
  'worker',
  'bench',
  'package-lock.json',
  ':(exclude)bench/reports',
  ':(exclude)bench/test',
]

/**
 * The last commit in `directory` that touched `paths`, in 12 digits, followed by "+" when one of them that git follows differs
 * from it. Undefined when the directory is no repository of its own: a package may be installed inside of somebody else's.
 */
export async function readCommit(directory: string, paths: readonly string[] = MEASURED): Promise<string | undefined> {
  const top = await output('git', ['rev-parse', '--show-toplevel'], directory)
  if (top === undefined || resolve(top) !== resolve(directory)) return undefined
  const commit = await output('git', ['log', '-1', '--format=%h', '--abbrev=12', '--', ...paths], directory)
  const changes = await output('git', ['status', '--porcelain', '--untracked-files=no', '--', ...paths], directory)
  return commit && `${commit}${changes ? '+' : ''}`
}

/** What a program prints; undefined when it fails or is not there. */
async function output(file: string, args: readonly string[], cwd: string): Promise<string | undefined> {
  // Without the variable, git refreshes its index on the way.
  const { failed, stdout } = await execa(file, args, { cwd, env: { GIT_OPTIONAL_LOCKS: '0' }, reject: false })
  return failed ? undefined : stdout
}
