/** A service that ends its worker: real workers, and a kill -9 whenever the one service is up in one of them. */
import { afterEach, describe, expect, it } from 'vitest'
import { startLoad } from './load.ts'
import { Stack } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

/** Kills each worker in which the service comes up, as long as it is not quarantined. Resolves with the number of workers. */
async function poison(name: string, afterDeath: (deaths: number) => Promise<void> = () => Promise.resolve()): Promise<number> {
  const killed = new Set<number>()
  for (;;) {
    const status = await stack.until(({ services }) => {
      const service = services.find((candidate) => candidate.name === name)
      return service?.reason === 'Quarantined' || (service?.ready === true && !killed.has(service.workerPid ?? 0))
    }, `${name} is up or quarantined`)
    const service = status.services.find((candidate) => candidate.name === name)
    if (service?.reason === 'Quarantined') return killed.size
    const pid = service?.workerPid ?? 0
    process.kill(pid, 'SIGKILL')
    killed.add(pid)
    await afterDeath(killed.size)
  }
}

describe('a service that ends its worker', () => {
  it('is found and quarantined, the others serve, the other shard notices nothing; it is back when it is released', async () => {
    stack = await Stack.create({ upstreams: 6, shardSize: 4 })
    await stack.configure(stack.services(6))
    let supervisor = await stack.startReady()
    const before = await stack.status()
    const home = (await stack.service('svc0')).shard
    const strangers = before.services.filter(({ shard }) => shard !== home).map(({ name }) => name)
    const load = startLoad(stack.lab, strangers, 50)
    await load.answers(20)
    const deaths = await poison('svc0', async (count) => {
      if (count !== 4) return
      // What is known by now is known to the next supervisor.
      await stack.until(({ shards }) => shards.filter(({ suspected }) => suspected).length === 3, 'the half is split')
      supervisor.kill('SIGKILL')
      await supervisor.ended
      supervisor = stack.start()
    })
    // Three to suspect its shard of three or four, at most one to split the half, and two of it alone.
    expect(deaths).toBeLessThanOrEqual(6)
    const innocents = before.services.map(({ name }) => name).filter((name) => name !== 'svc0')
    const after = await stack.until(
      ({ services }) => services.filter(({ ready }) => ready).length === innocents.length,
      'all others are ready',
    )
    await Promise.all(innocents.map((name) => stack.whoAnswers(name)))
    expect((await load.stop()).failed).toEqual([])
    expect(after.services.find(({ name }) => name === 'svc0')).toMatchObject({
      phase: 'failed',
      reason: 'Quarantined',
      shard: null,
      message: expect.stringMatching(
        /its worker ended 2 times while no other service was in it.*tsnsrv-sup release svc0/,
      ) as string,
    })
    const log = await stack.cli('logs', 'svc0', '--config', stack.configFile)
    expect(log.stdout).toContain('service quarantined')
    const refused = await stack.cli('release', 'svc1', '--config', stack.configFile)
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining('svc1 is not quarantined')])
    const { exitCode, stdout } = await stack.cli('release', 'svc0', '--config', stack.configFile)
    expect([exitCode, stdout]).toEqual([0, 'svc0 is started again, alone in a shard.'])
    const released = await stack.until(({ services }) => services.every(({ ready }) => ready), 'it is back')
    const neighbours = released.services.filter(
      ({ shard }) => shard === released.services.find(({ name }) => name === 'svc0')?.shard,
    )
    expect(neighbours.map(({ name }) => name)).toEqual(['svc0'])
    await stack.whoAnswers('svc0')
    // The same nodes all the time: another would be called svc0-1.
    const nodes = (await stack.nodes()).map(({ hostname }) => hostname).filter((hostname) => hostname.startsWith('svc'))
    expect(nodes.sort()).toEqual([...innocents, 'svc0'].sort())
  })
})
