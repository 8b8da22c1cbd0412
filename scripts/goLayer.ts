import { join } from 'node:path'
import { execa } from 'execa'
import type { Layer, Outcome } from './outcome.ts'

const worker = join(import.meta.dirname, '..', 'worker')

/** The worker's own tests, with the race detector wherever there is a C compiler, which it needs. */
export const goLayer: Layer = {
  name: 'go',
  usesBuild: false,
  run: async (show) => {
    const hasC = (await execa('go', ['env', 'CGO_ENABLED'], { cwd: worker })).stdout === '1'
    const args = ['test', '-json', ...(hasC ? ['-race'] : []), '-timeout', '10m', './...']
    const { stdout, stderr, failed } = await execa('go', args, { cwd: worker, reject: false, maxBuffer: 1024 ** 3 })
    const outcomes = goOutcomes(stdout)
    if (!hasC) outcomes.push({ name: 'race detector', status: 'skipped', note: 'needs a C compiler: apt install gcc libc6-dev' })
    if (failed && !outcomes.some(({ status }) => status === 'failed'))
      outcomes.push({ name: 'go test', status: 'failed', note: stderr })
    for (const outcome of outcomes.filter(({ status }) => status !== 'passed')) show(outcome)
    return outcomes
  },
}

/** A line of `go test -json` (see `go doc test2json`). */
interface TestEvent {
  Action: string
  Package?: string
  ImportPath?: string
  Test?: string
  Output?: string
}

/**
 * Outcomes from the output of `go test -json`. Subtests count and their parents do not, unless the parent failed by itself. A
 * package that fails without a failed test (it does not compile, it panics, it runs into the time-out) is one failure.
 */
export function goOutcomes(json: string): Outcome[] {
  const events = json
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as TestEvent)
  const output = new Map<string, string>()
  for (const event of events) {
    // Compiler errors come as "build-output" under ImportPath, which may add " [package.test]".
    const key = nameOf(event)
    if (event.Output !== undefined) output.set(key, (output.get(key) ?? '') + event.Output)
  }

  const ended = events.filter(({ Action }) => Action === 'pass' || Action === 'fail' || Action === 'skip')
  const tests = ended.filter(({ Test }) => Test !== undefined).map((event) => ({ Action: event.Action, name: nameOf(event) }))
  const failures = tests.filter(({ Action }) => Action === 'fail').map(({ name }) => name)
  const counted = tests.filter(({ Action, name }) => {
    const below = (Action === 'fail' ? failures : tests.map((test) => test.name)).filter((other) => other.startsWith(`${name}/`))
    return below.length === 0
  })
  const unfinished = events
    .filter(({ Action, Test }) => Action === 'run' && Test !== undefined)
    .map(nameOf)
    .filter((name) => !tests.some((test) => test.name === name))
  const broken = ended.filter(
    ({ Action, Test, Package = '' }) =>
      Action === 'fail' && Test === undefined && !failures.some((name) => name.startsWith(`${Package} `)),
  )
  return [
    ...counted.map(({ Action, name }): Outcome => {
      if (Action === 'pass') return { name, status: 'passed', note: '' }
      return { name, status: Action === 'skip' ? 'skipped' : 'failed', note: (output.get(name) ?? '').trim() }
    }),
    ...broken.map(({ Package = '' }): Outcome => {
      // What a package has to say when it runs into the time-out is printed as output of the test that runs.
      const names = [Package, ...unfinished.filter((name) => name.startsWith(`${Package} `))]
      return { name: Package, status: 'failed', note: names.map((name) => (output.get(name) ?? '').trim()).join('\n') }
    }),
  ]
}

function nameOf({ Package, ImportPath, Test }: TestEvent): string {
  const path = Package ?? ImportPath?.split(' ')[0] ?? ''
  return Test === undefined ? path : `${path} ${Test}`
}
