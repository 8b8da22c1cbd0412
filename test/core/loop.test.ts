/** The loop in a fake world: scheduled races, deaths at any moment, and what must hold whatever happens. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { nothingRemembered } from '../../supervisor/core/types.ts'
import type { Loop } from '../../supervisor/loop.ts'
import { World, configOf } from './world.ts'

/** Runs a story in a world whose order of events fast-check chooses. */
const inAnyOrder = (story: (world: World) => Promise<void>, runs = 50) =>
  fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const world = new World(scheduler)
      await story(world)
      expect(world.conflicts).toEqual([])
      expect(world.reusedNumbers).toEqual([])
    }),
    { numRuns: runs },
  )

async function settled(world: World): Promise<void> {
  expect(await world.settle(), 'the loop goes quiet').toBe(true)
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `s${String(i)}`)
const servingNames = (world: World) => [...world.serving().keys()].sort()
const workerIds = (world: World) => [...world.workers.keys()].sort()

describe('the loop', () => {
  it('brings up every service in shards of the size asked for', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(7), 3))
      await settled(world)
      expect(servingNames(world)).toEqual(names(7))
      expect([...world.workers.values()].map((worker) => worker.services.size).sort()).toEqual([2, 2, 3])
    }))

  it('starts each node once, however its events race', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(4), 2))
      await settled(world)
      expect([...world.starts.values()]).toEqual([1, 1, 1, 1])
    }))

  it('brings a dead worker back with its services and leaves the others alone', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(4), 2))
      await settled(world)
      const victim = world.serving().get('s0')
      const others = workerIds(world).filter((id) => id !== victim?.id)
      world.killWorker(victim?.id ?? '')
      await settled(world)
      expect(servingNames(world)).toEqual(names(4))
      expect(workerIds(world)).toEqual(expect.arrayContaining(others))
      expect(workerIds(world)).not.toContain(victim?.id)
    }))

  it('says of the services of a worker that does not answer that nothing is known of them, and moves none of them', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(4), 3))
      await settled(world)
      const victim = world.serving().get('s0')
      if (!victim) throw new Error('s0 is nowhere')
      world.stall(victim)
      await settled(world)
      const since = new Date(world.now).toISOString()
      const ofVictim = loop.status().services.filter(({ shard }) => shard === victim.shard)
      expect(ofVictim.length).toBeGreaterThan(0)
      for (const service of ofVictim) {
        const { phase, ready, reason, message } = service
        expect({ phase, ready, reason, message }).toEqual({
          phase: 'unknown',
          ready: false,
          reason: 'WaitingForWorker',
          message: `its worker (pid ${String(victim.pid)}) has not answered since ${since}`,
        })
      }
      const [shard] = loop.status().shards.filter(({ workerId }) => workerId === victim.id)
      expect(shard).toMatchObject({ ready: 0, silentSince: world.now })
      expect(shard?.problems.join()).toContain(`has not answered since ${since}`)
      expect(loop.status().services.filter(({ ready }) => ready).length).toBe(4 - ofVictim.length)

      await loop.order('move', { service: 's0', to: 'new' })
      await world.settle(50)
      expect(loop.status().moves).toMatchObject([{ name: 's0', phase: 'queued' }])
      world.resume(victim)
      await settled(world)
      expect(loop.status().shards.flatMap(({ problems }) => problems)).toEqual([])
      expect(servingNames(world)).toEqual(names(4))
      expect(world.serving().get('s0')?.shard).not.toBe(victim.shard)
    }, 20))

  it('adopts living workers: a new supervisor starts and stops nothing', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(6), 2))
      await settled(world)
      const before = workerIds(world)
      world.killSupervisor()
      world.start(configOf(names(6), 2))
      await settled(world)
      expect(workerIds(world)).toEqual(before)
      expect([...world.starts.values()]).toEqual(names(6).map(() => 1))
    }))

  it('takes up the work that a killed supervisor had begun', () =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.integer({ min: 0, max: 30 }), async (scheduler, steps) => {
        const world = new World(scheduler)
        world.start(configOf(names(5), 2))
        await world.settle(steps)
        world.killSupervisor()
        world.start(configOf(names(5), 2))
        await settled(world)
        expect(servingNames(world)).toEqual(names(5))
        expect(world.conflicts).toEqual([])
      }),
    ))

  it('has each certificate ordered once, whatever supervisors die meanwhile, and a lost one again', () =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 3 }), async (scheduler, deaths) => {
        const world = new World(scheduler)
        for (const name of names(6)) world.tls.add(name)
        world.lostOrders.set('s1', 2)
        let loop = world.start(configOf(names(6), 3))
        for (const steps of deaths) {
          await world.settle(steps)
          world.killSupervisor()
          loop = world.start(configOf(names(6), 3))
        }
        await settled(world)
        expect([...world.certified].sort()).toEqual(names(6))
        expect(loop.status().services.every(({ problems }) => problems.length === 0)).toBe(true)
        for (const name of names(6)) {
          const made = world.orders.filter((order) => order.name === name).map(({ at }) => at)
          // An order that a dying supervisor wrote down and did not make is waited for; one that was made is never repeated.
          expect(made.length).toBe(name === 's1' ? 3 : 1)
          for (const [i, at] of made.entries()) expect(at - (made[i - 1] ?? -Infinity)).toBeGreaterThanOrEqual(15 * 60_000)
        }
        const written = [...world.saved.certificateOrders.values()].reduce((sum, times) => sum + times.length, 0)
        expect(written).toBeGreaterThanOrEqual(world.orders.length)
      }),
      { numRuns: 60 },
    ))

  it('says why certificates wait, and orders none that could not be written down', () =>
    inAnyOrder(async (world) => {
      for (const name of names(3)) world.tls.add(name)
      const config = configOf(names(3), 3)
      const limited = { ...config, settings: { ...config.settings, certificatesPerWeek: 2 } }
      const start = world.now
      const loop = world.start(limited)
      await world.settleUntil(
        () => loop.status().services.filter(({ certificate }) => (certificate?.notAfter ?? 0) > 0).length === 2,
      )
      expect(world.orders.length).toBe(2)
      const [waiting] = loop.status().services.filter(({ problems }) => problems.length > 0)
      expect(waiting?.problems).toEqual([
        {
          part: 'certificate',
          message: expect.stringContaining('2 certificates of a.ts.net were ordered within a week') as string,
        },
      ])
      await settled(world)
      expect(world.certified.size).toBe(3)
      expect(world.now - start).toBeGreaterThanOrEqual(7 * 24 * 3_600_000)
    }, 10))

  it('rebuilds the placement from the workers when the state file is lost', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(6), 2))
      await settled(world)
      const before = world.saved.placement
      world.killSupervisor()
      world.saved = nothingRemembered
      world.start(configOf(names(6), 2))
      await settled(world)
      expect(world.saved.placement).toEqual(before)
      expect([...world.starts.values()]).toEqual(names(6).map(() => 1))
    }))

  it('starts nothing elsewhere while the fate of a silent worker is open, then replaces it', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(4), 2))
      await settled(world)
      const frozen = world.serving().get('s0')
      if (frozen) frozen.frozen = true
      world.killSupervisor()
      world.start(configOf(names(4), 2))
      await settled(world)
      expect(servingNames(world)).toEqual(names(4))
      expect(workerIds(world)).not.toContain(frozen?.id)
    }))

  it('retries a failed service until it succeeds, and touches no other', () =>
    inAnyOrder(async (world) => {
      world.faults.set('s1', 3)
      world.start(configOf(names(4), 2))
      await settled(world)
      expect(servingNames(world)).toEqual(names(4))
      expect(world.starts.get('s0')).toBe(1)
    }))

  it('applies a reload: added, removed and changed services only', () =>
    inAnyOrder(async (world) => {
      let config = configOf(names(4), 2)
      const loop = world.start(config, () => config)
      await settled(world)
      config = configOf(['s0', 's1', 's2', 'new'], 2, { s1: 'changed' })
      const result = await reloaded(world, loop)
      expect(result).toMatchObject({ added: ['new'], removed: ['s3'], changed: ['s1'], moved: [], unchanged: 2 })
      expect(servingNames(world)).toEqual(['new', 's0', 's1', 's2'])
      expect([world.starts.get('s0'), world.starts.get('s1'), world.starts.get('s2')]).toEqual([1, 2, 1])
    }))

  it('comes back on a full disk with what died meanwhile, and writes the placement once it can', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(5), 2))
      await settled(world)
      world.killSupervisor()
      world.killWorker([...world.workers.keys()][0] ?? '')
      world.saved = nothingRemembered
      world.diskIsFull = true
      const loop = world.start(configOf(names(5), 2))
      await world.settleUntil(() => servingNames(world).length === 5 && loop.status().journalError !== '')
      expect(loop.status().journalError).toContain('no space left')
      expect(world.saved.placement.size).toBe(0)
      world.diskIsFull = false
      await settled(world)
      expect(loop.status().journalError).toBe('')
      for (const [name, worker] of world.serving()) expect(world.saved.placement.get(name)).toBe(worker.shard)
    }))

  it('refuses a reload whole when the configuration or the disk refuses it', () =>
    inAnyOrder(async (world) => {
      let config = configOf(names(4), 2)
      const loop = world.start(config, () => config)
      await settled(world)
      config = configOf(names(6), 2)
      world.diskIsFull = true
      await expect(loop.reload()).rejects.toThrow('no space left')
      expect(servingNames(world)).toEqual(names(4))
      // The file is right: it is the disk that is full, and says so until it is not.
      expect(loop.status()).toMatchObject({ configError: '', journalError: 'no space left on device' })
      world.diskIsFull = false
      await settled(world)
      expect(loop.status().journalError).toBe('')
      await reloaded(world, loop)
      expect(servingNames(world)).toEqual(names(6))
    }, 20))

  it('says of a refused reload that it was, until the file is right again', () =>
    inAnyOrder(async (world) => {
      let fault: string | null = null
      const config = configOf(names(4), 2)
      const loop = world.start(config, () => {
        if (fault !== null) throw new Error(fault)
        return config
      })
      await settled(world)
      fault = 'line 3: no such key'
      await expect(reloaded(world, loop)).rejects.toThrow(fault)
      fault = 'line 4: no such key'
      await loop.review()
      expect(loop.status()).toMatchObject({ configError: fault, configGeneration: 1 })
      fault = null
      await loop.review()
      expect(loop.status()).toMatchObject({ configError: '', configGeneration: 1 })
    }, 20))

  it('tells that an order could not be written, until something can', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(4), 2))
      await settled(world)
      world.diskIsFull = true
      await expect(loop.order('pause', {})).rejects.toThrow('no space left')
      expect(loop.status()).toMatchObject({ journalError: 'no space left on device', rebalancing: { paused: false } })
      world.diskIsFull = false
      await settled(world)
      expect(loop.status().journalError).toBe('')
      await loop.order('pause', {})
      expect(loop.status().rebalancing.paused).toBe(true)
    }, 20))

  it('refuses a reload into another state directory, where every node would be a new one', () =>
    inAnyOrder(async (world) => {
      let config = configOf(names(2), 2)
      const loop = world.start(config, () => config)
      await settled(world)
      config = { ...config, settings: { ...config.settings, stateDir: '/elsewhere' } }
      await expect(reloaded(world, loop)).rejects.toThrow('stateDir cannot change')
      expect([...world.starts.values()]).toEqual([1, 1])
    }, 10))

  it('moves what a smaller shard size forces out, never having a node twice', () =>
    inAnyOrder(async (world) => {
      let config = configOf(names(6), 6)
      const loop = world.start(config, () => config)
      await settled(world)
      config = configOf(names(6), 3)
      const result = await reloaded(world, loop)
      expect(result.moved).toHaveLength(3)
      expect(servingNames(world)).toEqual(names(6))
      expect([...world.workers.values()].map((worker) => worker.services.size)).toEqual([3, 3])
    }))

  it('stops everything when told to', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 2))
      await settled(world)
      loop.stop({ leaveWorkers: false })
      await settled(world)
      await loop.done
      expect(world.workers.size).toBe(0)
    }))

  it('stops also when told so in the middle of starting', () =>
    fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.integer({ min: 0, max: 30 }), async (scheduler, steps) => {
        const world = new World(scheduler)
        const loop = world.start(configOf(names(5), 2))
        await world.settle(steps)
        loop.stop({ leaveWorkers: false })
        await settled(world)
        await loop.done
        expect(world.workers.size).toBe(0)
      }),
    ))

  it('leaves the workers serving when told to go alone', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 2))
      await settled(world)
      const before = workerIds(world)
      loop.stop({ leaveWorkers: true })
      await settled(world)
      await loop.done
      expect(workerIds(world)).toEqual(before)
      expect(servingNames(world)).toEqual(names(5))
    }))
})

