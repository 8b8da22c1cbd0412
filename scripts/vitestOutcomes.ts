import { writeFileSync } from 'node:fs'
import type { Reporter, TestModule, TestSuite } from 'vitest/node'
import type { Outcome } from './outcome.ts'

/** Names the file that VitestOutcomes writes. */
export const OUTCOMES_FILE = 'VITEST_OUTCOMES_FILE'

/**
 * Vitest reporter that writes an Outcome[] as JSON. Vitest's own JSON leaves out why a test was skipped, and counts neither a
 * file that could not be loaded nor a failed clean-up: both are failures here.
 */
export default class VitestOutcomes implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly { message: string }[]): void {
    const outcomes = modules.flatMap((module) => [
      ...failedHooks(module, module.relativeModuleId),
      ...[...module.children.allSuites()].flatMap((suite) => failedHooks(suite, suite.fullName)),
      ...[...module.children.allTests()].map((test): Outcome => {
        const result = test.result()
        if (result.state === 'failed') return { name: test.fullName, status: 'failed', note: result.errors[0]?.message ?? '' }
        if (result.state === 'passed') return { name: test.fullName, status: 'passed', note: '' }
        const note = result.state === 'pending' ? 'did not run' : (result.note ?? 'no reason given')
        return { name: test.fullName, status: 'skipped', note }
      }),
    ])
    const errors = unhandled.map(({ message }): Outcome => ({ name: 'unhandled error', status: 'failed', note: message }))
    writeFileSync(process.env[OUTCOMES_FILE] ?? '', JSON.stringify([...outcomes, ...errors]))
  }
}

function failedHooks(task: TestModule | TestSuite, name: string): Outcome[] {
  return task.errors().map(({ message }) => ({ name, status: 'failed', note: message }))
}
