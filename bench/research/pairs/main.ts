/**
 * `npm run bench:pairs`: what a measure is worth under full load, or how another worker compares. All contenders are up beside
 * each other and are asked in turn, for some seconds each, again and again. A machine's good and bad minutes are everyone's then,
 * and the pairs tell of a few per cent, where trials that are minutes apart differ by a third. Not for what is busy while idle.
 */
import { mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Command } from 'commander'
import pc from 'picocolors'
import { type Binaries, buildAll } from '../../harness/build.ts'
import { list, wholeNumber } from '../commandLine.ts'
import { type StorageHost, withStorageHost } from '../../harness/host/storageHost.ts'
import { FULL_LOAD_SERVICES, SHAPES } from '../../harness/loads.ts'
import { describeMachine, readVersions } from '../../harness/measure/machine.ts'
import { sampleTree } from '../../harness/measure/processTree.ts'
import type { Subject as SubjectInfo } from '../../harness/results.ts'
import { allSubjects, subjectOf } from '../../harness/subjects/all.ts'
import { ours } from '../../harness/subjects/ours.ts'
import type { Running, Subject } from '../../harness/subjects/subject.ts'
import type { Client } from '../../harness/world/client.ts'
import { withWorld } from '../../harness/world/world.ts'
import type { Turn } from './compare.ts'
import { type Pairs, renderPairs, writePairs } from './report.ts'

const START_TIMEOUT_MS = 120_000
/** Between one contender's port for metrics and the next one's. */
const PORTS = 100

interface Options {
  readonly subjects: readonly string[]
  readonly worker: readonly string[]
  readonly rounds: number
  readonly seconds: number
  readonly output?: string
}

const options = new Command('npm run bench:pairs --')
  .description('Compares subjects of the benchmark under full load and side by side. Needs root, for network namespaces.')
  .option('--subjects <keys>', 'comma-separated, beside ours; see npm run bench -- --dry-run', list(String), [])
  .option('--worker <files>', 'comma-separated worker binaries to compare ours with', list(String), [])
  .option('--rounds <count>', 'how often each has its turn', wholeNumber, 20)
  .option('--seconds <count>', 'how long a turn takes', wholeNumber, 2)
  .option('--output <directory>', 'where the report goes (default: bench/reports/pairs-<date>)')
  .parse()
  .opts<Options>()

try {
  await main()
} catch (error) {
  console.error(pc.red(error instanceof Error ? error.message : String(error)))
  process.exitCode = 1
}

async function main(): Promise<void> {
  const begun = new Date().toISOString()
  const directory = resolve(options.output ?? join('bench', 'reports', `pairs-${begun.slice(0, 10)}`))
  const binaries = await buildAll(console.error)
  const versions = await readVersions()
  const subjects = contenders(binaries, versions['tsnsrv-sup'] ?? '')
  const pairs = await withStorageHost(
    async (host, signal): Promise<Pairs> => ({
      format: 1,
      startedAt: begun,
      command: ['npm run bench:pairs --', ...process.argv.slice(2)].join(' '),
      machine: describeMachine(),
      versions,
      host: host.describe(),
      turnSeconds: options.seconds,
      contenders: await takeTurns(subjects, binaries, host, signal),
    }),
  )
  await writePairs(pairs, directory)
  console.log(`\n${renderPairs(pairs)}\n\nThe report: ${join(directory, 'report.md')}`)
}

function contenders(binaries: Binaries, version: string): Subject[] {
  // No peers: what their nodes take while they wait for their turn would be missing everywhere.
  const all = allSubjects(binaries, version, {}).filter(({ https }) => !https) // one client asks all of them, by http
  const variant = (title: string, worker: string, about: string) =>
    ours({ ...binaries, worker }, version, { key: title, title, about, group: 'ours' })
  return [
    subjectOf(all, 'ours'),
    variant('the same again', binaries.worker, 'The first one a second time: what differs between the two is chance.'),
    ...options.worker.map((file) => variant(file, resolve(file), 'Ours with this worker binary.')),
    ...options.subjects.map((key) => subjectOf(all, key)),
  ]
}

async function takeTurns(
  subjects: readonly Subject[],
  binaries: Binaries,
  host: StorageHost,
  signal: AbortSignal,
): Promise<Pairs['contenders']> {
  const started: { info: SubjectInfo; running: Running; services: readonly string[]; turns: Turn[] }[] = []
  await withWorld(FULL_LOAD_SERVICES * subjects.length, { binaries, host }, async (surroundings, client) => {
    try {
      for (const [i, subject] of subjects.entries()) {
        const directory = join(surroundings.directory, String(i))
        await mkdir(directory, { mode: 0o700 })
        const services = surroundings.services.slice(i * FULL_LOAD_SERVICES, (i + 1) * FULL_LOAD_SERVICES)
        const metricsPort = surroundings.metricsPort + i * PORTS
        const running = await subject.start({ ...surroundings, directory, services, metricsPort })
        started.push({ info: subject.info, running, services, turns: [] })
        await client.untilAllAnswer(services, START_TIMEOUT_MS)
      }
      // The first round is for connections, paths and collectors to settle.
      for (let round = 0; round <= options.rounds; round++) {
        // Whoever comes first in one round comes last in the next.
        for (const { running, services, turns } of round % 2 === 0 ? started : started.toReversed()) {
          signal.throwIfAborted()
          const turn = await takeTurn(running, services, client)
          if (round > 0) turns.push(turn)
        }
        console.error(`round ${round} of ${options.rounds}`)
      }
    } finally {
      for (const { running } of started) await running.stop()
    }
  })
  return started.map(({ info: { title, version, about }, turns }) => ({ title, version, about, turns }))
}

async function takeTurn(running: Running, services: readonly string[], client: Client): Promise<Turn> {
  const look = () => sampleTree(running.roots()).cpuSeconds
  let before = look()
  const { total, failed, perSecond, p99Ms } = await client.load(services, SHAPES.saturated, options.seconds * 1000, () => {
    before = look()
  })
  if (failed > 0) throw new Error(`${failed} of ${total} requests failed`)
  return { cpuSeconds: look() - before, requests: { total, perSecond, p99Ms } }
}