describe('a service that ends its worker', () => {
  const quarantined = (world: World) => [...world.saved.culprits.quarantine.keys()].sort()
  const without = (count: number, ...culprits: string[]) => names(count).filter((name) => !culprits.includes(name))

  it('is quarantined, with the reason in the status; the others serve, and no other shard loses its worker', () =>
    inAnyOrder(async (world) => {
      world.poisons.add('s1')
      const loop = world.start(configOf(names(8), 4))
      await settled(world)
      expect(servingNames(world)).toEqual(without(8, 's1'))
      // Three of four services, one of two, two of the culprit alone.
      expect(world.deaths.length).toBeLessThanOrEqual(6)
      expect(world.deaths.every((set) => set.includes('s1'))).toBe(true)
      const { services, phase, rebalancing, shards } = loop.status()
      expect(phase).toBe('running')
      expect(services.find(({ name }) => name === 's1')).toMatchObject({
        phase: 'failed',
        reason: 'Quarantined',
        shard: null,
        message: expect.stringMatching(/killed by SIGKILL.*tsnsrv-sup release s1/) as string,
      })
      expect(new Set(rebalancing.decisions.map(({ verdict }) => verdict))).toEqual(new Set(['corner']))
      expect(shards.some(({ suspected }) => suspected)).toBe(false)
    }, 30))

  it('is found however often the supervisor is killed meanwhile, and so are two', () => {
    const poisons = fc.subarray(names(8), { minLength: 1, maxLength: 2 })
    const lives = fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 4 })
    return fc.assert(
      fc.asyncProperty(fc.scheduler(), poisons, lives, async (scheduler, culprits, steps) => {
        const world = new World(scheduler)
        for (const name of culprits) world.poisons.add(name)
        world.start(configOf(names(8), 4))
        for (const count of steps) {
          await world.settle(count)
          world.killSupervisor()
          world.start(configOf(names(8), 4))
        }
        await settled(world)
        expect(quarantined(world)).toEqual(culprits.sort())
        expect(servingNames(world)).toEqual(without(8, ...culprits))
        expect(world.conflicts).toEqual([])
      }),
      { numRuns: 40 },
    )
  }, 60_000)

  it('is restarted with its shard while that cannot be written down, and found as soon as it can', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(4), 2))
      await settled(world)
      world.diskIsFull = true
      const killedAt = world.now
      world.killWorker(world.serving().get('s1')?.id ?? '')
      await world.settleUntil(() => servingNames(world).length === 4)
      expect(world.now).toBe(killedAt)
      world.poisons.add('s1')
      world.killWorker(world.serving().get('s1')?.id ?? '')
      await world.settleUntil(() => world.deaths.length >= 10)
      expect(loop.status().journalError).toContain('no space left')
      world.diskIsFull = false
      await settled(world)
      expect(quarantined(world)).toEqual(['s1'])
      expect(servingNames(world)).toEqual(without(4, 's1'))
    }, 20))

  it('is tried again when it is released or its configuration changes, and nobody else pays for it', () =>
    inAnyOrder(async (world) => {
      let config = configOf(names(4), 2)
      const loop = world.start(config, () => config)
      world.poisons.add('s1')
      await settled(world)
      const before = world.deaths.length
      const order = loop.order('release', { service: 's1' })
      await settled(world)
      await order
      expect(world.deaths.slice(before)).toEqual([['s1'], ['s1']])
      expect(quarantined(world)).toEqual(['s1'])
      config = configOf([...names(4), 's4'], 2)
      await reloaded(world, loop)
      expect(servingNames(world)).toEqual(without(5, 's1'))
      world.poisons.clear()
      config = configOf([...names(4), 's4'], 2, { s1: 'mended' })
      expect(await reloaded(world, loop)).toMatchObject({ changed: ['s1'], moved: [] })
      expect(servingNames(world)).toEqual(names(5))
      expect(world.deaths.length).toBe(before + 2)
      await expect(loop.order('release', { service: 's1' })).rejects.toThrow('s1 is not quarantined; no service is')
    }, 20))

  it('gets no company and is no company while it is searched for, by no order either', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(8), 4))
      await settled(world)
      const shardOf = (name: string) => loop.status().services.find((service) => service.name === name)?.shard ?? 0
      const suspected = () => loop.status().shards.flatMap(({ shard, suspected: is }) => (is ? [shard] : []))
      while (suspected().length === 0) {
        world.killWorker(world.serving().get('s1')?.id ?? '')
        await world.settleUntil(() => suspected().length > 0 || servingNames(world).length === 8)
      }
      await world.settleUntil(() => servingNames(world).length === 8)
      const [first = 0] = suspected()
      const suspect = names(8).find((name) => suspected().includes(shardOf(name))) ?? ''
      const innocents = names(8).filter((name) => !suspected().includes(shardOf(name)))
      const [innocent = ''] = innocents
      const starts = new Map(world.starts)
      await expect(loop.order('move', { service: innocent, to: first })).rejects.toThrow(
        `shard ${String(first)} is being searched for the service that crashes its worker: ${innocent} would be in danger there; ` +
          'name another shard, or "new". The search ends when its worker has run for 15 minutes ("status" shows that)',
      )
      await expect(loop.order('move', { service: suspect, to: 'new' })).rejects.toThrow(`${suspect} may be that service`)
      await expect(loop.order('drain', { shard: first })).rejects.toThrow('one of its services may be that service')
      // Others are drained, and none of them comes to the suspects; nor does an upgrade touch these.
      await loop.order('drain', { shard: shardOf(innocent) })
      await world.settleUntil(() => loop.status().moves.length === 0)
      await loop.order('upgrade-workers', { all: true })
      await world.settleUntil(() => loop.status().rebalancing.upgrade === null)
      expect(suspected()).toHaveLength(2)
      for (const name of names(8)) {
        expect(world.starts.get(name)).toBe((starts.get(name) ?? 0) + (innocents.includes(name) ? 2 : 0))
      }
      await settled(world)
      expect(suspected()).toEqual([])
      await expect(loop.order('move', { service: suspect, to: 'new' })).resolves.toBeDefined()
      await settled(world)
      expect(servingNames(world)).toEqual(names(8))
    }, 20))

  it('is told from another in another shard that dies at the same moments at first', () =>
    inAnyOrder(async (world) => {
      world.poisons.add('s0').add('s1')
      world.start(configOf(names(9), 3))
      await settled(world)
      expect(quarantined(world)).toEqual(['s0', 's1'])
      expect(servingNames(world)).toEqual(without(9, 's0', 's1'))
    }, 20))
})

