/** Moving a live service on a control server that is not ours, which knows nothing of what we do to its network maps. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Binaries, buildAll } from '../../bench/harness/build.ts'
import { type StorageHost, openStorageHost } from '../../bench/harness/host/storageHost.ts'
import { startOperated } from '../../bench/harness/operated.ts'
import { withWorld } from '../../bench/harness/world/world.ts'
import { TRIALS, type Trial, WINDOW_MS, moveWhileWatched, untilBorne } from './moveTrial.ts'

const SERVICES = 4

// Without root there is no storage host: npm test then says that this was skipped.
describe.runIf(process.getuid?.() === 0)('on Headscale', () => {
  let host: StorageHost
  let binaries: Binaries

  beforeAll(async () => {
    binaries = await buildAll(() => undefined)
    host = await openStorageHost()
  }, 900_000)

  afterAll(() => host.close())

  it('a service moves over and over, and its clients and neighbours hardly notice', TRIALS, async () => {
    await withWorld(SERVICES, { binaries, host }, async (surroundings, client, join) => {
      const operated = await startOperated(binaries.cli, surroundings)
      try {
        await client.untilAllAnswer(surroundings.services, 60_000)
        const clients = [client, await join(), await join()] as const
        for (const each of clients) await each.untilAllAnswer(surroundings.services, 60_000)
        // Until the news of the nodes has spread, clients make their sessions anew.
        await client.untilQuiet({ quietMs: 3000, sinceMs: Date.now(), timeoutMs: 30_000 })
        const [target = '', ...neighbours] = surroundings.services
        const window = async () => {
          const [keepAlive, each, others] = await Promise.all([
            clients[0].load([target], { mode: 'visits', perSecondEach: 50, connections: 50 }, WINDOW_MS),
            clients[1].load([target], { mode: 'visits', perSecondEach: 20, connections: 0 }, WINDOW_MS),
            clients[2].load(neighbours, { mode: 'visits', perSecondEach: 20, connections: 20 }, WINDOW_MS),
          ])
          return { keepAlive, each, others }
        }
        const home = (await operated.status()).services.find(({ name }) => name === target)?.shard ?? 0
        const nodes = async () =>
          (await operated.status()).services.map(({ name, addresses, dnsName }) => [name, addresses, dnsName])
        const before = await nodes()
        await untilBorne('Headscale', async (): Promise<Trial> => {
          const still = await window()
          const moving = window()
          const moved = await moveWhileWatched((there) => operated.move(target, there ? 'new' : home))
          return { ...moved, still, moving: await moving }
        })
        expect(await nodes()).toEqual(before)
      } finally {
        await operated.stop()
      }
    })
  })
})
