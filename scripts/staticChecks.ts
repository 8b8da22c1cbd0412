import { readFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import pLimit from 'p-limit'
import { goImportViolations } from './goImportRules.ts'
import { lockfileProblems } from './lockfile.ts'
import type { Layer, Outcome } from './outcome.ts'

const root = join(import.meta.dirname, '..')
const worker = join(root, 'worker')

/** A check resolves to what it complains about; empty when it has nothing to say. */
type Check = () => Promise<string>

const checks: Record<string, Check> = {
  types: command(root, 'tsc', '--noEmit'),
  eslint: command(root, 'eslint', '.'),
  // Which files, and not how: `npm run format` mends them.
  format: command(root, 'biome', 'format', '--reporter=summary', '.'),
  'import rules': command(root, 'tsx', 'scripts/importRules.ts'),
  // Of the product: what the benchmark alone imports is dead here.
  'dead code': command(root, 'knip', '--no-progress', '--workspace', '.'),
  'types, eslint and dead code of the benchmark': command(root, 'npm', 'run', '--silent', 'check', '--workspace', 'bench'),
  'generated files': command(root, 'tsx', 'scripts/generate.ts', '--check'),
  // Documents and --help, by the words of scripts/terms.ts.
  prose: command(root, 'tsx', 'scripts/prose.ts'),
  lockfile: async () => lockfileProblems(await readFile(join(root, 'package-lock.json'), 'utf8')),
  'go vet': goCommand('go', 'vet', './...'),
  // gofmt and "go list" succeed whatever they find: what they print is the finding.
  gofmt: async () => (await execa('gofmt', ['-l', 'worker', 'bench'], { cwd: root })).stdout,
  'go import rules': async () =>
    goImportViolations((await execa('go', ['list', '-json=ImportPath,Deps', './internal/...'], { cwd: worker })).stdout),
  staticcheck: async () => goCommand(await toolPath('staticcheck'), './...')(),
  // Of our own enums each switch names all values, so that a new scheme or kind cannot be forgotten in one.
  exhaustive: async () => goCommand(await toolPath('exhaustive'), '-typeonly', '/tsnsrv-sup/', './...')(),
}

/** All that can be said about the sources without running them. Each check counts as one test. */
export const staticChecks: Layer = {
  name: 'static',
  usesBuild: false,
  run: async (show) => {
    const limit = pLimit(availableParallelism())
    const running = Object.entries(checks).map(([name, check]) => limit(() => timed(name, check)))
    const outcomes: Outcome[] = []
    for (const result of running) {
      const { outcome, durationMs } = await result
      show(outcome, durationMs)
      outcomes.push(outcome)
    }
    return outcomes
  },
}

/** A tool of worker/tools, built when it has not been. */
async function toolPath(name: string): Promise<string> {
  return (await execa('go', ['tool', '-n', name], { cwd: join(worker, 'tools') })).stdout
}

async function timed(name: string, check: Check): Promise<{ outcome: Outcome; durationMs: number }> {
  const start = performance.now()
  const complaint = await check().catch((error: unknown) => (error instanceof Error ? error.message : String(error)))
  const status = complaint === '' ? 'passed' : 'failed'
  return { outcome: { name, status, note: complaint }, durationMs: performance.now() - start }
}

function command(cwd: string, program: string, ...args: string[]): Check {
  return complaints(program, args, { cwd })
}

/** With the settings of `npm run build`, whose compiled dependencies are then used again instead of compiling all of them anew. */
function goCommand(program: string, ...args: string[]): Check {
  return complaints(program, args, { cwd: worker, env: { CGO_ENABLED: '0', GOFLAGS: `${process.env.GOFLAGS ?? ''} -trimpath` } })
}

function complaints(program: string, args: string[], options: { cwd: string; env?: Record<string, string> }): Check {
  return async () => {
    const result = await execa(program, args, { ...options, preferLocal: true, localDir: root, all: true, reject: false })
    return result.failed ? `${result.all}\n${result.shortMessage}`.trim() : ''
  }
}
