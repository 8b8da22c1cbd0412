/** On what, and of what, a run was made: as it stands in the report. */
import { availableParallelism, cpus, release, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { execa } from 'execa'
import { parseGoVersion } from '../../scripts/toolchain.ts'
import { version } from '../../supervisor/cli/version.ts'
import type { Run } from '../results.ts'

const root = join(import.meta.dirname, '..', '..')

export function describeMachine(): Run['machine'] {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    // Those that this process may use, which is what its children get.
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
  }
}

/** Versions of Node, of Go where there is one, and of this project: its commit, "+" when files differ from it. */
export async function readVersions(): Promise<Record<string, string>> {
  const [go, commit] = await Promise.all([output('go', ['version'], root), readCommit(root)])
  const goVersion = parseGoVersion(go ?? '')
  return {
    node: process.versions.node,
    ...(goVersion === undefined ? {} : { go: goVersion }),
    'tsnsrv-sup': commit === undefined ? version : `${version} (${commit})`,
  }
}

/**
 * The commit that is checked out in `directory`, in 12 digits, followed by "+" when a file that git follows differs from it.
 * Undefined when the directory is no repository of its own: a package may be installed inside of somebody else's.
 */
export async function readCommit(directory: string): Promise<string | undefined> {
  const top = await output('git', ['rev-parse', '--show-toplevel'], directory)
  if (top === undefined || resolve(top) !== resolve(directory)) return undefined
  return output('git', ['describe', '--always', '--abbrev=12', '--exclude=*', '--dirty=+'], directory)
}

/** What a program prints; undefined when it fails or is not there. */
async function output(file: string, args: readonly string[], cwd: string): Promise<string | undefined> {
  // Without the variable, git refreshes its index on the way.
  const { failed, stdout } = await execa(file, args, { cwd, env: { GIT_OPTIONAL_LOCKS: '0' }, reject: false })
  return failed ? undefined : stdout
}
