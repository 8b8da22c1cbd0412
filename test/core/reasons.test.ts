import { expect, it } from 'vitest'
import { begin, observe } from '../../supervisor/core/observe.ts'
import { defaultPatience } from '../../supervisor/core/patience.ts'
import { type Event, type Observed, nothingObserved } from '../../supervisor/core/types.ts'
import { serviceStatus } from './serviceStatus.ts'

const policy = { ...defaultPatience, drainMs: 1000 }
const tell = (observed: Observed, ...events: Event[]) =>
  events.reduce((state, event) => observe(state, event, 1, policy), observed)
const spawn = (observed: Observed, workerId: string, shard: number) =>
  begin(observed, { type: 'spawnWorker', workerId, shard }, 1, policy)
const put = (observed: Observed, workerId: string) =>
  begin(observed, { type: 'putService', workerId, name: 'blog', retry: false, freshKey: false, standby: false }, 1, policy)
const has = (workerId: string, phase: 'ready' | 'failed'): Event => ({
  type: 'serviceChanged',
  workerId,
  service: serviceStatus('blog', phase),
})
const restarts = (observed: Observed) => observed.services.get('blog')?.restarts

it('tells what led to each start of a service', () => {
  const first = tell(put(spawn(spawn(nothingObserved, 'a', 1), 'b', 2), 'a'), has('a', 'ready'))
  expect(restarts(first)).toEqual({})
  const configured = put(first, 'a')
  expect(restarts(configured)).toEqual({ config: 1 })
  const moved = tell(put(configured, 'b'), has('b', 'ready'), {
    type: 'serviceRemoved',
    workerId: 'a',
    name: 'blog',
    revision: 9,
  })
  expect(restarts(moved)).toEqual({ config: 1, move: 1 })
  const failed = put(tell(moved, has('b', 'failed')), 'b')
  expect(restarts(failed)).toEqual({ config: 1, move: 1, retry: 1 })
  const bereft = put(tell(failed, { type: 'workerExited', workerId: 'b', message: 'killed by SIGKILL' }), 'a')
  expect(restarts(bereft)).toEqual({ config: 1, move: 1, retry: 1, worker: 1 })
})

it.each([
  ['killed by SIGKILL', 'killed'],
  ['killed by SIGSEGV', 'crashed'],
  ['exit code 2', 'crashed'],
  ['its process has ended', 'unknown'],
])('counts a worker that ends by "%s" as %s', (message, reason) => {
  expect(tell(spawn(nothingObserved, 'a', 1), { type: 'workerExited', workerId: 'a', message }).exits).toEqual({ [reason]: 1 })
})

it('counts a worker that is told to go, and one that is killed as it does not answer', () => {
  const exited: Event = { type: 'workerExited', workerId: 'a', message: 'killed by SIGKILL' }
  const told = begin(spawn(nothingObserved, 'a', 1), { type: 'shutdownWorker', workerId: 'a' }, 1, policy)
  expect(tell(told, exited).exits).toEqual({ stop: 1 })
  const killed = begin(
    spawn(nothingObserved, 'a', 1),
    { type: 'killWorker', workerId: 'a', why: 'it does not answer' },
    1,
    policy,
  )
  expect(tell(killed, exited).exits).toEqual({ unresponsive: 1 })
})
