/** What the layers of `npm test` have in common. */

/** How one test or check ended. `note`: why it failed or was skipped; empty when it passed. */
export interface Outcome {
  name: string
  status: 'passed' | 'failed' | 'skipped'
  note: string
}

/** One kind of test. `run` shows each outcome that a reader should see as soon as it is known, and resolves to all of them. */
export interface Layer {
  name: string
  /** Whether its tests start what `npm run build` makes. */
  usesBuild: boolean
  run: (show: (outcome: Outcome, durationMs?: number) => void) => Promise<Outcome[]>
}

/** The last line of a run: "12 passed, 0 failed", with ", 3 skipped" only when some were. */
export function closingLine(outcomes: Outcome[]): string {
  const count = (status: Outcome['status']) => outcomes.filter((outcome) => outcome.status === status).length
  const skipped = count('skipped')
  return `${count('passed')} passed, ${count('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}
