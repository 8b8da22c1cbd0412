/** Moving services between workers: by hand, by drain, by scaling, and what becomes of it when something goes wrong. */
import { afterEach, describe, expect, it } from 'vitest'
import { startLoad } from './load.ts'
import { Stack, allReady, workerPids, serviceNames } from './stack.ts'

let stack: Stack
afterEach(() => stack.end())

async function order(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await stack.cli(...args, '--config', stack.configFile)
  if (exitCode !== 0) throw new Error(`${args.join(' ')}: ${String(exitCode)} ${stderr}`)
  return stdout
}

/** Names of the nodes of the services, as the control server has them: a second one would be called svc0-1. */
async function serviceNodes(): Promise<string[]> {
  const nodes = await stack.nodes()
  return nodes
    .map(({ hostname }) => hostname)
    .filter((hostname) => hostname.startsWith('svc'))
    .sort()
}

describe('a service that moves', () => {
  it('keeps its node and loses no request, over and over, and nobody else notices', async () => {
    stack = await Stack.create({ upstreams: 4, shardSize: 3 })
    await stack.configure(stack.services(4))
    await stack.startReady()
    const before = await stack.service('svc0')
    const key = (await stack.nodes()).find(({ hostname }) => hostname === 'svc0')?.nodeKey
    const others = serviceNames(4).slice(1)
    const [load, neighbours] = [startLoad(stack.lab, ['svc0'], 50), startLoad(stack.lab, others, 50)]
    await Promise.all([load.answers(50), neighbours.answers(50)])
    const [one, two] = (await stack.status()).shards.map(({ shard }) => shard)
    const home = before.shard ?? 0
    const away = home === one ? two : one
    for (let i = 0; i < 4; i++) {
      const to = i % 2 === 0 ? away : home
      expect(await order('move', 'svc0', '--to', String(to))).toContain(`svc0 is in shard ${String(to)}`)
      // It has to be at home before it moves on: its sessions with clients are made anew on both sides.
      await load.answers(100)
    }
    const [own, rest] = await Promise.all([load.stop(), neighbours.stop()])
    expect([own.failed, rest.failed]).toEqual([[], []])
    // A packet that is lost on the way is sent again after a second at the earliest.
    expect(own.slowestMs).toBeLessThan(1000)
    const after = await stack.service('svc0')
    expect(after).toMatchObject({ shard: home, addresses: before.addresses, dnsName: before.dnsName })
    expect(await serviceNodes()).toEqual(serviceNames(4))
    expect((await stack.nodes()).find(({ hostname }) => hostname === 'svc0')?.nodeKey).toBe(key)
    expect((await stack.status()).moves).toEqual([])
  })

  it('goes to a new shard, which ends when the last has left it', async () => {
    stack = await Stack.create({ shardSize: 4 })
    await stack.configure(stack.services(4))
    await stack.startReady()
    await order('move', 'svc1', '--to', 'new')
    expect((await stack.status()).shards.map(({ shard, services }) => [shard, services])).toEqual([
      [1, 3],
      [2, 1],
    ])
    expect(await order('drain', '2')).toContain('svc1 is in shard 1')
    await stack.until(({ shards }) => shards.length === 1, 'the empty shard ends')
    await stack.whoAnswers('svc1')
  })

  it('is refused where it cannot go, and then nothing changes', async () => {
    stack = await Stack.create({ shardSize: 2 })
    await stack.configure(stack.services(4))
    await stack.startReady()
    const before = (await stack.status()).services.map(({ shard }) => shard)
    const here = (await stack.service('svc0')).shard ?? 0
    for (const [args, why] of [
      [['move', 'svc0', '--to', String(here)], 'already'],
      [['move', 'svc0', '--to', String(3 - here)], 'is full'],
      [['move', 'svc0', '--to', '9'], 'there is no shard 9'],
      [['move', 'nobody', '--to', 'new'], 'there is no service nobody'],
      [['drain', '7'], 'there is no shard 7'],
      [['scale', '--shards', '1'], 'at least 2 shards'],
    ] as const) {
      const { exitCode, stderr } = await stack.cli(...args, '--config', stack.configFile)
      expect([args.join(' '), exitCode, stderr]).toEqual([args.join(' '), 1, expect.stringContaining(why)])
    }
    expect((await stack.status()).services.map(({ shard }) => shard)).toEqual(before)
  })

  it('goes on moving when the supervisor is killed in the middle', async () => {
    stack = await Stack.create({ shardSize: 3 })
    await stack.configure(stack.services(4))
    const first = await stack.startReady()
    const home = (await stack.service('svc0')).shard ?? 0
    const moving = stack.cli('drain', String(home), '--config', stack.configFile)
    await stack.until(({ moves }) => moves.length > 0, 'it is decided')
    first.kill('SIGKILL')
    await Promise.all([first.ended, moving])
    await stack.startReady()
    const after = await stack.until((status) => allReady(status) && status.moves.length === 0, 'all moves are done')
    expect(after.services.filter(({ shard }) => shard === home)).toEqual([])
    await Promise.all(serviceNames(4).map((name) => stack.whoAnswers(name)))
    expect(await serviceNodes()).toEqual(serviceNames(4))
  })

  it('goes to a worker of the installed version when workers are replaced, one after the other', async () => {
    stack = await Stack.create({ upstreams: 4, shardSize: 3 })
    await stack.configure(stack.services(6))
    await stack.startReady()
    const before = await stack.status()
    const load = startLoad(stack.lab, serviceNames(6), 60)
    await load.answers(60)
    expect(await order('upgrade-workers')).toContain('Every worker is of the installed version')
    expect(await order('upgrade-workers', '--all')).toContain('All are replaced.')
    await load.answers(60)
    const { failed } = await load.stop()
    expect(failed).toEqual([])
    const after = await stack.until(({ shards }) => shards.length === 2, 'the old workers end')
    expect(after.services.map(({ addresses }) => addresses)).toEqual(before.services.map(({ addresses }) => addresses))
    const old = workerPids(before)
    expect(workerPids(after).filter((pid) => old.includes(pid))).toEqual([])
    expect((await stack.sessions()).filter(({ twice }) => twice > 0)).toEqual([])
  })
})
