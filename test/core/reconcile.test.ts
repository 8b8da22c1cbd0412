/** Observe and reconcile by example: one rule each. What holds in general is in loop.test.ts. */
import { describe, expect, it } from 'vitest'
import { PROTOCOL_VERSION, type ServiceStatus } from '../../shared/protocol.ts'
import { begin, observe } from '../../supervisor/core/observe.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import { reconcile } from '../../supervisor/core/reconcile.ts'
import { type Desired, type Event, nothingObserved, type Observed } from '../../supervisor/core/types.ts'
import { serviceStatus as service } from './serviceStatus.ts'

const policy = { ...defaultPatience, drainMs: 1000 }
const now = 1_000_000

const wanting = (shards: Record<string, number>, phase: Desired['phase'] = 'run'): Desired => ({
  phase,
  certificatesPerWeek: 50,
  opening: new Set(),
  services: new Map(Object.entries(shards).map(([name, shard]) => [name, { shard, specHash: 'h1', hasCredential: false }])),
})

const after = (events: readonly Event[], start: Observed = nothingObserved) =>
  events.reduce((observed, event) => observe(observed, event, now, policy), start)
const found = (id: string, shard: number): Event => ({ type: 'workerFound', workerId: id, shard, process: null })
function tells(id: string, shard: number, services: ServiceStatus[] = []): Event {
  const hello = { protocolVersion: PROTOCOL_VERSION, workerId: id, shard, pid: 7, startTicks: 1, bootId: 'b', version: 'v' }
  return { type: 'workerState', workerId: id, state: { hello, revision: 9, services } }
}
const runs = (id: string, shard: number, ...services: ServiceStatus[]) => [found(id, shard), tells(id, shard, services)]
const actions = (desired: Desired, observed: Observed, at = now) =>
  reconcile(desired, observed, at).actions.map((action) => `${action.type} ${'name' in action ? action.name : action.workerId}`)

describe('reconcile', () => {
  it('forks one worker for each shard that has none', () => {
    const decided = reconcile(wanting({ a: 1, b: 2, c: 2 }), after(runs('one', 1, service('a', 'ready'))), now)
    expect(decided.actions).toEqual([{ type: 'spawnWorker', workerId: expect.stringMatching(/^shard-2-/) as string, shard: 2 }])
  })

  it('does not fork again what it has begun to fork', () => {
    const [spawn] = reconcile(wanting({ a: 1 }), nothingObserved, now).actions
    if (!spawn) throw new Error('nothing was decided')
    expect(actions(wanting({ a: 1 }), begin(nothingObserved, spawn, now, policy))).toEqual([])
  })

  it('ends a new worker at once whose first words are not the protocol', () => {
    const [spawn] = reconcile(wanting({ a: 1 }), nothingObserved, now).actions
    if (spawn?.type !== 'spawnWorker') throw new Error('nothing was spawned')
    const lost: Event = { type: 'workerLost', workerId: spawn.workerId, message: 'gossip' }
    const spawning = begin(nothingObserved, spawn, now, policy)
    expect(actions(wanting({ a: 1 }), after([lost], spawning))).toEqual([`killWorker ${spawn.workerId}`])
    const ready = after([tells(spawn.workerId, 1), lost], spawning)
    expect(actions(wanting({ a: 1 }), ready)).toEqual([])
  })

  it('starts nothing anywhere while a worker has not said what it runs', () => {
    const observed = after([...runs('one', 1), found('two', 2)])
    expect(actions(wanting({ a: 1, b: 2 }), observed)).toEqual([])
    expect(actions(wanting({ a: 1, b: 2 }), after([tells('two', 2, [service('b', 'ready')])], observed))).toEqual([
      'putService a',
    ])
  })

  it('has the new worker of a service stand by before it takes it from the old one', () => {
    const there = runs('one', 1, service('a', 'ready'))
    const desired = wanting({ a: 2 })
    expect(actions(desired, after([...there, found('two', 2)]))).toEqual([])
    const bothReady = after([...there, ...runs('two', 2)])
    const { actions: put } = reconcile(desired, bothReady, now)
    expect(put).toMatchObject([{ type: 'putService', workerId: 'two', name: 'a', standby: true }])
    const refused: Event = { type: 'serviceChanged', workerId: 'two', service: service('a', 'failed') }
    expect(actions(desired, after([refused], bothReady))).toEqual([])
    const accepted: Event = { type: 'serviceChanged', workerId: 'two', service: service('a', 'standby') }
    const standing = after([accepted], bothReady)
    expect(actions(desired, standing)).toEqual(['deleteService a'])
    expect(actions(desired, after([{ type: 'serviceRemoved', workerId: 'one', name: 'a', revision: 2 }], standing))).toEqual([
      'shutdownWorker one',
    ])
  })

  it('takes the standby away when the service is to stay where it is', () => {
    const observed = after([...runs('one', 1, service('a', 'ready')), ...runs('two', 2, service('a', 'standby'))])
    expect(actions(wanting({ a: 1 }), observed)).toEqual(['deleteService a'])
  })

  it('tells a worker of a changed spec at once, and says when a failed service is due', () => {
    expect(actions(wanting({ a: 1 }), after(runs('one', 1, service('a', 'ready', { specHash: 'old' }))))).toEqual([
      'putService a',
    ])
    const failed = after(runs('one', 1, service('a', 'failed')))
    const { actions: none, wakeAt } = reconcile(wanting({ a: 1 }), failed, now)
    expect(none).toEqual([])
    expect(wakeAt).toBeGreaterThan(now)
    expect(actions(wanting({ a: 1 }), failed, wakeAt ?? 0)).toEqual(['putService a'])
  })

  it('leaves a node that waits for a person alone, unless a key can be had', () => {
    const waiting = after(runs('one', 1, service('a', 'needsLogin')))
    expect(actions(wanting({ a: 1 }), waiting, now + 60_000)).toEqual([])
    const services = new Map([['a', { shard: 1, specHash: 'h1', hasCredential: true }]])
    const withKey: Desired = { ...wanting({}), services }
    const [put] = reconcile(withKey, waiting, now + 60_000).actions
    expect(put).toMatchObject({ type: 'putService', retry: true, freshKey: true })
  })

  it('does nothing when told to leave, and shuts everything down when told to stop', () => {
    const observed = after([...runs('one', 1, service('a', 'ready')), found('two', 2)])
    expect(actions(wanting({ a: 1 }, 'leave'), observed)).toEqual([])
    expect(actions(wanting({ a: 1 }, 'stop'), observed)).toEqual(['shutdownWorker one'])
  })
})

