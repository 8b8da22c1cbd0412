import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execa } from 'execa'
import type { Layer, Outcome } from './outcome.ts'
import { OUTCOMES_FILE } from './vitestOutcomes.ts'

const root = join(import.meta.dirname, '..')

/** One project of vitest.config.ts. Its output is shown only when something failed; what was skipped is always named. */
export function vitestLayer(project: string, { usesBuild }: { usesBuild: boolean }): Layer {
  return {
    name: project,
    usesBuild,
    run: async (show) => {
      const directory = await mkdtemp(join(tmpdir(), 'tsnsrv-test-'))
      try {
        const file = join(directory, 'outcomes.json')
        const args = ['run', '--project', project, '--reporter=default', '--reporter=./scripts/vitestOutcomes.ts']
        const run = await execa('vitest', args, {
          cwd: root,
          preferLocal: true,
          all: true,
          reject: false,
          env: { [OUTCOMES_FILE]: file },
        })
        const outcomes = JSON.parse(await readFile(file, 'utf8').catch(() => '[]')) as Outcome[]
        for (const outcome of outcomes.filter(({ status }) => status === 'skipped')) show(outcome)
        const anyFailed = outcomes.some(({ status }) => status === 'failed')
        // No test at all is no success: the pattern or the run itself is broken.
        const runItself = outcomes.length === 0 || run.failed !== anyFailed
        if (runItself) outcomes.push({ name: project, status: 'failed', note: run.shortMessage ?? 'there are no tests' })
        if (anyFailed || runItself) show({ name: project, status: 'failed', note: run.all })
        return outcomes
      } finally {
        await rm(directory, { recursive: true })
      }
    },
  }
}