describe('a worker that neither answers nor may be killed', () => {
  /** Two shards of two services; the worker that has s0 stops, hidden, until the supervisor has given it up. */
  async function given(world: World) {
    const loop = world.start(configOf(names(4), 2))
    await settled(world)
    const worker = world.serving().get('s0')
    if (!worker) throw new Error('s0 serves nowhere')
    worker.hidden = true
    world.freeze(worker)
    await world.settleUntil(() => loop.status().orphans.length > 0)
    return { loop, worker, held: [...worker.nodes].sort() }
  }

  it('is named with what it holds, and its services wait for their nodes in another worker', () =>
    inAnyOrder(async (world) => {
      const { loop, worker, held } = await given(world)
      expect(loop.status().orphans).toMatchObject([{ workerId: worker.id, pid: worker.pid, directory: `/run/${worker.id}` }])
      const rows = () => loop.status().services.filter(({ reason }) => reason === 'StateDirLocked')
      await world.settleUntil(() => rows().length === held.length)
      await world.settleUntil(() => loop.status().orphans[0]?.services.length === held.length)
      expect([...(loop.status().orphans[0]?.services ?? [])].sort()).toEqual(held)
      for (const { message } of rows()) expect(message).toContain(`held by worker ${worker.id} (pid ${String(worker.pid)})`)
      expect(world.workers.has(worker.id)).toBe(true)
    }, 20))

  it('is ended by an order, and its services come up at once', () =>
    inAnyOrder(async (world) => {
      const { loop, worker, held } = await given(world)
      await world.settleUntil(
        () => loop.status().services.filter(({ reason }) => reason === 'StateDirLocked').length === held.length,
      )
      const before = world.now
      await loop.endOrphans()
      await world.settleUntil(() => servingNames(world).length === 4 && loop.status().orphans.length === 0)
      expect(world.now - before).toBeLessThan(1000)
      expect(world.workers.has(worker.id)).toBe(false)
    }, 20))

  it('is followed again when it answers, and goes on serving', () =>
    inAnyOrder(async (world) => {
      const { loop, worker } = await given(world)
      world.thawAll()
      await settled(world)
      expect(loop.status().orphans).toEqual([])
      expect(servingNames(world)).toEqual(names(4))
      expect([...world.serving().values()]).toContain(worker)
    }, 20))

  it('is nothing that keeps the supervisor from stopping', () =>
    inAnyOrder(async (world) => {
      const { loop } = await given(world)
      loop.stop({ leaveWorkers: false })
      await world.settle()
      await loop.done
    }, 20))
})

