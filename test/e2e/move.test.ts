/** Moving services between workers: by hand, by drain, by scaling, and what becomes of it when something goes wrong. */
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, describe, expect, it, onTestFinished } from 'vitest'
import { buildGo } from '../../scripts/build.ts'
import type { Status } from '../../shared/api.ts'
import { createAdminClient } from '../../supervisor/effects/adminClient.ts'
import { getAnew, startLoad } from './load.ts'
import { type Requests, TRIALS, type Window, WINDOW_MS, moveWhileWatched, untilBorne } from './moveTrial.ts'
import { acmeEnvironment, askSecurely, buildPebble } from './pebble.ts'
import { Stack, allReady, certified, workerPids, serviceNames } from './stack.ts'

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

const WARM_UP_MS = 2000

/** What clients of svc0 and of its neighbours see from now on. */
async function window(durationMs: number): Promise<Window> {
  const loads = [
    startLoad(stack.lab, ['svc0'], 50),
    startLoad(stack.lab, ['svc0'], 20, '/whoami', getAnew),
    startLoad(stack.lab, serviceNames(4).slice(1), 60),
  ]
  await delay(durationMs)
  const [keepAlive, each, others] = (await Promise.all(loads.map((load) => load.stop()))).map(
    ({ ok, failed, p99Ms, slowestMs }): Requests => ({ total: ok + failed.length, failed: failed.length, p99Ms, slowestMs }),
  ) as [Requests, Requests, Requests]
  return { keepAlive, each, others }
}

describe('a service that moves', () => {
  it.each([
    { control: 'answers at once', flags: [] },
    { control: 'takes 2 s for each network map', flags: ['--hold', '2s'] },
  ])('keeps its node and loses no request when control $control and nobody else notices', TRIALS, async (test) => {
    stack = await Stack.create({ upstreams: 4, shardSize: 3, labFlags: test.flags })
    await stack.configure(stack.services(4))
    await stack.startReady()
    const before = await stack.service('svc0')
    const key = (await stack.nodes()).find(({ hostname }) => hostname === 'svc0')?.nodeKey
    const [one, two] = (await stack.status()).shards.map(({ shard }) => shard)
    const home = before.shard ?? 0
    const away = home === one ? two : one
    const admin = createAdminClient(stack.runDir)
    onTestFinished(() => {
      admin.close()
    })
    await window(WARM_UP_MS) // sessions are made, and the way to each node is found
    await untilBorne(`a control that ${test.control}`, async () => {
      const still = await window(WINDOW_MS)
      const moving = window(WINDOW_MS)
      // Without the command, whose start would take the machine from those who are watched.
      const moved = await moveWhileWatched(async (there) => {
        await admin.order('move', { service: 'svc0', to: (there ? away : home) ?? 0 })
        await stack.until(({ moves }) => moves.length === 0, 'it has moved')
      })
      return { ...moved, still, moving: await moving }
    })
    const after = await stack.service('svc0')
    expect(after).toMatchObject({ shard: home, addresses: before.addresses, dnsName: before.dnsName })
    expect(await serviceNodes()).toEqual(serviceNames(4))
    expect((await stack.nodes()).find(({ hostname }) => hostname === 'svc0')?.nodeKey).toBe(key)
    expect((await stack.status()).moves).toEqual([])
  })

  it('keeps its certificate, and has none ordered', async () => {
    stack = await Stack.create({ labFlags: ['--acme-server', await buildPebble()], env: (lab) => acmeEnvironment(lab) })
    await stack.configure(stack.services(2), { defaults: {} })
    await stack.startReady()
    await stack.until(certified, 'certificates for both')
    const look = async () => {
      const { addresses, dnsName, shard } = await stack.service('svc0')
      const { certificate, status } = await askSecurely(stack.lab, `https://${dnsName}/`, 'tailnet')
      const nodeKey = (await stack.nodes()).find(({ hostname }) => hostname === 'svc0')?.nodeKey
      const orders = (await stack.labAPI('orders')) as unknown[]
      return { shard, identity: { addresses, dnsName, nodeKey, serial: certificate.serialNumber, status, orders: orders.length } }
    }
    const before = await look()
    await order('move', 'svc0', '--to', 'new')
    const after = await look()
    expect(after.shard).not.toBe(before.shard)
    expect(after.identity).toEqual(before.identity)
    expect(before.identity).toMatchObject({ status: 200, orders: 2 })
    expect(before.identity.serial).toMatch(/^[0-9A-F]{8,}$/)
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

  it('goes there by itself with upgradeWorkers, when the next supervisor starts', async () => {
    stack = await Stack.create({ upstreams: 4, shardSize: 2 })
    await buildGo(join(stack.directory, 'old'), ['tsnsrv-worker'], { version: '0.0.1' })
    await stack.configure(stack.services(4))
    const first = await stack.startReady('--worker-binary', join(stack.directory, 'old/tsnsrv-worker'))
    expect(versions(await stack.status())).toEqual(['0.0.1', '0.0.1'])
    const load = startLoad(stack.lab, serviceNames(4), 60)
    await load.answers(60)
    first.kill('SIGUSR2')
    await first.ended
    await stack.startReady('--upgrade-workers')
    const isDone = (status: Status) => status.rebalancing.upgrade === null && !versions(status).includes('0.0.1')
    const after = await stack.until((status) => allReady(status) && isDone(status), 'all workers are of the installed version')
    await load.answers(60)
    expect((await load.stop()).failed).toEqual([])
    expect(after.shards).toHaveLength(2)
  })
})

const versions = ({ shards }: Status): string[] => shards.map(({ version }) => version)
