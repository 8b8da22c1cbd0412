/** What the log says of changes. */
import { expect, it } from 'vitest'
import { PROTOCOL_VERSION } from '../../shared/protocol.ts'
import { observe } from '../../supervisor/core/observe.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import { transitions } from '../../supervisor/core/transitions.ts'
import { type Event, type Observed, nothingObserved } from '../../supervisor/core/types.ts'
import { serviceStatus } from './serviceStatus.ts'

const after = (observed: Observed, event: Event) => observe(observed, event, 1000, { ...defaultPatience, drainMs: 1000 })
const found = after(nothingObserved, { type: 'workerFound', workerId: 'w', shard: 1, process: null })
const told = (...fields: Parameters<typeof serviceStatus>) =>
  ({ type: 'serviceChanged', workerId: 'w', service: serviceStatus(...fields) }) as const

it('tells where to log a node in, once for each URL', () => {
  const loginURL = 'https://login.tailscale.com/a/0123456789abcdef'
  const starting = after(found, told('photos', 'starting'))
  const waiting = after(starting, told('photos', 'needsLogin', { identity: { loginURL }, revision: 2 }))
  expect(transitions(starting, waiting)).toMatchObject([
    { subject: 'service', name: 'photos', to: 'needsLogin', message: `Log the node in at ${loginURL} or give it an auth key.` },
  ])
  expect(transitions(waiting, after(waiting, told('photos', 'needsLogin', { identity: { loginURL }, revision: 3 })))).toEqual([])
})

it('tells that a worker has fallen silent, and that it answers again', () => {
  const up = after(found, {
    type: 'workerState',
    workerId: 'w',
    state: {
      hello: { protocolVersion: PROTOCOL_VERSION, workerId: 'w', shard: 1, pid: 7, startTicks: 1, bootId: 'b', version: 'test' },
      revision: 1,
      services: [],
    },
  })
  const silent = after(up, { type: 'workerSilent', workerId: 'w' })
  expect(transitions(up, silent)).toMatchObject([{ subject: 'worker', name: 'w', from: 'ready', to: 'silent' }])
  expect(transitions(silent, after(silent, { type: 'workerSilent', workerId: 'w' }))).toEqual([])
  expect(transitions(silent, after(silent, { type: 'workerAnswered', workerId: 'w' }))).toMatchObject([
    { from: 'silent', to: 'ready', message: 'it answers again' },
  ])
})