describe('whatever happens', () => {
  const aCommand = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant('let' as const), steps: fc.integer({ min: 0, max: 25 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('killWorker' as const), which: fc.nat(5) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('killSupervisor' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('freezeWorker' as const), which: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('hideWorker' as const), which: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('thawWorkers' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('endOrphans' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('repeatState' as const), which: fc.nat(5) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('loseState' as const) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('fillDisk' as const), full: fc.boolean() }) },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('fail' as const), which: fc.nat(9), times: fc.integer({ min: 1, max: 3 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        do: fc.constant('clockJump' as const),
        ms: fc.integer({ min: -3 * 86_400_000, max: 3 * 86_400_000 }),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('reload' as const),
        services: fc.subarray(names(9), { minLength: 1 }),
        shardSize: fc.integer({ min: 1, max: 5 }),
        version: fc.constantFrom('one', 'two'),
      }),
    },
  )

  it(
    'a node runs in at most one worker, and once it is calm everything that is wanted serves and the loop is quiet',
    () =>
      fc.assert(
        fc.asyncProperty(fc.scheduler(), fc.array(aCommand, { maxLength: 12 }), async (scheduler, commands) => {
          const world = new World(scheduler)
          let config = configOf(names(5), 2)
          let loop: Loop = world.start(config, () => config)
          const worker = (which: number) => [...world.workers.values()][which % Math.max(1, world.workers.size)]
          for (const command of commands) {
            switch (command.do) {
              case 'let':
                await world.settle(command.steps)
                break
              case 'killWorker':
                world.killWorker(worker(command.which)?.id ?? '')
                break
              case 'freezeWorker': {
                const victim = worker(command.which)
                if (victim) world.freeze(victim)
                break
              }
              case 'hideWorker': {
                // Only one that is stopped, too, is ever to be killed, and cannot be.
                const victim = worker(command.which)
                if (!victim) break
                victim.hidden = true
                world.freeze(victim)
                break
              }
              case 'thawWorkers':
                world.thawAll()
                break
              case 'endOrphans':
                void loop.endOrphans()
                break
              case 'repeatState': {
                const teller = worker(command.which)
                if (teller) world.repeatState(teller)
                break
              }
              case 'killSupervisor':
                world.killSupervisor()
                loop = world.start(config, () => config)
                break
              case 'loseState':
                world.saved = nothingRemembered
                break
              case 'fillDisk':
                world.diskIsFull = command.full
                break
              case 'fail':
                world.faults.set(`s${String(command.which)}`, command.times)
                break
              case 'clockJump':
                world.setClock(command.ms)
                break
              case 'reload': {
                const marks = Object.fromEntries(command.services.map((name) => [name, command.version]))
                config = configOf(command.services, command.shardSize, marks)
                loop.reload().catch(() => undefined)
                break
              }
            }
          }
          // What nobody can end goes on at last.
          world.thawAll()
          // What a full disk refused is asked for again.
          world.diskIsFull = false
          await reloaded(world, loop)
          const { quarantine } = world.saved.culprits
          const wanted = config.services.map(({ name }) => name).filter((name) => !quarantine.has(name))
          expect(servingNames(world)).toEqual(wanted.sort())
          for (const each of world.workers.values()) expect(each.services.size).toBeLessThanOrEqual(config.settings.shardSize)
          expect(world.conflicts).toEqual([])
          expect(loop.status().services.every(({ ready, name }) => ready || quarantine.has(name))).toBe(true)
        }),
        { numRuns: 300 },
      ),
    120_000,
  )
})

