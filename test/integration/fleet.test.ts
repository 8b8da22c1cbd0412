/** Loop and fleet against worker processes that each misbehave in one way. Whatever they do, the supervisor stays sound. */
import { afterEach, describe, expect, it } from 'vitest'
import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Culprits } from '../../supervisor/core/culpritRecord.ts'
import { nothingRemembered } from '../../supervisor/core/types.ts'
import { readStateFile, stateFilePath, writeStateFile } from '../../supervisor/effects/stateFile.ts'
import { Playground, allReady, until, untilStatus } from './supervise.ts'

let playground: Playground | undefined
const play = async (...names: string[]) => (playground = await Playground.create(names))

afterEach(async () => {
  await playground?.end()
  playground = undefined
})

describe('well-behaved workers', () => {
  it('run all services, and stop without leaving process or socket', async () => {
    const here = await play('a', 'b', 'c')
    const loop = await here.start('wellBehaved')
    const status = await untilStatus(loop, allReady, 'all ready')
    expect(status.shards.map((shard) => shard.services).sort()).toEqual([1, 2])
    loop.stop({ leaveWorkers: false })
    await loop.done
    expect(await here.workerPids()).toEqual([])
    expect(await here.runDirectory()).toEqual([])
  })

  it('are adopted by the next supervisor', async () => {
    const here = await play('a', 'b', 'c')
    const first = await here.start('wellBehaved')
    const pids = (await untilStatus(first, allReady, 'all ready')).shards.map((shard) => shard.workerPid)
    first.stop({ leaveWorkers: true })
    await first.done
    const second = await here.start('wellBehaved')
    const status = await untilStatus(second, allReady, 'all ready again')
    expect(status.shards.map((shard) => shard.workerPid)).toEqual(pids)
    expect(status.shards.every((shard) => shard.adopted)).toBe(true)
  })

  it('are replaced when they are killed, at once', async () => {
    const here = await play('a', 'b', 'c')
    const loop = await here.start('wellBehaved')
    const before = await untilStatus(loop, allReady, 'all ready')
    const victim = before.shards[0]?.workerPid ?? 0
    process.kill(victim, 'SIGKILL')
    await untilStatus(loop, (status) => allReady(status) && status.shards[0]?.workerPid !== victim, 'a new worker')
    expect(loop.status().shards[1]?.workerPid).toBe(before.shards[1]?.workerPid)
    // Its end may be heard of by the closed connection first, and is then told with it.
    expect(here.transitions.find(({ to }) => to === 'gone')?.message).toMatch(/killed by SIGKILL$/)
  })

  it('that died while no supervisor ran are started anew', async () => {
    const here = await play('a', 'b', 'c')
    const first = await here.start('wellBehaved')
    const before = await untilStatus(first, allReady, 'all ready')
    first.stop({ leaveWorkers: true })
    await first.done
    process.kill(before.shards[1]?.workerPid ?? 0, 'SIGKILL')
    const second = await here.start('wellBehaved')
    const after = await untilStatus(second, allReady, 'all ready again')
    expect(after.shards.map((shard) => shard.adopted)).toEqual([true, false])
  })

  it('that are stopped by a signal are replaced, and their services wait until that is settled', async () => {
    const here = await play('a', 'b', 'c')
    const first = await here.start('wellBehaved')
    const before = await untilStatus(first, allReady, 'all ready')
    first.stop({ leaveWorkers: true })
    await first.done
    process.kill(before.shards[0]?.workerPid ?? 0, 'SIGSTOP')
    const second = await here.start('wellBehaved')
    const after = await untilStatus(second, allReady, 'all ready again')
    expect(after.shards.map((shard) => shard.adopted)).toEqual([false, true])
  })

  it('that stop, and of which nothing says which process they are, are left as they are, and followed again later', async () => {
    const here = await play('a', 'b', 'c')
    const first = await here.start('wellBehaved')
    const before = await untilStatus(first, allReady, 'all ready')
    const [worker] = before.shards
    first.stop({ leaveWorkers: true })
    await first.done
    const directory = join(here.config.settings.runDir, worker?.workerId ?? '')
    await writeFile(join(directory, 'worker.json'), 'damaged')
    process.kill(worker?.workerPid ?? 0, 'SIGSTOP')
    const second = await here.start('wellBehaved')
    expect(second.status().orphans).toMatchObject([{ workerId: worker?.workerId, directory, isCertain: false }])
    expect(await readdir(directory)).toEqual(['worker.json', 'worker.sock'])
    expect(await here.workerPids()).toContain(worker?.workerPid)
    process.kill(worker?.workerPid ?? 0, 'SIGCONT')
    await untilStatus(second, ({ orphans }) => orphans.length === 0, 'followed again')
    expect(here.transitions.map(({ name, to }) => `${name} ${to}`)).toContain(`${worker?.workerId ?? ''} orphaned`)
  })

  it('that have ended as they should while no supervisor ran leave a directory that is nobody’s', async () => {
    const here = await play('a')
    const first = await here.start('wellBehaved')
    await untilStatus(first, allReady, 'ready')
    first.stop({ leaveWorkers: false })
    await first.done
    const directory = (name: string) => join(here.config.settings.runDir, name)
    await mkdir(directory('shard-1-long-0'))
    await utimes(directory('shard-1-long-0'), new Date(0), new Date(0))
    // This one may be about to come up.
    await mkdir(directory('shard-1-just-0'))
    const second = await here.start('wellBehaved')
    expect(await here.runDirectory()).not.toEqual(expect.arrayContaining([expect.stringMatching(/^shard-1-(long|just)-0$/)]))
    expect(second.status().orphans).toEqual([])
    const told = (name: string) => here.transitions.filter((each) => each.name === name).map(({ to, message }) => [to, message])
    expect(told('shard-1-long-0')).toEqual([['gone', 'it has ended while no supervisor ran']])
    expect(told('shard-1-just-0')).toEqual([
      ['unknown', ''],
      ['gone', expect.stringContaining('it never came up')],
    ])
  })

  it('that stop for a moment are told as silent, with all that they serve, and then as well again', async () => {
    const here = await play('a', 'b', 'c')
    const loop = await here.start('wellBehaved')
    const before = await untilStatus(loop, allReady, 'all ready')
    await loop.workerMetrics()
    const pid = before.shards[0]?.workerPid ?? 0
    process.kill(pid, 'SIGSTOP')
    loop.pingWorkers()
    const after = await untilStatus(loop, ({ shards }) => shards[0]?.silentSince !== null, 'it is missed')
    expect(after.shards.map(({ ready }) => ready)).toEqual([0, before.shards[1]?.ready])
    expect(after.services.filter(({ phase }) => phase === 'unknown').length).toBe(before.shards[0]?.services)
    // Not asked again, and what it told last is not lost.
    expect((await loop.workerMetrics()).join('').match(/^fake_up/gm)).toHaveLength(2)
    process.kill(pid, 'SIGCONT')
    await untilStatus(loop, allReady, 'all ready again')
    expect(loop.status().shards.map(({ workerPid }) => workerPid)).toEqual(before.shards.map(({ workerPid }) => workerPid))
    const told = here.transitions.filter(({ from, to }) => from === 'silent' || to === 'silent').map(({ to }) => to)
    expect(told).toEqual(['silent', 'ready'])
  })

  it('tell their metrics', async () => {
    const here = await play('a', 'b', 'c')
    const loop = await here.start('wellBehaved')
    await untilStatus(loop, allReady, 'all ready')
    expect((await loop.workerMetrics()).join('')).toMatch(/fake_up\{worker="shard-1-.*\n(.*\n)*.*fake_up\{worker="shard-2-/)
  })
})

describe('a placement file', () => {
  it('that is damaged is refused by its reader, with the reason', async () => {
    const here = await play('a')
    await writeFile(stateFilePath(here.directory), '{"version": 1, "placement": {"a": 1')
    await expect(here.start('wellBehaved')).rejects.toThrow(/state\.json is damaged/)
  })

  it('gives back what is known of culprits', async () => {
    const here = await play('a')
    const death = { shard: 2, at: 5, services: ['a'], why: 'exit code 2', search: 4, witnessed: true }
    const culprits: Culprits = {
      deaths: [death, { ...death, search: null }],
      suspects: new Map([[2, 4]]),
      quarantine: new Map([['b', { since: 6, reason: 'it ended its worker', specHash: 'h' }]]),
    }
    await writeStateFile(here.directory, { ...nothingRemembered, culprits })
    expect((await readStateFile(here.directory))?.culprits).toEqual(culprits)
  })
})

describe('a worker that', () => {
  it.each([
    ['diesAtStart', /exit code 3/],
    ['diesOnPut', /exit code 4/],
    ['neverListens', /killed by SIGKILL/],
    ['tellsGarbage', /^did not come up: the worker does not keep the protocol.*killed by SIGKILL$/],
    ['tellsForever', /^did not come up: a line of .* is longer than .*killed by SIGKILL$/],
    ['speaksTheFuture', /^did not come up: .* speaks protocol 99.*killed by SIGKILL$/],
    ['isSomebodyElse', /^did not come up: .* is shard-9-other.*killed by SIGKILL$/],
  ])('%s is replaced again and again, with growing pauses, and the reason is told', async (kind, reason) => {
    const here = await play('a')
    const loop = await here.start(kind)
    await untilStatus(loop, (status) => (status.shards[0]?.restarts ?? 0) >= 2, 'two restarts')
    expect(here.transitions.filter(({ to }) => to === 'gone').map(({ message }) => message)).toContainEqual(
      expect.stringMatching(reason),
    )
    expect(allReady(loop.status())).toBe(false)
  })

  it.each([
    ['refusesPut', /the worker refused it: I do not like it/],
    ['answersGarbage', /./],
  ])('%s leaves its service pending, with the reason, and tried again', async (kind, reason) => {
    const here = await play('a')
    const loop = await here.start(kind)
    const status = await untilStatus(loop, ({ services }) => (services[0]?.restarts ?? 0) >= 2, 'two attempts')
    expect(status.services[0]).toMatchObject({ phase: 'pending', ready: false })
    expect(here.transitions.map(({ message }) => message)).toContainEqual(expect.stringMatching(reason))
  })

  it('hangsOnPut does not keep the loop from stopping', async () => {
    const here = await play('a')
    const loop = await here.start('hangsOnPut')
    await untilStatus(loop, ({ shards }) => shards[0]?.workerPhase === 'ready', 'worker ready')
    loop.stop({ leaveWorkers: false })
    await loop.done
    expect(await here.workerPids()).toEqual([])
  })

  it('hangsUpOften is found again each time, and never replaced', async () => {
    const here = await play('a')
    const loop = await here.start('hangsUpOften')
    await until(() => Promise.resolve(here.transitions.filter(({ to }) => to === 'unknown').length >= 3), 'three hang-ups')
    await untilStatus(loop, allReady, 'ready')
    expect(loop.status().shards[0]?.restarts).toBe(0)
  })

  it('ignoresShutdown is killed after the drain', async () => {
    const here = await play('a')
    const loop = await here.start('ignoresShutdown')
    await untilStatus(loop, allReady, 'ready')
    loop.stop({ leaveWorkers: false })
    await loop.done
    expect(await here.workerPids()).toEqual([])
  })
})
