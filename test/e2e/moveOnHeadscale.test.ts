/** Moving a live service on a control server that is not ours, which knows nothing of what we do to its network maps. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Binaries, buildAll } from '../../bench/build.ts'
import { type StorageHost, openStorageHost } from '../../bench/host/storageHost.ts'
import { startOperated } from '../../bench/soak/operated.ts'
import { withWorld } from '../../bench/world/world.ts'

const SERVICES = 4
const MOVES = 4
const LOAD_MS = 25_000

// Without root there is no storage host: npm test then says that this was skipped.
describe.runIf(process.getuid?.() === 0)('on Headscale', () => {
  let host: StorageHost
  let binaries: Binaries

  beforeAll(async () => {
    binaries = await buildAll(() => undefined)
    host = await openStorageHost()
  }, 900_000)

  afterAll(() => host.close())

  it('a service moves over and over, and a client at 50 requests a second loses none and hardly waits', async () => {
    await withWorld(SERVICES, { binaries, host }, async (surroundings, client) => {
      const operated = await startOperated(binaries.cli, surroundings)
      try {
        await client.untilAllAnswer(surroundings.services, 60_000)
        // Until the news of the nodes has spread, clients make their sessions anew.
        await client.untilQuiet({ quietMs: 3000, sinceMs: Date.now(), timeoutMs: 30_000 })
        const [target = ''] = surroundings.services
        const load = client.load([target], { mode: 'rate', perSecondEach: 50, connections: 4 }, LOAD_MS)
        const home = (await operated.status()).services.find(({ name }) => name === target)?.shard ?? 0
        const pause = () => client.untilQuiet({ quietMs: 2000, sinceMs: Date.now(), timeoutMs: 5000 })
        for (let i = 0; i < MOVES / 2; i++) {
          await operated.move(target, 'new')
          await pause()
          await operated.move(target, home)
          await pause()
        }
        const requests = await load
        console.log(`${MOVES} moves on Headscale: ${JSON.stringify(requests)}`)
        expect(requests.failed).toBe(0)
        expect(requests.total).toBeGreaterThan(1000)
        // A packet that is lost is sent again after a second at the earliest.
        expect(requests.slowestMs).toBeLessThan(1000)
      } finally {
        await operated.stop()
      }
    })
  }, 300_000)
})