async function reloaded(world: World, loop: Loop) {
  const result = loop.reload()
  // It may be refused before the world is asked to settle.
  result.catch(() => undefined)
  await settled(world)
  return result
}

describe('moves', () => {
  const shardOf = (loop: Loop, name: string) => loop.status().services.find((service) => service.name === name)?.shard
  const elsewhere = (loop: Loop, name: string) => (shardOf(loop, name) === 1 ? 2 : 1)

  it('take a service to another worker, and have its node run once at a time', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const to = elsewhere(loop, 's0')
      void loop.order('move', { service: 's0', to: to })
      await settled(world)
      expect(world.serving().get('s0')?.shard).toBe(to)
      expect(servingNames(world)).toEqual(names(5))
      expect(world.starts.get('s0')).toBe(2)
      expect([...world.starts.values()].reduce((sum, count) => sum + count)).toBe(6)
      expect(world.saved.moves.size).toBe(0)
      expect(world.saved.placement.get('s0')).toBe(to)
    }))

  it('are not ordered anew while they are under way, by a drain neither', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const home = shardOf(loop, 's0') ?? 0
      const ordered = loop.order('move', { service: 's0', to: 'new' })
      const refused = 's0 is on its way already; "status" shows where to'
      await expect(loop.order('move', { service: 's0', to: elsewhere(loop, 's0') })).rejects.toThrow(refused)
      await expect(loop.order('drain', { shard: home })).rejects.toThrow(refused)
      await settled(world)
      await ordered
      expect(loop.status().shards.filter(({ cordoned }) => cordoned)).toEqual([])
      await loop.order('drain', { shard: home })
      await settled(world)
      expect(loop.status().shards.map(({ shard }) => shard)).not.toContain(home)
      expect(servingNames(world)).toEqual(names(5))
    }, 20))

  it('scale to no more shards than there are services, and tell what follows', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      await expect(loop.order('scale', { shards: 1 })).rejects.toThrow('5 services need at least 2 shards of 4')
      await expect(loop.order('scale', { shards: 6 })).rejects.toThrow('5 services fill at most 5 shards')
      expect(world.saved.rebalancing.scaledTo).toBeNull()
      await loop.order('pause', {})
      const { moves, reason } = await loop.order('scale', { shards: 5 })
      expect({ moves, reason }).toEqual({ moves: [], reason: 'paused by the operator; "tsnsrv-sup resume" ends that' })
      expect(world.saved.rebalancing.scaledTo).toBe(5)
    }, 20))

  it('cordon and uncordon shards that there are, and a number is free again once its shard has ended', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const home = shardOf(loop, 's0') ?? 0
      const other = elsewhere(loop, 's0')
      for (const verb of ['cordon', 'uncordon'] as const) {
        await expect(loop.order(verb, { shard: 77 })).rejects.toThrow('there is no shard 77; there are 1, 2')
      }
      const cordoned = () =>
        loop
          .status()
          .shards.filter((shard) => shard.cordoned)
          .map(({ shard }) => shard)
      await loop.order('cordon', { shard: other })
      expect(cordoned()).toEqual([other])
      await loop.order('uncordon', { shard: other })
      expect(cordoned()).toEqual([])
      await loop.order('drain', { shard: home })
      await settled(world)
      expect(world.saved.rebalancing.cordoned).toEqual(new Set())
      await expect(loop.order('uncordon', { shard: home })).rejects.toThrow('there is no shard')
      // The next shard of that number is one like any other.
      await loop.order('move', { service: 's0', to: 'new' })
      await settled(world)
      expect([shardOf(loop, 's0'), ...cordoned()]).toEqual([home])
    }, 20))

  it(
    'by hand take a service from its group until it is unpinned, and one that load has split comes together again',
    () =>
      inAnyOrder(async (world) => {
        const grouped = (config: ReturnType<typeof configOf>) => ({
          ...config,
          services: config.services.map((service) => ({
            ...service,
            group: ['s0', 's1', 's2'].includes(service.name) ? 'g' : '',
          })),
        })
        let config = grouped(configOf(names(7), 4))
        let loop = world.start(config, () => config)
        await settled(world)
        const sampled = async (times = 200) => {
          for (let i = 0; i < times; i++) {
            world.pass(10_000)
            world.sample({ 1: 5, 2: 5, 3: 5 })
            await world.settle(40)
          }
          await settled(world)
        }
        const together = () => new Set(['s0', 's1', 's2'].map((name) => shardOf(loop, name)))
        const home = shardOf(loop, 's0') ?? 0
        expect(together().size).toBe(1)
        const away = home === 1 ? 2 : 1
        void loop.order('move', { service: 's0', to: away })
        await settled(world)
        await sampled()
        expect(shardOf(loop, 's0')).toBe(away)
        // Over a restart, too, and until it is unpinned.
        world.killSupervisor()
        loop = world.start(config, () => config)
        await settled(world)
        await sampled()
        expect(shardOf(loop, 's0')).toBe(away)
        expect(loop.status().rebalancing.pinned).toEqual(['s0'])
        await loop.order('unpin', { service: 's0' })
        await sampled()
        expect(together()).toEqual(new Set([home]))
        expect(world.saved.rebalancing.pinned).toEqual(new Set())
        // Now it is the configuration that splits the group, for lack of room, and then there is room again.
        config = grouped(configOf(names(7), 2))
        await reloaded(world, loop)
        expect(together().size).toBe(2)
        config = grouped(configOf(names(7), 4))
        await reloaded(world, loop)
        expect(together().size).toBe(2)
        await sampled()
        expect(together().size).toBe(1)
        expect(servingNames(world)).toEqual(names(7))
      }, 3),
    60_000,
  )

  it(
    'to a new shard last: nothing merges with it and nothing new joins it, over restarts and reloads, until it is unpinned',
    () =>
      inAnyOrder(async (world) => {
        let config = configOf(names(4), 4)
        let loop = world.start(config, () => config)
        await settled(world)
        const sampled = async () => {
          for (let i = 0; i < 100; i++) {
            world.pass(10_000)
            world.sample({ 1: 3, 2: 1, 3: 1 })
            await world.settle(40)
          }
          await settled(world)
        }
        const neighbours = () => loop.status().services.filter(({ shard }) => shard === shardOf(loop, 's0')).length
        await loop.order('move', { service: 's0', to: 'new' })
        await settled(world)
        await sampled()
        expect([shardOf(loop, 's0'), neighbours()]).toEqual([2, 1])
        world.killSupervisor()
        config = configOf(names(6), 4)
        loop = world.start(config, () => config)
        await settled(world)
        await sampled()
        expect([shardOf(loop, 's0'), neighbours()]).toEqual([2, 1])
        await expect(loop.order('pin', { service: 'nobody' })).rejects.toThrow('there is no service nobody')
        await expect(loop.order('unpin', { service: 's1' })).rejects.toThrow('s1 is not pinned')
        await loop.order('unpin', { service: 's0' })
        await loop.order('pin', { service: 's1' })
        await sampled()
        expect(neighbours()).toBeGreaterThan(1)
        expect(loop.status().rebalancing.pinned).toEqual(['s1'])
        // It is forgotten with its service.
        config = configOf(['s0', 's2'], 4)
        await reloaded(world, loop)
        expect(loop.status().rebalancing.pinned).toEqual([])
      }, 3),
    60_000,
  )

  it('go back when the service does not come up on the other side, and say why', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const home = shardOf(loop, 's0')
      world.faults.set('s0', 1)
      void loop.order('move', { service: 's0', to: elsewhere(loop, 's0') })
      await settled(world)
      expect(world.serving().get('s0')?.shard).toBe(home)
      expect(loop.status().rebalancing.decisions[0]?.problems).toEqual([expect.stringMatching(/^s0 returned: /) as string])
      expect(loop.status().moves).toEqual([])
    }))

  it(
    'are finished or undone by the next supervisor, whenever the last one died, and with whichever workers',
    () =>
      fc.assert(
        fc.asyncProperty(
          fc.scheduler(),
          fc.array(fc.record({ steps: fc.integer({ min: 0, max: 25 }), worker: fc.boolean() }), { minLength: 1, maxLength: 4 }),
          async (scheduler, deaths) => {
            const world = new World(scheduler)
            let loop = world.start(configOf(names(6), 4))
            await settled(world)
            for (const name of ['s0', 's1', 's2']) void loop.order('move', { service: name, to: 'new' }).catch(() => undefined)
            for (const { steps, worker } of deaths) {
              await world.settle(steps)
              if (worker) world.killWorker(workerIds(world)[steps % world.workers.size] ?? '')
              world.killSupervisor()
              loop = world.start(configOf(names(6), 4))
            }
            await settled(world)
            expect(world.conflicts).toEqual([])
            expect(servingNames(world)).toEqual(names(6))
            expect(loop.status().moves).toEqual([])
            for (const [name, worker] of world.serving()) expect(worker.shard).toBe(world.saved.placement.get(name))
          },
        ),
        { numRuns: 60 },
      ),
    20_000,
  )

  it('need no supervisor once the old worker has been told: the new one stands by already', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const to = elsewhere(loop, 's0')
      void loop.order('move', { service: 's0', to: to })
      await world.settleUntil(() => [...world.workers.values()].some(({ services }) => services.get('s0')?.phase === 'draining'))
      world.killSupervisor()
      await settled(world)
      expect(world.serving().get('s0')?.shard).toBe(to)
      expect(world.starts.get('s0')).toBe(2)
    }))

  it('take the service from nobody while no worker stands by, though the new one dies again and again', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const to = elsewhere(loop, 's0')
      const phasesOf = (name: string) => [...world.workers.values()].map(({ services }) => services.get(name)?.phase)
      void loop.order('move', { service: 's0', to: to })
      await world.settleUntil(() => loop.status().moves.length > 0)
      for (let deaths = 0; loop.status().moves.length > 0 && !phasesOf('s0').includes('standby'); ) {
        expect(phasesOf('s0')).toContain('ready')
        const target = [...world.workers.values()].find(({ shard }) => shard === to)
        if (target && loop.status().moves[0]?.phase === 'moving' && deaths++ < 3) world.killWorker(target.id)
        await world.settle(1)
      }
      await settled(world)
      expect(servingNames(world)).toEqual(names(5))
    }))

  it('do not begin while the journal cannot be written, and begin once it can', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(5), 4))
      await settled(world)
      const [home, to] = [shardOf(loop, 's0'), elsewhere(loop, 's0')]
      const ordered = loop.order('move', { service: 's0', to: to })
      await world.settleUntil(() => loop.status().moves.length > 0)
      await ordered
      world.diskIsFull = true
      await world.settle(50)
      if (loop.status().moves[0]?.phase === 'queued') {
        expect(world.serving().get('s0')?.shard).toBe(home)
        expect(loop.status().journalError).toContain('no space left')
      }
      world.diskIsFull = false
      await settled(world)
      expect(world.serving().get('s0')?.shard).toBe(to)
      expect(loop.status().journalError).toBe('')
    }))

  it('relieve a hot shard by opening another, tell what came of it, and merge it again when it is cold', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(4), 4))
      await settled(world)
      const sampleUntil = async (cpu: Record<number, number>, holds: () => boolean) => {
        for (let i = 0; i < 400 && !holds(); i++) {
          world.pass(5000)
          world.sample(cpu)
          await world.settle(40)
        }
        await settled(world)
      }
      await sampleUntil({ 1: 100 }, () => loop.status().shards.length === 2)
      expect(servingNames(world)).toEqual(names(4))
      await sampleUntil({ 1: 50, 2: 50 }, () => loop.status().rebalancing.decisions[0]?.measured !== null)
      const [relieved] = loop.status().rebalancing.decisions
      expect(relieved).toMatchObject({ verdict: 'relieve', measured: [{ shard: 1 }, { shard: 2 }] })
      // A minute of rest, and the sample after it.
      const took = (relieved?.measuredAt ?? 0) - (relieved?.carriedOutAt ?? 0)
      expect([took >= 60_000, took <= 65_000]).toEqual([true, true])
      await sampleUntil({ 1: 1, 2: 1 }, () => loop.status().shards.length === 1)
      expect(loop.status().rebalancing.decisions[0]).toMatchObject({ verdict: 'merge', problems: [] })
      expect(servingNames(world)).toEqual(names(4))
    }, 20))

  it('replace the workers one after the other in an upgrade, with one start of each service', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(6), 2))
      await settled(world)
      expect(await loop.order('upgrade-workers', { all: false })).toEqual({ shards: [] })
      world.installed = 'next'
      expect(await loop.order('upgrade-workers', { all: false })).toEqual({ shards: [1, 2, 3] })
      let most = 0
      loop.onChange(() => {
        most = Math.max(most, loop.status().shards.length)
      })
      await settled(world)
      expect([...world.workers.values()].map(({ version }) => version)).toEqual(['next', 'next', 'next'])
      expect(servingNames(world)).toEqual(names(6))
      expect([...world.starts.values()]).toEqual(names(6).map(() => 2))
      expect(most).toBeLessThanOrEqual(5)
      expect(loop.status().rebalancing.upgrade).toBe(null)
    }, 30))

  it('have no worker replaced that has only just been started, and has not said its version yet', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(2), 2))
      await world.settleUntil(() => loop.status().shards.some(({ workerId }) => workerId !== null))
      expect(await loop.order('upgrade-workers', { all: false })).toEqual({ shards: [] })
      await settled(world)
      expect([...world.starts.values()]).toEqual([1, 1])
    }, 20))

  it('replace a worker that does not answer now: the version that it said before counts', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(4), 2))
      await settled(world)
      const silent = world.serving().get('s0')
      if (silent) world.stall(silent)
      await world.settleUntil(() => loop.status().shards.some(({ silentSince }) => silentSince !== null))
      world.installed = 'next'
      expect(await loop.order('upgrade-workers', { all: false })).toEqual({ shards: [1, 2] })
      if (silent) world.resume(silent)
      await settled(world)
      expect([...world.workers.values()].map(({ version }) => version)).toEqual(['next', 'next'])
      expect(servingNames(world)).toEqual(names(4))
    }, 20))

  it('end the halt of an upgrade when what did not come up has left that shard', () =>
    inAnyOrder(async (world) => {
      const loop = world.start(configOf(names(4), 2))
      await settled(world)
      const home = shardOf(loop, 's0') ?? 0
      world.saved = {
        ...world.saved,
        rebalancing: { ...world.saved.rebalancing, upgrade: { current: home, waiting: [], halted: 's0 did not come up' } },
      }
      world.killSupervisor()
      const next = world.start(configOf(names(4), 2))
      await settled(world)
      expect(next.status().rebalancing.upgrade?.halted).toBe('s0 did not come up')
      await next.order('drain', { shard: home })
      await settled(world)
      expect(next.status().rebalancing.upgrade).toBeNull()
    }, 20))

  it('halt an upgrade at the first shard that does not come back, over supervisors', () =>
    inAnyOrder(async (world) => {
      world.start(configOf(names(4), 2))
      await settled(world)
      world.killSupervisor()
      world.installed = 'next'
      const loop = world.start(configOf(names(4), 2))
      await settled(world)
      world.faults.set('s1', 1)
      world.faults.set('s0', 1)
      await loop.order('upgrade-workers', { all: false })
      await settled(world)
      expect(loop.status().rebalancing.upgrade?.halted).toMatch(/did not come up/)
      expect(servingNames(world)).toEqual(names(4))
      expect([...world.workers.values()].filter(({ version }) => version === 'test').length).toBeGreaterThanOrEqual(1)
    }, 30))
})
