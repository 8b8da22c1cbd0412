/**
 * `npm run bench:soak`: an hour (or more) of what a year brings: containers come and go, clients ask, and again and again the
 * configuration changes, services move and the supervisor is replaced. Says by how much memory, open files and goroutines
 * grow, and which requests failed.
 */
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import pc from 'picocolors'
import { buildAll } from '../../harness/build.ts'
import { withStorageHost } from '../../harness/host/storageHost.ts'
import { describeMachine, readVersions } from '../../harness/measure/machine.ts'
import type { Client } from '../../harness/world/client.ts'
import { withWorld } from '../../harness/world/world.ts'
import { renderSoak, writeSoak } from './report.ts'
import type { Event, Soak } from './results.ts'
import { type Operated, startOperated } from '../../harness/operated.ts'
import { EVENTS } from './events.ts'
import { takeSample } from './sample.ts'

const SERVICES = 57
/** Of load between two events; requests go on while an event happens. */
const CALM_MS = 30_000
const EVENT_MS = 20_000
const ANSWER_TIMEOUT_MS = 60_000

interface Options {
  readonly minutes: number
  readonly output?: string
}

const options = new Command('npm run bench:soak --')
  .description('Runs 57 services through load, container churn, reloads, moves and restarts of the supervisor. Needs root.')
  .option('--minutes <count>', 'how long', positive, 60)
  .option('--output <directory>', 'where the report goes (default: bench/reports/soak-<date>)')
  .parse()
  .opts<Options>()

try {
  process.exitCode = await main()
} catch (error) {
  console.error(pc.red(error instanceof Error ? error.message : String(error)))
  process.exitCode = 1
}

async function main(): Promise<number> {
  const binaries = await buildAll(console.error)
  const begun = Date.now()
  const directory = resolve(options.output ?? join('bench', 'reports', `soak-${new Date(begun).toISOString().slice(0, 10)}`))
  await mkdir(directory, { recursive: true })
  const soak = await withStorageHost(async (host) => {
    const soak: Soak = {
      format: 1,
      startedAt: new Date(begun).toISOString(),
      minutes: 0,
      services: SERVICES,
      machine: describeMachine(),
      versions: await readVersions(),
      host: host.describe(),
      samples: [],
      events: [],
    }
    await withWorld(SERVICES, { binaries, host }, async (surroundings, client) => {
      const operated = await startOperated(binaries.cli, surroundings)
      try {
        await client.untilAllAnswer(surroundings.services, ANSWER_TIMEOUT_MS)
        for (let round = 0; Date.now() - begun < options.minutes * 60_000; round++) {
          host.check()
          await client.load(surroundings.services, { mode: 'rate', perSecondEach: 2, connections: 1 }, CALM_MS)
          soak.samples.push(await takeSample(operated, begun))
          const happened = await happen(round, operated, client, surroundings.services)
          soak.events.push({ ...happened, atMinutes: (Date.now() - begun) / 60_000 })
          soak.minutes = (Date.now() - begun) / 60_000
          await writeSoak(soak, directory)
          console.error(`${soak.minutes.toFixed(1).padStart(6)} min  ${describe(soak)}`)
        }
      } finally {
        await operated.stop()
      }
    })
    return soak
  })
  console.log(`\n${renderSoak(soak)}\nThe report: ${join(directory, 'report.md')}`)
  return 0
}

/** The event of this round, with requests to all services while it happens; afterwards all must answer. */
async function happen(
  round: number,
  operated: Operated,
  client: Client,
  services: readonly string[],
): Promise<Omit<Event, 'atMinutes'>> {
  const event = EVENTS[round % EVENTS.length]
  if (!event) throw new Error('there are no events')
  const [asked, moved] = await Promise.all([
    client.load(services, { mode: 'rate', perSecondEach: 2, connections: 1 }, EVENT_MS),
    // Requests are to be on their way when it happens.
    delay(EVENT_MS / 10).then(() => event.happen(operated)),
  ])
  const since = Date.now()
  const answeredAt = await client.untilAllAnswer(services, ANSWER_TIMEOUT_MS)
  return { name: event.name, ...moved, requests: asked, answeredSeconds: Math.max(0, answeredAt - since) / 1000 }
}

function describe({ samples, events }: Soak): string {
  const [sample, event] = [samples.at(-1), events.at(-1)]
  if (!sample || !event) return ''
  const memory = `${Math.round(sample.pssBytes / 1e6)} MB, ${sample.openFiles} files, ${sample.goroutines} goroutines`
  return `${memory}; ${event.name}: ${event.requests.failed} of ${event.requests.total} requests failed`
}

function positive(text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new InvalidArgumentError(`"${text}" is not above 0`)
  return value
}
