/** What dies, and what goes on: kill -9 of a worker, of the supervisor, of both, under load. */
import { afterEach, describe, expect, it } from 'vitest'
import { startLoad } from './load.ts'
import { Stack, allReady, isRunning, workerPids, serviceNames } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

describe('twelve services in three shards', () => {
  it('answer each with their own upstream', async () => {
    stack = await Stack.create({ upstreams: 12 })
    await stack.configure(stack.services(12))
    await stack.startReady()
    const answers = await Promise.all(serviceNames(12).map((name) => stack.whoAnswers(name)))
    expect(new Set(answers).size).toBe(12)
    expect((await stack.status()).shards.map(({ services }) => services)).toEqual([4, 4, 4])
  })

  it('lose no request when the supervisor is killed and started again, at 100 requests a second', async () => {
    stack = await Stack.create({ upstreams: 12 })
    await stack.configure(stack.services(12))
    const first = await stack.startReady()
    const before = await stack.status()
    const load = startLoad(stack.lab, serviceNames(12), 100)
    await stack.until(({ services }) => services.every(({ requests }) => requests > 5), 'some load on each service')
    first.kill('SIGKILL')
    await first.ended
    const after = await (await stack.startReady(), stack.status())
    const requestsThen = new Map(after.services.map(({ name, requests }) => [name, requests]))
    await stack.until(
      ({ services }) => services.every(({ name, requests }) => requests > (requestsThen.get(name) ?? 0)),
      'load goes on',
    )
    const result = await load.stop()
    expect(result.failed).toEqual([])
    expect(result.ok).toBeGreaterThan(100)
    expect(workerPids(after)).toEqual(workerPids(before))
    expect(after.shards.every(({ adopted }) => adopted)).toBe(true)
  })

  it('lose only the shard of a worker that is killed, and have it back within 5 s', async () => {
    stack = await Stack.create({ upstreams: 12 })
    await stack.configure(stack.services(12))
    await stack.startReady()
    const before = await stack.status()
    const keys = new Map((await stack.nodes()).map(({ hostname, nodeKey }) => [hostname, nodeKey]))
    const victim = before.shards[1]?.workerPid ?? 0
    const hit = before.services.filter(({ shard }) => shard === 2).map(({ name }) => name)
    const load = startLoad(stack.lab, serviceNames(12), 100)
    await stack.until(({ services }) => services.every(({ requests }) => requests > 5), 'some load on each service')
    const killedAt = Date.now()
    process.kill(victim, 'SIGKILL')
    await stack.until((status) => allReady(status) && status.shards[1]?.workerPid !== victim, 'the shard is back')
    for (const name of hit) await stack.whoAnswers(name)
    expect(Date.now() - killedAt).toBeLessThan(5000)
    const { failed, ok } = await load.stop()
    expect(ok).toBeGreaterThan(100)
    expect(failed.filter(({ service }) => !hit.includes(service))).toEqual([])
    // The same nodes, not new ones: same keys, and no name with "-1".
    for (const { hostname, nodeKey } of await stack.nodes()) expect(nodeKey).toBe(keys.get(hostname))
  })

  it('come back when supervisor and worker are killed together', async () => {
    stack = await Stack.create({ upstreams: 4 })
    await stack.configure(stack.services(12))
    const first = await stack.startReady()
    const before = await stack.status()
    first.kill('SIGKILL')
    process.kill(before.shards[0]?.workerPid ?? 0, 'SIGKILL')
    await first.ended
    await stack.startReady()
    const after = await stack.status()
    expect(after.shards.map(({ adopted }) => adopted)).toEqual([false, true, true])
    expect(after.services.map(({ addresses }) => addresses)).toEqual(before.services.map(({ addresses }) => addresses))
    await Promise.all(serviceNames(12).map((name) => stack.whoAnswers(name)))
  })

  it('never have a node twice, seen from the control server', async () => {
    stack = await Stack.create({ upstreams: 4 })
    await stack.configure(stack.services(8))
    const first = await stack.startReady()
    process.kill(workerPids(await stack.status())[0] ?? 0, 'SIGKILL')
    first.kill('SIGKILL')
    await first.ended
    await stack.startReady()
    const sessions = await stack.sessions()
    expect(sessions.length).toBeGreaterThanOrEqual(8)
    expect(sessions.filter(({ starts }) => starts > 1).length).toBeGreaterThanOrEqual(2)
    expect(sessions.filter(({ twice }) => twice > 0)).toEqual([])
  })

  it('serve on while the control server is away', async () => {
    stack = await Stack.create({ upstreams: 4 })
    await stack.configure(stack.services(4))
    await stack.startReady()
    for (const name of serviceNames(4)) await stack.whoAnswers(name)
    await stack.labAPI('pause', 'POST')
    for (const name of serviceNames(4)) await stack.whoAnswers(name)
    expect(allReady(await stack.status())).toBe(true)
    await stack.labAPI('resume', 'POST')
  })
})

describe('signals', () => {
  it('TERM stops supervisor and workers and leaves no process and no socket', async () => {
    stack = await Stack.create()
    await stack.configure(stack.services(5))
    const supervisor = await stack.startReady()
    const pids = workerPids(await stack.status())
    supervisor.kill('SIGTERM')
    expect((await supervisor.ended).exitCode).toBe(0)
    expect(await Promise.all(pids.map(isRunning))).toEqual(pids.map(() => false))
  })

  it('USR2 ends the supervisor alone, and the next one adopts', async () => {
    stack = await Stack.create()
    await stack.configure(stack.services(5))
    const supervisor = await stack.startReady()
    const before = workerPids(await stack.status())
    supervisor.kill('SIGUSR2')
    expect((await supervisor.ended).exitCode).toBe(0)
    expect(await stack.whoAnswers('svc0')).not.toBe('')
    await stack.startReady()
    expect(workerPids(await stack.status())).toEqual(before)
  })
})
