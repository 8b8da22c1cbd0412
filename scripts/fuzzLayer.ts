/** The fuzz targets of the worker, for a quarter of a minute each: inputs that nobody has thought of. */
import { join } from 'node:path'
import { execa } from 'execa'
import type { Layer, Outcome } from './outcome.ts'

const worker = join(import.meta.dirname, '..', 'worker')
const FUZZ_SECONDS = 15

export const fuzzLayer: Layer = {
  name: 'fuzz',
  usesBuild: false,
  run: async (show) => {
    const outcomes: Outcome[] = []
    for (const { directory, target } of await findTargets()) {
      const start = performance.now()
      const args = ['test', directory, '-run', '^$', '-fuzz', `^${target}$`, '-fuzztime', `${FUZZ_SECONDS}s`]
      const { all, failed } = await execa('go', args, { cwd: worker, reject: false, all: true })
      // An input that fails is written below testdata, and fails in the go layer from then on.
      const outcome: Outcome = { name: target, status: failed ? 'failed' : 'passed', note: failed ? all : '' }
      show(outcome, performance.now() - start)
      outcomes.push(outcome)
    }
    if (outcomes.length === 0) outcomes.push({ name: 'fuzz targets', status: 'failed', note: 'there are none: have they moved?' })
    return outcomes
  },
}

/** By their declarations: `go test -list` would have to build the tests of every package first. */
async function findTargets(): Promise<{ directory: string; target: string }[]> {
  const { stdout } = await execa('grep', ['-rnoP', String.raw`^func \KFuzz\w+`, '--include=*_test.go', '.'], { cwd: worker })
  return stdout
    .split('\n')
    .sort()
    .map((line) => {
      const [file = '', , target = ''] = line.split(':')
      return { directory: file.slice(0, file.lastIndexOf('/')), target }
    })
}