describe('observe', () => {
  it('keeps the newer of two states, whichever comes last', () => {
    const ready = service('a', 'ready', { revision: 5 })
    const late: Event = { type: 'serviceChanged', workerId: 'one', service: service('a', 'starting', { revision: 4 }) }
    expect(
      after([...runs('one', 1, ready), late])
        .workers.get('one')
        ?.services.get('a')?.phase,
    ).toBe('ready')
  })

  it('keeps a service that was put after the list, or the removal, that comes last', () => {
    const putSince = service('a', 'starting', { revision: 10 })
    const removed: Event = { type: 'serviceRemoved', workerId: 'one', name: 'a', revision: 8 }
    const observed = after([...runs('one', 1, putSince), removed, tells('one', 1)])
    expect(observed.workers.get('one')?.services.get('a')).toEqual(putSince)
    const gone = after([{ ...removed, revision: 11 }], observed)
    expect(gone.workers.get('one')?.services.size).toBe(0)
  })

  it('counts a failure once, however often it is told', () => {
    const failed = service('a', 'failed')
    const once = after(runs('one', 1, failed))
    const again = after([tells('one', 1, [failed]), { type: 'serviceChanged', workerId: 'one', service: failed }], once)
    expect(again.services.get('a')?.failures).toEqual(once.services.get('a')?.failures)
  })

  it('does not hold it against a shard that its worker ended as told', () => {
    const draining = begin(after(runs('one', 1)), { type: 'shutdownWorker', workerId: 'one' }, now, policy)
    const exit: Event = { type: 'workerExited', workerId: 'one', message: 'exit code 0' }
    expect(after([exit], draining).shards.size).toBe(0)
    expect(after([exit], after(runs('one', 1))).shards.get(1)).toMatchObject({ restarts: 1, lastExit: 'exit code 0' })
  })

  it('smooths CPU samples, and ignores those of workers that are gone', () => {
    const sample = (cpuPercent: number): Event => ({
      type: 'usageSampled',
      usage: new Map([
        ['one', { cpuPercent, memoryBytes: 1, swapBytes: 0, cpuSeconds: 1 }],
        ['gone', { cpuPercent, memoryBytes: 1, swapBytes: 0, cpuSeconds: 1 }],
      ]),
    })
    const observed = after([...runs('one', 1), sample(10), sample(110)])
    expect(observed.workers.get('one')?.usage?.cpuPercent).toBeCloseTo(40)
    expect([...observed.workers.keys()]).toEqual(['one'])
  })
})
