/** When a service manager counts the services as started, and how it shows them. */
import { describe, expect, it, test } from 'vitest'
import type { Status } from '../../shared/api.ts'
import { describeServices, isStarted } from '../../supervisor/core/readiness.ts'

/** `phases`: of services a, b, c and so on. */
function statusOf(phases: readonly string[], changes: Partial<Status> = {}): Status {
  const services = phases.map((phase, index) => ({ name: 'abcdefg'[index], phase, ready: phase === 'ready' }))
  return { phase: 'running', configGeneration: 1, configError: '', services, shards: [{}, {}], ...changes } as unknown as Status
}

describe('counts as started', () => {
  it.each([
    [['ready', 'ready'], 100, true],
    [['ready', 'failed'], 100, false],
    [['ready', 'failed'], 50, true],
    [['starting', 'failed'], 0, true],
    [['ready', 'ready', 'failed'], 67, false],
  ])('%j at %i per cent: %s', (phases, percent, expected) => {
    expect(isStarted(statusOf(phases), percent)).toBe(expected)
  })

  it('does not wait for a person who has to log in', () => {
    expect(isStarted(statusOf(['ready', 'needsLogin']), 100)).toBe(true)
  })

  it('waits for the first configuration', () => {
    expect(isStarted(statusOf([], { configGeneration: 0 }), 0)).toBe(false)
  })
})

test('the line names what is not ready, and a refused reload', () => {
  expect(describeServices(statusOf(['ready', 'ready']))).toBe('2 of 2 services ready in 2 shards')
  const line = describeServices(statusOf(['ready', 'failed', 'failed', 'starting', 'failed'], { configError: 'x' }))
  expect(line).toBe('1 of 5 services ready in 2 shards; not ready: b, c, d and 1 more; the last reload was refused')
  expect(describeServices(statusOf([], { configGeneration: 0 }))).toBe('Starting')
  expect(describeServices(statusOf(['ready'], { phase: 'stopping' }))).toBe('Stopping')
})
