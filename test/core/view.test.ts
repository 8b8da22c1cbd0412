/** What the status makes of what workers tell of their services. */
import { expect, it } from 'vitest'
import { PROTOCOL_VERSION } from '../../shared/protocol.ts'
import { observe } from '../../supervisor/core/observe.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import { nothingObserved, type Desired } from '../../supervisor/core/types.ts'
import { viewServices } from '../../supervisor/core/view.ts'
import { serviceStatus } from './serviceStatus.ts'

const NOW = Date.parse('2026-03-01T12:00:00Z')
const HOUR_MS = 3_600_000
const policy = { ...defaultPatience, drainMs: 1000 }
const desired: Desired = {
  phase: 'run',
  services: new Map([['photos', { shard: 1, specHash: 'h1', hasCredential: true }]]),
  opening: new Set(),
  certificatesPerWeek: 40,
}

function viewOf(nodeKeyExpiry: number | undefined) {
  const found = observe(nothingObserved, { type: 'workerFound', workerId: 'w', shard: 1, process: null }, NOW, policy)
  const hello = {
    protocolVersion: PROTOCOL_VERSION,
    workerId: 'w',
    shard: 1,
    pid: 7,
    startTicks: 1,
    bootId: 'b',
    version: 'test',
  }
  const services = [serviceStatus('photos', 'ready', nodeKeyExpiry === undefined ? {} : { identity: { nodeKeyExpiry } })]
  const told = observe(found, { type: 'workerState', workerId: 'w', state: { hello, revision: 1, services } }, NOW, policy)
  return viewServices(desired, told, new Map(), NOW)[0]
}

it.each([
  ['in two and a half days', 60, 'in 2 days, at 2026-03-04T00:00:00.000Z.'],
  ['tomorrow', 30, 'in 1 day, at 2026-03-02T18:00:00.000Z.'],
  ['today', 5, 'in less than a day, at 2026-03-01T17:00:00.000Z.'],
])('says of a node key that ends %s how much is left, and what to do', (_, hours, when) => {
  const ends = NOW + hours * HOUR_MS
  expect(viewOf(ends)).toMatchObject({
    ready: true,
    nodeKeyExpiry: ends,
    problems: [
      {
        part: 'node key',
        message:
          `The key of the node ends ${when} The node then leaves the tailnet until somebody logs it in. Disable its key expiry in ` +
          'the admin console, or give the service tags: nodes with tags keep their key.',
      },
    ],
  })
})

it.each([
  ['that never ends', undefined],
  ['that ends in months', NOW + 100 * 24 * HOUR_MS],
  ['that has ended, as the node needs a login then', NOW - 1],
])('has no problem with a node key %s', (_, ends) => {
  expect(viewOf(ends)).toMatchObject({ nodeKeyExpiry: ends ?? null, problems: [] })
})
